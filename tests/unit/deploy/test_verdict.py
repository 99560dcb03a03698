"""Each way in which an activation can end has its own verdict, and the host is believed before the supervisor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelinegen.deploy.state import HostState
from pipelinegen.deploy.supervisor import Order, Status
from pipelinegen.deploy.verdict import judge
from pipelinegen.errors import DeployOutcome as Outcome

OLD, NEW, OTHER = "/nix/store/old", "/nix/store/new", "/nix/store/other"
BEFORE = HostState(running=OLD, profile=OLD)
ORDER = Order(action="switch", system=NEW, previous=OLD, previous_profile=OLD)


def at(running: str | None, profile: str | None) -> HostState:
    return HostState(running=running, profile=profile)


def ended(result: str, reason: str = "", **more: int) -> Status:
    return Status.model_validate({"phase": "ended", "result": result, "reason": reason, **more})


BOOTED = Status(phase="activating", rebooted=True)


@pytest.mark.parametrize(
    ("status", "after", "outcome"),
    [
        pytest.param(ended("confirmed"), at(NEW, NEW), None, id="confirmed"),
        pytest.param(ended("confirmed"), at(NEW, OLD), Outcome.ROLLBACK_FAILED, id="confirmed, but boots the old one"),
        pytest.param(ended("confirmed"), at(OTHER, OTHER), Outcome.ROLLBACK_FAILED, id="confirmed, but another runs"),
        pytest.param(ended("confirmed"), None, Outcome.STATE_UNKNOWN, id="confirmed, then silent"),
        pytest.param(ended("restored", "bad"), at(OLD, OLD), Outcome.ROLLED_BACK, id="restored"),
        pytest.param(ended("restored", "bad"), at(NEW, OLD), Outcome.ROLLBACK_FAILED, id="restored only in words"),
        pytest.param(ended("restored", "bad"), at(OLD, NEW), Outcome.ROLLBACK_FAILED, id="restored, boots the new one"),
        pytest.param(ended("restore-failed", "bad"), at(NEW, OLD), Outcome.ROLLBACK_FAILED, id="not restored"),
        pytest.param(ended("boot-failed", "full"), at(NEW, OLD), Outcome.BOOT_FAILED, id="boot failed"),
        pytest.param(ended("boot-failed", "full"), at(OTHER, OLD), Outcome.ROLLBACK_FAILED, id="boot failed, another"),
        pytest.param(ended("refused", "another switch is on"), at(OLD, OLD), Outcome.LOCKED, id="busy"),
        pytest.param(ended("refused", "x", activation_exit=11), at(OLD, OLD), Outcome.LOCKED, id="lock held"),
        pytest.param(ended("refused", "no room"), at(OLD, OLD), Outcome.FAILED, id="did not begin"),
        pytest.param(ended("refused", "no room"), at(OTHER, OLD), Outcome.ROLLBACK_FAILED, id="did not begin, another"),
        pytest.param(BOOTED, at(OLD, OLD), Outcome.ROLLED_BACK, id="booted half-way"),
        pytest.param(BOOTED, at(NEW, OLD), Outcome.ROLLBACK_FAILED, id="booted half-way into neither"),
        pytest.param(
            Status(phase="committing", rebooted=True), at(NEW, NEW), None, id="booted when it was confirmed already"
        ),
        pytest.param(Status(phase="waiting"), at(OLD, OLD), Outcome.ROLLED_BACK, id="ended from outside"),
        pytest.param(
            Status(phase="committing"), at(NEW, NEW), Outcome.BOOT_FAILED, id="ended before the boot loader was told"
        ),
        pytest.param(Status(), None, Outcome.STATE_UNKNOWN, id="nothing was heard any more"),
    ],
)
def test_a_switch(status: Status, after: HostState | None, outcome: Outcome | None) -> None:
    verdict = judge(ORDER, status, BEFORE, after, ())
    assert verdict.outcome is outcome
    assert (verdict.message is None) == (outcome is None)


@pytest.mark.parametrize("status", [ended("restored", "bad"), BOOTED, Status(phase="waiting")])
def test_a_system_that_is_back_and_not_healthy_is_told_apart(status: Status) -> None:
    verdict = judge(ORDER, status, BEFORE, at(OLD, OLD), ("sshd.service",))
    assert verdict.outcome is Outcome.ROLLED_BACK_UNHEALTHY
    assert "sshd.service" in (verdict.why or "")


def test_a_test_leaves_the_next_boot_alone() -> None:
    order = replace(ORDER, action="test")
    assert judge(order, ended("confirmed"), BEFORE, at(NEW, OLD), ()).outcome is None
    assert judge(order, ended("confirmed"), BEFORE, at(NEW, NEW), ()).outcome is Outcome.ROLLBACK_FAILED


def test_a_system_for_the_next_boot_does_not_run_now() -> None:
    order = replace(ORDER, action="boot")
    assert judge(order, ended("confirmed"), BEFORE, at(OLD, NEW), ()).outcome is None
    failed = judge(order, ended("boot-failed", "full"), BEFORE, at(OLD, OLD), ())
    assert failed.outcome is Outcome.BOOT_FAILED
    assert "the next boot takes /nix/store/old" in (failed.message or "")
    # What a boot took in spite of the profile is what the boot loader has.
    torn = judge(order, Status(phase="committing", rebooted=True), BEFORE, at(OLD, NEW), ())
    assert torn.outcome is Outcome.ROLLBACK_FAILED
    assert judge(order, Status(phase="committing", rebooted=True), BEFORE, at(NEW, NEW), ()).outcome is None


def test_a_reason_is_not_lost_when_the_host_is_booted_after_the_end() -> None:
    status = Status(phase="ended", result="restored", reason="newly failed: web.service", rebooted=True)
    assert "web.service" in (judge(ORDER, status, BEFORE, at(OLD, OLD), ()).why or "")


def test_the_message_names_what_runs_and_what_boots() -> None:
    verdict = judge(ORDER, ended("restore-failed", "bad"), BEFORE, at(OTHER, NEW), ())
    assert "it runs /nix/store/other" in (verdict.message or "")
    assert "its next boot takes /nix/store/new" in (verdict.message or "")
