"""What a real machine says before anything is changed on it, and what becomes of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.errors import DeployOutcome
from tests.lab.deployer import Deployer, look
from tests.lab.machine import FLEET, Result, run

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("deploy-preflight")]

SYSTEMS = Path(__file__).with_name("preflight.nix")


def build(deployer: Deployer, system: str) -> str:
    """Store path of a system of `preflight.nix`, built in the job's store."""
    arguments = ("--argstr", "name", deployer.host.name, "--arg", "fleet", str(FLEET))
    return deployer.store.run("nix-build", "--no-out-link", SYSTEMS, "-A", system, *arguments).stdout.strip()


def says(result: Result, code: int, *sentences: str) -> None:
    """How a deployment ended, and what its log holds."""
    assert result.returncode == code, result.output
    for sentence in sentences:
        assert sentence in result.stderr, result.stderr


def test_a_system_that_cannot_be_switched_to_is_refused_or_left_to_a_boot(deployer: Deployer) -> None:
    old, new = build(deployer, "old"), build(deployer, "new")
    deployer.by_hand(old)
    deployer.host.inside(f"ln -sfn {old} /run/booted-system")
    before = look(deployer.host)

    # Everything at once, on the machine and in the report.
    deployer.configure(min_free_boot_mb=1_000_000_000)
    stops = "this switch is not possible while the host runs: dbus: dbus → broker"
    result = deployer.deploy(new)
    says(result, DeployOutcome.REFUSED, stops, "a new initrd and kernel of 2 MiB come there", "on_inhibitor")
    says(result, DeployOutcome.REFUSED, "was never deployed by pipelinegen")
    assert len(deployer.report()["refusals"]) == 2
    assert deployer.report()["reboot_needed"] == ["kernel", "initrd"]
    assert look(deployer.host) == before

    # What would change, by name; of units only a machine that has the system can tell.
    deployer.configure(on_inhibitor="force", min_free_boot_mb=0)
    result = deployer.deploy(new, "--dry-run")
    says(result, 0, "linux: 6.6.1 → 6.6.2", "rebooted before it uses the new kernel, initrd", "lacks ", "all the same")
    changes = {change["name"]: change for change in deployer.report()["diff"]}
    assert (changes["linux"]["before"], changes["linux"]["after"]) == (["6.6.1"], ["6.6.2"])
    assert "would start" not in result.stderr
    assert not any(deployer.report()["units"].values())
    assert look(deployer.host) == before

    deployer.configure(on_inhibitor="boot", min_free_boot_mb=0)
    result = deployer.deploy(new)
    says(result, 0, "the next boot takes the new system")
    found = look(deployer.host)
    assert (found.runs, found.profile, found.boots) == (old, new, new)


def test_what_a_switch_would_do_is_asked_of_a_machine_that_has_the_system(deployer: Deployer) -> None:
    good = deployer.build("good")
    deployer.copy(good)
    result = deployer.deploy(good, "--dry-run")
    says(result, 0, "has all of it in its store", "would start: worker.service")
    assert deployer.report()["units"]["started"] == ["worker.service"]
    assert deployer.unchanged()


def test_the_system_of_another_machine_is_refused(deployer: Deployer) -> None:
    says(
        deployer.deploy(build(deployer, "other")),
        DeployOutcome.REFUSED,
        "calls itself web1; the system is made for web2",
        "run `hostname web2` there first",
    )
    says(deployer.deploy(build(deployer, "foreign")), DeployOutcome.REFUSED, "the system is made for aarch64-linux")
    assert deployer.unchanged()


def test_what_somebody_else_changed_is_seen(deployer: Deployer) -> None:
    good, better = deployer.build("good"), deployer.build("better")
    says(deployer.deploy(good), 0, "was never deployed by pipelinegen")
    deployer.by_hand(better)
    deployer.configure(on_drift="refuse")
    drift = f"runs {better}, which no pipeline brought there (the last one brought {good})"
    says(deployer.deploy(good), DeployOutcome.REFUSED, drift)
    deployer.configure(on_drift="warn")
    says(deployer.deploy(good, "--dry-run"), 0, drift)
    assert deployer.host.current_system() == better


def test_a_later_commit_is_not_undone_by_an_earlier_one(deployer: Deployer) -> None:
    git = ("git", "-C", str(deployer.folder), "-c", "user.name=a", "-c", "user.email=a@example.org")
    run([*git, "init", "-q"])
    commits = []
    for message in ("earlier", "later"):
        run([*git, "commit", "-q", "--allow-empty", "-m", message])
        commits.append(run([*git, "rev-parse", "HEAD"]).stdout.strip())
    earlier, later = commits
    good, better = deployer.build("good"), deployer.build("better")
    says(deployer.deploy(good, "--revision", later), 0)
    refused = deployer.deploy(better, "--revision", earlier)
    says(refused, DeployOutcome.REFUSED, f"of a later commit ({later}) than ours ({earlier})", "--allow-older")
    assert deployer.host.current_system() == good
    says(deployer.deploy(better, "--revision", earlier, "--allow-older", "--dry-run"), 0, "of a later commit")


def test_what_nobody_heard_and_what_was_left_behind_is_told_the_next_time(deployer: Deployer) -> None:
    broken = deployer.build("broken-activation")
    says(deployer.deploy(broken), DeployOutcome.ROLLED_BACK)
    deployer.host.inside("mkdir -p /run/pipelinegen; echo pipelinegen-00000000 > /run/pipelinegen/holder")
    result = deployer.deploy(deployer.build("good"), "--dry-run")
    says(result, 0, f"of {broken}) was undone: switch-to-configuration ended with 2")
    says(result, 0, "pipelinegen-00000000 left its lock behind")


def test_a_machine_that_does_not_trust_who_signs_is_told(deployer: Deployer) -> None:
    with (deployer.folder / "pipelinegen.toml").open("a") as file:
        file.write('[caches.ours]\nurl = "https://cache.example.org/ours"\nwriters = "protected"\npublish = true\n')
        file.write('public_key = "ours-1:AAAA"\n')
    result = deployer.deploy(deployer.build("good"), "--dry-run")
    says(result, 0, "does not trust the key ours-1 of the cache ours")
