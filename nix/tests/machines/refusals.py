target = Host("target", target)  # the driver's machine of that name
begin(target)

with subtest("another host key"):
    deployer.succeed(
        f"ssh-keygen -q -t ed25519 -N '' -f {WORK}/other",
        f'echo "target $(cat {WORK}/other.pub)" > {WORK}/other_hosts',
    )
    target.settings = {"known_hosts_file": f"{WORK}/other_hosts"}
    configure(target)
    holds("another host key", target, "good", deploy(target, "good"))

with subtest("no answer"):
    target.settings = {"port": 2222}
    configure(target)
    holds("no answer", target, "good", deploy(target, "good"))

target.settings = {}
configure(target)

# Scenario, the lock that somebody else holds.
LOCKS = [
    ("another deployment is going on", "/run/pipelinegen/lock"),
    ("another switch is going on", "/run/nixos/switch-to-configuration.lock"),
]
for name, lock in LOCKS:
    with subtest(name):
        target.machine.succeed(
            "mkdir -p /run/pipelinegen /run/nixos", f"systemd-run --unit=holder flock {lock} sleep 600; sleep 1"
        )
        holds(name, target, "good", deploy(target, "good"))
        target.machine.succeed("systemctl stop holder")

with subtest("the disk is full before anything is copied"):
    target.settings = {"min_free_mb": 1_000_000_000}
    configure(target)
    holds("the disk is full before anything is copied", target, "good", deploy(target, "good"))

with subtest("of two deployments at once, the second"):
    target.settings = {}
    configure(target)
    with started(target, "slow") as job:
        target.phase("activating")
        late = deploy(target, "better")
        assert (late[0], late[1]["result"]) == (31, "locked"), late
        # The first one writes its report to the same file, when it is over.
        first = job.wait()
    holds("of two deployments at once, the first", target, "slow", first)
