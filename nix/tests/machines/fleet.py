# Five hosts in two waves, one bad canary: the other four are never touched.
canary = Host("canary", canary)  # the driver's machines of these names
others = [Host(machine.name, machine) for machine in (host1, host2, host3, host4)]
begin(canary, *others)
deployer.succeed(f"mkdir -p {WORK}/reports")


def wave(variant, *hosts):
    """What the jobs of a wave do, and the job behind it; whether the next wave may begin."""
    for host in hosts:
        deploy(host, variant)
        deployer.succeed(f"cp {WORK}/{host.name}.json {WORK}/reports/")
    names = " ".join(host.name for host in hosts)
    code, output = deployer.execute(f"cd {WORK} && pipelinegen run wave --max-failures 0 --reports reports {names}")
    print(output)
    return code == 0


with subtest("a bad canary ends it"):
    assert not wave("broken-service", canary)
    for host in (canary, *others):
        assert host.situation() == (host.systems["old"], host.systems["old"])
    for host in others:
        host.machine.fail("ls /var/lib/pipelinegen /run/pipelinegen")

with subtest("a good canary starts the others"):
    assert wave("good", canary)
    assert wave("good", *others)
    for host in (canary, *others):
        assert host.situation() == (host.systems["good"], host.systems["good"])
