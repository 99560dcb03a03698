"""`run deploy` that is cut off from the host: the network, sshd, the host's power, or itself goes away."""

from __future__ import annotations

import signal

import pytest

from tests.lab.deployer import Deployer, Situation, last_record, look, until
from tests.lab.scenarios import Scenario, shown

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("deploy-broken-off")]


# --- the network


@pytest.mark.parametrize("scenario", [shown("sshd goes away for a moment")], ids=str)
def test_a_connection_that_is_lost_meanwhile_does_no_harm(deployer: Deployer, scenario: Scenario) -> None:
    path = deployer.build("cutting")
    result = deployer.deploy(path)
    assert "no connection to" in result.stderr, result.output
    assert "cutting ends" in result.stderr
    scenario.holds(deployer, path)
    scenario.told(deployer, result.returncode)


@pytest.mark.parametrize("scenario", [shown("the network is cut for a moment")], ids=str)
def test_a_short_cut_of_the_network_does_no_harm(deployer: Deployer, scenario: Scenario) -> None:
    path = deployer.build("slow")
    with deployer.started(path) as job:
        deployer.phase("activating")
        with deployer.host.network_cut():
            until(lambda: "waiting" in deployer.phase_now(), "the end of the activation")
        result = job.wait()
    scenario.holds(deployer, path)
    scenario.told(deployer, result.returncode)


@pytest.mark.parametrize("scenario", [shown("the network is cut until after the time to confirm")], ids=str)
def test_without_a_network_the_host_returns_by_itself(deployer: Deployer, scenario: Scenario) -> None:
    path = deployer.build("slow")
    with deployer.started(path) as job:
        deployer.phase("activating")
        with deployer.host.network_cut():
            deployer.quiet()
            assert deployer.host.current_system() == deployer.host.initial_system
        result = job.wait()
    assert "no sign of life for 6 s" in result.stderr, result.output
    scenario.holds(deployer, path)
    scenario.told(deployer, result.returncode)


@pytest.mark.parametrize(
    ("scenario", "system"),
    [
        (shown("the new system closes port 22"), "closed"),
        (shown("the new system has no network"), "offline"),
    ],
    ids=str,
)
def test_a_system_that_locks_us_out_is_undone(deployer: Deployer, scenario: Scenario, system: str) -> None:
    path = deployer.build(system)
    result = deployer.deploy(path)
    assert "no sign of life for 6 s" in result.stderr, result.output
    scenario.holds(deployer, path)
    scenario.told(deployer, result.returncode)


@pytest.mark.parametrize("scenario", [shown("sshd is broken for good")], ids=str)
def test_a_host_that_never_comes_back_is_not_called_a_success(deployer: Deployer, scenario: Scenario) -> None:
    deployer.patience = 5
    path = deployer.build("silent")
    result = deployer.deploy(path)
    scenario.told(deployer, result.returncode)
    assert deployer.report()["after"] is None
    # As the report says, it has returned by itself.
    assert "it returns to the system before by itself" in result.stderr
    deployer.quiet()
    found = look(deployer.host)
    assert (found.runs, found.boots) == (deployer.host.initial_system, deployer.host.initial_system)


# --- the deployer


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (shown("the deployer is killed while it looks"), "Looking at the host"),
        (shown("the deployer is killed while it copies"), "Bringing the system to the host"),
    ],
    ids=str,
)
def test_a_deployer_that_is_killed_early_changes_nothing(deployer: Deployer, scenario: Scenario, words: str) -> None:
    path = deployer.build("good")
    with deployer.started(path) as job:
        job.until_said(words)
        job.kill()
        job.wait()
    deployer.quiet()
    assert last_record(deployer.host).get("result", "") == scenario.result
    scenario.holds(deployer, path, litter=True)
    deployer.works()


@pytest.mark.parametrize(
    ("scenario", "system", "phase"),
    [
        (shown("the deployer is killed while the host activates"), "slow", "activating"),
        (shown("the deployer is killed before it confirms"), "good", "waiting"),
        (shown("the deployer is killed after it confirmed"), "slow-to-install", "committing"),
    ],
    ids=str,
)
def test_a_deployer_that_is_killed_leaves_one_of_the_two_systems(
    deployer: Deployer, scenario: Scenario, system: str, phase: str
) -> None:
    path = deployer.build(system)
    with deployer.started(path) as job:
        deployer.phase(phase)
        job.kill()
        job.wait()
    deployer.quiet()
    assert last_record(deployer.host)["result"] == scenario.result
    scenario.holds(deployer, path, litter=True)
    deployer.works()


@pytest.mark.parametrize("scenario", [shown("the deployer is killed while the host returns")], ids=str)
def test_a_return_needs_nobody(deployer: Deployer, scenario: Scenario) -> None:
    slow = deployer.build("slow-to-return-to")
    deployer.by_hand(slow)
    path = deployer.build("broken-activation")
    with deployer.started(path) as job:
        deployer.phase("restoring")
        job.kill()
        job.wait()
    deployer.quiet()
    assert last_record(deployer.host)["result"] == scenario.result
    found = look(deployer.host)
    assert found == Situation(slow, slow, slow, litter=found.litter)
    deployer.works()


@pytest.mark.parametrize("scenario", [shown("the deployer is interrupted while the host activates")], ids=str)
def test_an_interrupted_deployment_is_undone_and_says_so(deployer: Deployer, scenario: Scenario) -> None:
    path = deployer.build("slow")
    with deployer.started(path) as job:
        deployer.phase("activating")
        job.kill(signal.SIGTERM)
        result = job.wait()
    report = deployer.report()
    assert (result.returncode, report["exit_code"], report["result"]) == (scenario.code, 143, scenario.result)
    assert f"it returns to {deployer.host.initial_system} within 6 s" in result.stderr
    deployer.quiet()
    scenario.holds(deployer, path, litter=True)
    deployer.works()


# --- the host


@pytest.mark.parametrize("scenario", [shown("the new system reboots the host while it is activated")], ids=str)
def test_a_system_that_reboots_the_host_is_gone_by_that(deployer: Deployer, scenario: Scenario) -> None:
    path = deployer.build("rebooting")
    result = deployer.deploy(path)
    scenario.holds(deployer, path, litter=True)
    scenario.told(deployer, result.returncode)
    deployer.works()


@pytest.mark.parametrize(
    ("scenario", "system", "phase"),
    [
        (shown("the power is cut while the host activates"), "slow", "activating"),
        (shown("the power is cut before the confirmation"), "good", "waiting"),
        # Between the profile and the boot loader.
        (shown("the power is cut while the host commits"), "slow-to-install", "committing"),
    ],
    ids=str,
)
def test_after_a_power_cut_the_system_before_boots(
    deployer: Deployer, scenario: Scenario, system: str, phase: str
) -> None:
    deployer.configure(health=[{"command": "sleep 3"}])
    path = deployer.build(system)
    with deployer.started(path) as job:
        deployer.phase(phase)
        if phase == "committing":
            until(lambda: deployer.host.profile() == path, "the profile is set")
        before = deployer.host.boot_id()
        deployer.host.reboot_hard()
        deployer.host.wait_up(after=before)
        result = job.wait()
    assert "the host was booted" in result.stderr, result.output
    scenario.holds(deployer, path, litter=True)
    scenario.told(deployer, result.returncode)
    deployer.works()


@pytest.mark.parametrize("scenario", [shown("the power is cut while the host returns")], ids=str)
def test_a_power_cut_ends_the_return_at_once(deployer: Deployer, scenario: Scenario) -> None:
    slow = deployer.build("slow-to-return-to")
    deployer.by_hand(slow)
    with deployer.started(deployer.build("broken-activation")) as job:
        deployer.phase("restoring")
        before = deployer.host.boot_id()
        deployer.host.reboot_hard()
        deployer.host.wait_up(after=before)
        result = job.wait()
    scenario.told(deployer, result.returncode)
    found = look(deployer.host)
    assert found == Situation(slow, slow, slow, litter=found.litter)
    deployer.works()
