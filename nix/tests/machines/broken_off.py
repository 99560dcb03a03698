target = Host("target", target)  # the driver's machine of that name
begin(target)

# Scenario, system, phase in which the deployer is killed.
KILLED = [
    ("the deployer is killed while the host activates", "slow", "activating"),
    ("the deployer is killed before it confirms", "good", "waiting"),
]
for name, variant, phase in KILLED:
    with subtest(name):
        with started(target, variant) as job:
            target.phase(phase)
            job.kill()
        target.quiet()
        holds(name, target, variant)
        target.reset()

with subtest("the network is cut for a moment"):
    with started(target, "slow") as job:
        target.phase("activating")
        target.machine.block()
        target.phase("waiting")
        target.machine.unblock()
        told = job.wait()
    holds("the network is cut for a moment", target, "slow", told)
    target.reset()

with subtest("the network is cut until after the time to confirm"):
    with started(target, "slow") as job:
        target.phase("activating")
        target.machine.block()
        target.quiet()
        assert target.situation() == (target.systems["old"], target.systems["old"])
        target.machine.unblock()
        told = job.wait()
    holds("the network is cut until after the time to confirm", target, "slow", told)
    target.reset()

with subtest("the new system reboots the host while it is activated"):
    told = deploy(target, "rebooting")
    target.up()
    holds("the new system reboots the host while it is activated", target, "rebooting", told)
    target.reset()

POWER = [
    ("the power is cut while the host activates", "slow", "activating"),
    ("the power is cut before the confirmation", "good", "waiting"),
]
for name, variant, phase in POWER:
    with subtest(name):
        target.settings = {"health": '[{ command = "sleep 5", timeout = "20 seconds" }]'}
        configure(target)
        with started(target, variant) as job:
            target.phase(phase)
            target.machine.crash()
            target.machine.start()
            target.up()
            told = job.wait()
        holds(name, target, variant, told)
        target.reset()

# The machine is given up by its network: nobody can be told, and it returns all the same.
with subtest("sshd is broken for good"):
    target.settings = {}
    configure(target)
    target.machine.succeed(
        "systemctl edit --runtime --stdin sshd.service "
        "<< 'END'\n[Service]\nExecStartPre=/run/current-system/sw/bin/false\nEND"
    )
    code, report = deploy(target, "silent")
    assert (code, report["result"], report["after"]) == (40, "state-unknown", None), report
    target.quiet()
    assert target.situation() == (target.systems["old"], target.systems["old"])
