target = Host("target", target)  # the driver's machine of that name
begin(target)

FAILS = '[{ command = "exit 1", within = "3 seconds" }]'
GIVES_WAY = ["units"]

# Scenario, system, settings of the host.
OUTCOMES = [
    ("a system that works", "good", {}),
    ("very much output", "talkative", {}),
    ("a unit that may fail fails", "broken-service", {"ignore_units": ["worker.service"]}),
    ("the activation script fails", "broken-activation", {}),
    ("the activation does not end", "endless", {"activation_timeout": "10 seconds"}),
    ("a unit cannot start", "broken-service", {}),
    ("a unit fails a moment later", "failing-service", {}),
    ("a health probe fails", "good", {"health": FAILS}),
    ("a health probe fails that is to undo nothing", "good", {"health": FAILS, "rollback_on": GIVES_WAY}),
    ("a smoke test fails", "good", {"smoke": FAILS}),
    ("the system can only be booted", "needs-reboot", {}),
    ("the boot loader cannot be written", "unbootable", {}),
    ("the activation fills the disk", "filling", {}),
    ("the new system closes port 22", "closed", {}),
    ("the new system has no network", "offline", {}),
]

for name, variant, settings in OUTCOMES:
    with subtest(name):
        target.settings = settings
        configure(target)
        holds(name, target, variant, deploy(target, variant))
        target.reset()

with subtest("the system that runs already"):
    target.settings = {}
    configure(target)
    deploy(target, "good")
    holds("the system that runs already", target, "good", deploy(target, "good"))

with subtest("what was confirmed is what the next boot takes"):
    target.machine.shutdown()
    target.machine.start()
    target.up()
    assert target.situation() == (target.systems["good"], target.systems["good"])

with subtest("a rollback leads to the system before"):
    deployer.succeed(f"cd {WORK} && pipelinegen run deploy target --class protected --rollback --report target.json")
    assert target.situation() == (target.systems["old"], target.systems["old"])
    target.reset()

with subtest("a unit fails that had failed before"):
    target.machine.execute("systemd-run --unit=old-sorrow --service-type=oneshot false")
    assert deploy(target, "good")[0] == 0
    target.reset()

with subtest("a reboot that is waited for"):
    code, report = deploy(target, "needs-reboot", "--action", "reboot")
    assert (code, report["result"]) == (0, "deployed"), report
    assert report["before"]["boot_id"] != report["after"]["boot_id"]
    assert target.situation() == (target.systems["needs-reboot"], target.systems["needs-reboot"])
