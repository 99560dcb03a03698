"""What may become of a system besides a switch: boot, test, dry-activate, reboot; and the ways back to a generation."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.console import Console
from pipelinegen.deploy.generations import Generations
from pipelinegen.deploy.reboot import Rebooted, reboot
from pipelinegen.deploy.ssh import Target
from pipelinegen.errors import DeployOutcome
from tests.gitrepo import commit, make_repo
from tests.lab.deployer import Deployer, as_installed, look, record, until
from tests.lab.host import BOOT_ENTRY
from tests.lab.machine import Result

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("deploy-actions")]


def run(deployer: Deployer, *arguments: str) -> Result:
    """Any command of ours, where the job would be."""
    return deployer.store.pipelinegen(*arguments, cwd=deployer.folder, timeout=100, check=False)


def roll_back(deployer: Deployer, *options: str) -> Result:
    report = str(deployer.folder / "report.json")
    return run(deployer, "run", "deploy", deployer.host.name, "--report", report, *options)


def where(deployer: Deployer) -> tuple[str, str, str]:
    """What the machine runs, what its profile names, what the next boot takes."""
    found = look(deployer.host)
    assert found.ours == ()
    return found.runs, found.profile, found.boots


def report(deployer: Deployer, *keys: str) -> tuple[Any, ...]:
    written = deployer.report()
    return tuple(written[key] for key in keys)


def test_boot_leaves_alone_what_runs_until_the_machine_boots(deployer: Deployer) -> None:
    good, old = deployer.build("good"), deployer.host.initial_system
    result = deployer.deploy(good, "--action", "boot")
    assert where(deployer) == (old, good, good), result.output
    assert report(deployer, "action", "exit_code") == ("boot", result.returncode)
    assert result.returncode == 0, result.output
    deployer.host.restart()
    assert where(deployer) == (good, good, good)


def test_a_test_is_over_with_the_next_boot(deployer: Deployer) -> None:
    good, old = deployer.build("good"), deployer.host.initial_system
    result = deployer.deploy(good, "--action", "test")
    assert result.returncode == 0, result.output
    assert where(deployer) == (good, old, old)
    assert report(deployer, "action", "result") == ("test", "deployed")
    deployer.host.restart()
    assert where(deployer) == (old, old, old)


def test_a_test_that_goes_wrong_is_undone(deployer: Deployer) -> None:
    result = deployer.deploy(deployer.build("broken-service"), "--action", "test")
    assert result.returncode == DeployOutcome.ROLLED_BACK, result.output
    assert deployer.unchanged()


def test_dry_activate_says_what_would_be_done_and_does_nothing(deployer: Deployer) -> None:
    good = deployer.build("good")
    result = deployer.deploy(good, "--action", "dry-activate")
    assert result.returncode == 0, result.output
    assert report(deployer, "action", "result") == ("dry-activate", "dry-run")
    assert "worker.service" in deployer.report()["units"]["started"]
    assert deployer.unchanged()
    assert deployer.host.inside(f"test -e {good}", check=False).returncode == 0, "it was brought there to be asked"


def test_a_reboot_is_waited_for_and_looked_at(deployer: Deployer) -> None:
    good, before = deployer.build("good"), deployer.host.boot_id()
    result = deployer.deploy(good, "--action", "reboot")
    assert result.returncode == 0, result.output
    assert deployer.host.boot_id() != before
    assert where(deployer) == (good, good, good)
    assert deployer.host.booted_system() == good
    assert "is up again" in result.stderr
    written = deployer.report()
    assert (written["action"], written["result"]) == ("reboot", "deployed")
    assert (written["before"]["boot_id"], written["after"]["boot_id"]) == (before, deployer.host.boot_id())
    assert "reboot" in [phase["name"] for phase in written["phases"]]


def test_a_system_that_is_bad_after_the_reboot_is_left_by_another_one(deployer: Deployer) -> None:
    old, before = deployer.host.initial_system, deployer.host.boot_id()
    result = deployer.deploy(deployer.build("broken-service"), "--action", "reboot")
    assert result.returncode == DeployOutcome.ROLLED_BACK, result.output
    assert where(deployer) == (old, old, old)
    assert deployer.host.boot_id() != before
    assert deployer.host.booted_system() == old
    assert "worker.service" in result.stderr


def test_a_signal_during_a_reboot_leaves_it_to_the_host(deployer: Deployer) -> None:
    good, before = deployer.build("good"), deployer.host.boot_id()
    with deployer.started(good, "--action", "reboot") as job:
        job.until_said("rebooting ")
        until(lambda: not deployer.host.answers(), "it goes down", seconds=20)
        job.kill(signal.SIGTERM)
        ended = job.wait()
    assert ended.returncode == 143
    assert "goes on by itself" in ended.stderr
    assert report(deployer, "result", "exit_code") == ("interrupted", 143)
    deployer.host.wait_up(after=before)
    found = look(deployer.host)
    assert (found.runs, found.profile, found.boots) == (good, good, good)


def rebooted(deployer: Deployer, expected: str, *, timeout: float, log: io.StringIO | None = None) -> Rebooted:
    """Reboot the machine without a deployment."""
    host = deployer.host
    target = Target(host.address, key_file=host.ssh_key, known_hosts=host.known_hosts)
    return reboot(target, Console(log or io.StringIO()), expected=expected, timeout=timeout)


def test_a_host_that_boots_something_else_is_no_success(deployer: Deployer) -> None:
    good, old = deployer.build("good"), deployer.host.initial_system
    deployer.by_hand(good, action="boot")
    deployer.host.inside(f"echo {old} > {BOOT_ENTRY}")  # its boot loader has its own mind
    before = deployer.host.boot_id()
    ended = rebooted(deployer, good, timeout=90)
    assert (ended.outcome, ended.settled) == (DeployOutcome.FAILED, True)
    assert old in (ended.message or "")
    assert ended.state is not None
    assert ended.state.boot_id not in {"", before}
    assert ended.state.running == old == deployer.host.current_system()


def test_a_host_that_refuses_to_go_down_was_not_rebooted(deployer: Deployer) -> None:
    before = deployer.host.boot_id()
    deployer.host.inside("systemctl mask --runtime reboot.target systemd-reboot.service")
    try:
        ended = rebooted(deployer, deployer.host.initial_system, timeout=10)
    finally:
        deployer.host.inside("systemctl unmask --runtime reboot.target systemd-reboot.service")
    assert ended.outcome is DeployOutcome.REBOOT_REQUIRED, "although it runs what it should"
    assert ended.state is None
    assert deployer.host.boot_id() == before
    assert deployer.unchanged()


def test_a_host_that_does_not_come_back_is_in_an_unknown_state(deployer: Deployer) -> None:
    before = deployer.host.boot_id()
    # Its network stays away after the reboot.
    deployer.host.inside("mv /etc/systemd/network/10-lab.network /root/")
    try:
        ended = rebooted(deployer, deployer.host.initial_system, timeout=25)
        assert ended.outcome is DeployOutcome.STATE_UNKNOWN
        assert 25 <= ended.seconds < 45
        assert ended.why, "what ssh said last"
    finally:
        deployer.host.inside("mv /root/10-lab.network /etc/systemd/network/ && networkctl reload", check=False)
        deployer.host.inside("systemctl restart systemd-networkd", check=False)
    deployer.host.wait_up(after=before)


@pytest.mark.time_limit(240)
def test_the_way_back_leads_to_the_generation_before_what_runs_or_to_a_named_one(deployer: Deployer) -> None:
    good, better, old = deployer.build("good"), deployer.build("better"), deployer.host.initial_system
    made_of = "0123456789" * 4
    for system, options in ((good, ("--revision", made_of)), (better, ())):
        result = deployer.deploy(system, *options)
        assert result.returncode == 0, result.output

    back = roll_back(deployer, "--rollback")
    assert back.returncode == 0, back.output
    assert where(deployer) == (good, good, good)
    assert report(deployer, "system", "result", "revision") == (good, "deployed", made_of)
    assert "going back to generation 2 (" in back.stderr
    assert record(deployer.host, "/var/lib/pipelinegen/deployed")["revision"] == made_of, "for the next pipeline"

    listed = generations(deployer)
    assert [one.path for one in listed.generations] == [good, better, good, old], "newest first"
    first = listed.generations[-1]
    named = roll_back(deployer, "--rollback", str(first.number))
    assert named.returncode == 0, named.output
    assert where(deployer) == (old, old, old)


def test_a_way_back_that_goes_wrong_leads_back_here(deployer: Deployer) -> None:
    good = deployer.build("good")
    bad = deployer.build("broken-activation")
    deployer.copy(bad)
    deployer.host.inside(f"nix-env -p /nix/var/nix/profiles/system --set {bad}")
    assert deployer.deploy(good).returncode == 0
    result = roll_back(deployer, "--rollback")
    assert result.returncode == DeployOutcome.ROLLED_BACK, result.output
    assert where(deployer) == (good, good, good)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(("--rollback",), "there is no generation to roll back to", id="there is none before"),
        pytest.param(("--rollback", "99"), "there is no generation 99", id="not there"),
        pytest.param(("--rollback", "1"), "runs the system of generation 1 already", id="it runs"),
    ],
)
def test_a_generation_that_cannot_be_gone_back_to_changes_nothing(
    deployer: Deployer, options: tuple[str, ...], words: str
) -> None:
    result = roll_back(deployer, *options)
    assert result.returncode == 2, result.output
    assert words in result.stderr
    assert deployer.unchanged()


@pytest.mark.time_limit(240)
def test_an_old_job_that_is_run_again_is_refused_unless_that_is_meant(deployer: Deployer) -> None:
    """As GitLab's buttons to deploy again and to roll back do."""
    repo = make_repo(deployer.folder)
    older, later = (commit(repo, {"flake.nix": text}) for text in ("1", "2"))
    good, better, old = deployer.build("good"), deployer.build("better"), deployer.host.initial_system
    result = deployer.deploy(better, "--revision", later)
    assert result.returncode == 0, result.output

    refused = deployer.deploy(good, "--revision", older)
    assert refused.returncode == DeployOutcome.REFUSED, refused.output
    assert f"later commit ({later}) than ours ({older})" in refused.stderr
    assert "PIPELINEGEN_ALLOW_OLDER=1" in refused.stderr
    assert where(deployer) == (better, better, better)

    job = {"CI_COMMIT_SHA": older, "PIPELINEGEN_ALLOW_OLDER": "1"}
    arguments = ("run", "deploy", deployer.host.name, "--system", good, "--class", "protected")
    meant = deployer.store.pipelinegen(*arguments, cwd=deployer.folder, timeout=100, check=False, env=job)
    assert meant.returncode == 0, meant.output
    assert "later commit" in meant.stderr, "it is told all the same"
    assert where(deployer) == (good, good, good)

    # The way back needs no leave, wherever it leads.
    back = roll_back(deployer, "--rollback", "1")
    assert back.returncode == 0, back.output
    assert where(deployer) == (old, old, old)


def generations(deployer: Deployer) -> Generations:
    listed = run(deployer, "generations", deployer.host.name, "--json")
    assert listed.returncode == 0, listed.output
    return Generations.model_validate_json(listed.stdout)


def test_generations_tell_what_there_is(deployer: Deployer, tmp_path: Path) -> None:
    good, old = deployer.build("good"), deployer.host.initial_system
    made_of = "0123456789" * 4
    result = deployer.deploy(good, "--revision", made_of)
    assert result.returncode == 0, result.output

    newest, oldest = generations(deployer).generations
    assert (newest.path, newest.current, newest.running, newest.booted) == (good, True, True, False)
    assert (oldest.path, oldest.current, oldest.running) == (old, False, False)
    assert (newest.revision, oldest.revision) == (made_of, None), "our record there knows it"
    assert newest.nixos_version == "1.0"
    assert newest.date is not None
    assert newest.date.startswith(deployer.host.read("date -u +%Y-%m-%dT"))

    shown = run(deployer, "generations", deployer.host.name)
    assert shown.returncode == 0, shown.output
    titles, first, second, *_ = shown.stdout.splitlines()
    assert titles.split()[0] == "generation"
    assert first.endswith(good)
    assert made_of[:12] in first
    assert second.endswith(old)
    assert json.loads(run(deployer, "generations", "web1", "--json").stdout)["format_version"] == "1.0"
    assert tmp_path.is_dir()


def test_generations_of_a_host_that_does_not_answer_are_worth_another_try(deployer: Deployer) -> None:
    with deployer.host.network_cut():
        result = run(deployer, "generations", deployer.host.name)
    assert result.returncode == 75, result.output
    assert not result.stdout
    assert look(deployer.host) == as_installed(deployer.host)
