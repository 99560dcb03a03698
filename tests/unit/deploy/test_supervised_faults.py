"""Nothing is confirmed unseen, given up too early or waited for without end, whatever of the host does not answer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console
from pipelinegen.deploy import journal, supervisor
from pipelinegen.deploy.activation import Applied
from pipelinegen.deploy.ssh import UnreachableError
from pipelinegen.deploy.state import STATE, HostState
from pipelinegen.deploy.supervised import SupervisedActivation
from pipelinegen.deploy.supervisor import Supervisor
from pipelinegen.errors import CommandError, DeployOutcome, InterruptedRunError
from pipelinegen.process import Completed
from tests.unit.deploy.local_host import LocalHost
from tests.unit.deploy.test_supervised import CONFIRMED, NEW, OLD, RESTORED, WAITING, Host, next_of, refused, status

AWAY = UnreachableError("web1 does not answer", why="Connection refused")
GONE = status("committing").replace("active=yes\n", "")


@dataclass(frozen=True)
class Faulty(Host):
    """A host of which parts do not answer.

    Attributes:
        faults: what is raised, by the script that was to run; one after another, null is no fault, the last one is
            repeated.
        moves_to: the only address by which it answers, if that is not all the same.
        log: the scripts that ran, and where.
    """

    faults: dict[str, list[Exception | None]] = field(default_factory=dict)
    moves_to: list[str] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)

    def run(self, script: str, *arguments: str, **options: Any) -> Completed:
        self.log.append((script, self.address))
        if self.moves_to and self.address != self.moves_to[0]:
            raise AWAY
        fault = next_of(self.faults.get(script, [None]))
        if fault is not None:
            raise fault
        return super().run(script, *arguments, **options)


@dataclass
class Clock:
    """Goes on by a second whenever somebody looks."""

    now: int = 0

    def __iter__(self) -> Clock:
        return self

    def __next__(self) -> int:
        self.now += 1
        return self.now


@dataclass(frozen=True)
class Slow(Faulty):
    """Looking at what it runs takes long."""

    clock: Clock = field(default_factory=Clock)

    def run(self, script: str, *arguments: str, **options: Any) -> Completed:
        if script == STATE:
            self.clock.now += 1000
        return super().run(script, *arguments, **options)


@dataclass(frozen=True)
class Idle(Faulty):
    """Whoever waits for its answers has time."""

    def run(self, script: str, *arguments: str, **options: Any) -> Completed:
        answer = super().run(script, *arguments, **options)
        on_idle = options.get("on_idle")
        if on_idle is not None:
            for _ in range(4):
                on_idle()
        return answer


@dataclass(frozen=True)
class Silent(Faulty):
    """Says nothing of its supervisor between the decision and the question of what it runs."""

    def run(self, script: str, *arguments: str, **options: Any) -> Completed:
        if script == supervisor._STATUS and self.decisions and self.log[-1][0] != STATE:
            self.log.append(("", self.address))
            raise AWAY
        return super().run(script, *arguments, **options)


def activation(host: Host, ticks: Iterator[float], **settings: object) -> SupervisedActivation:
    console = Console(io.StringIO(), clock=lambda: next(ticks))
    values = HostConfig.model_validate({"address": "web1", "settle": "0s", **settings})
    return SupervisedActivation(host, values, console, no_check=True, sleep=lambda _: None)


def apply(host: Host, ticks: Iterator[float] | None = None, **settings: object) -> Applied:
    made = activation(host, ticks or iter(range(0, 10**6, 5)), **settings)
    return made.apply(NEW, HostState(running=OLD, profile=OLD))


def test_what_cannot_be_looked_at_is_not_confirmed() -> None:
    faults: dict[str, list[Exception | None]] = {STATE: [*[AWAY] * 9, None]}
    host = Faulty(statuses=[WAITING, RESTORED], states=[(OLD, OLD)], faults=faults)
    assert apply(host).outcome is DeployOutcome.ROLLED_BACK
    assert host.decisions == ["undo it did not say what it runs for 30 s"]


def test_a_journal_that_cannot_be_read_keeps_nobody_waiting() -> None:
    slow: dict[str, list[Exception | None]] = {journal._PAGE: [AWAY]}
    host = Faulty(statuses=[status("activating"), WAITING, CONFIRMED], states=[(NEW, NEW)], faults=slow)
    assert apply(host).outcome is None


def test_a_start_that_was_lost_is_not_believed_to_be_refused() -> None:
    faults: dict[str, list[Exception | None]] = {supervisor._START: [AWAY, refused(), refused(), None]}
    host = Faulty(statuses=[WAITING, CONFIRMED], states=[(NEW, NEW)], faults=faults)
    assert apply(host).outcome is None


def test_one_lost_connection_after_long_probes_does_not_cost_the_confirmation() -> None:
    clock = Clock()
    faults: dict[str, list[Exception | None]] = {supervisor._DECIDE: [AWAY, None]}
    host = Slow(statuses=[WAITING, CONFIRMED], states=[(NEW, NEW)], faults=faults, clock=clock)
    assert apply(host, clock).outcome is None
    assert host.decisions == ["confirm"]


def test_a_host_that_was_silent_for_too_long_and_is_back_is_asked_what_became_of_it() -> None:
    host = Silent(statuses=[WAITING, CONFIRMED], states=[(NEW, NEW)])
    assert apply(host).outcome is None
    assert len(host.log) > 40


def test_a_host_that_moves_while_it_is_activated_is_found_again() -> None:
    host = Faulty(statuses=[status("activating"), WAITING, CONFIRMED], states=[(NEW, NEW)], moves_to=["web1"])
    ran = Host.run

    def moving(script: str, *arguments: str, **options: Any) -> Completed:
        answer = ran(host, script, *arguments, **options)
        if script == supervisor._START:
            host.moves_to[0] = "web1.new"
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Host, "run", lambda _, script, *arguments, **options: moving(script, *arguments, **options))
        assert apply(host, confirm_address="web1.new").outcome is None
    assert (supervisor._DECIDE, "web1.new") in host.log


def test_what_moved_is_taken_back_where_it_is_now_and_without_checks() -> None:
    host = Faulty(statuses=[RESTORED], states=[(OLD, OLD)], moves_to=["web1.new"])
    made = activation(host, iter(range(0, 10**6, 5)), confirm_address="web1.new")
    assert made.restore(NEW, HostState(running=OLD, profile=OLD), "why").outcome is DeployOutcome.ROLLED_BACK
    assert (host.orders[0]["action"], host.orders[0]["no_check"]) == ("restore", "1")


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        pytest.param([(NEW, NEW)], DeployOutcome.BOOT_FAILED, id="new"),
        pytest.param([(OLD, OLD)], DeployOutcome.ROLLED_BACK, id="old"),
        pytest.param([(NEW, OLD)], DeployOutcome.ROLLBACK_FAILED, id="neither"),
    ],
)
def test_where_nobody_can_bring_the_old_system_back_the_host_says_what_there_is(
    states: list[tuple[str, ...]], outcome: DeployOutcome
) -> None:
    nobody = status("ended", "refused", reason="another deployment is going on")
    host = Faulty(statuses=[WAITING, GONE, GONE, GONE, nobody], states=states)
    assert apply(host).outcome is outcome


def test_a_command_that_fails_at_first_is_a_refusal() -> None:
    failed = CommandError("a command failed", command="ssh", returncode=1, stderr_tail=("no systemd-run",))
    host = Faulty(statuses=[WAITING], states=[(OLD, OLD)], faults={supervisor._START: [failed]})
    applied = apply(host)
    assert applied.outcome is DeployOutcome.FAILED
    assert "no systemd-run" in (applied.why or "")


@pytest.mark.parametrize("confirmed", [False, True])
def test_who_interrupts_is_told_whether_the_host_returns(confirmed: bool) -> None:
    script = supervisor._DECIDE if confirmed else supervisor._STATUS
    interrupted: dict[str, list[Exception | None]] = {script: [InterruptedRunError(15)]}
    host = Faulty(statuses=[WAITING, CONFIRMED], states=[(NEW, NEW)], faults=interrupted)
    log = io.StringIO()
    made = SupervisedActivation(host, HostConfig(address="web1", settle="0s"), Console(log), sleep=lambda _: None)
    with pytest.raises(InterruptedRunError):
        made.apply(NEW, HostState(running=OLD, profile=OLD))
    assert (f"it returns to {OLD}" in log.getvalue()) is not confirmed


@pytest.mark.processes
@pytest.mark.parametrize(
    ("says", "active"),
    [
        ("active", True),
        ("activating", True),
        ("deactivating", True),
        ("inactive", False),
        ("failed", False),
        pytest.param("", True, id="systemd does not answer"),
    ],
)
def test_a_supervisor_is_gone_only_when_systemd_says_so(tmp_path: Path, says: str, active: bool) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho {says}\nexit 3\n")
    systemctl.chmod(0o755)
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("one\n")
    assert Supervisor(LocalHost(root=tmp_path, path=tmp_path)).status().active is active


def test_a_host_that_answers_slowly_is_told_meanwhile_that_we_are_there() -> None:
    host = Idle(statuses=[WAITING, CONFIRMED], states=[(NEW, NEW)])
    assert apply(host).outcome is None
    asked = [script for script, _ in host.log]
    looked = asked.index(STATE)
    assert supervisor._CONTACT in asked[looked : asked.index(supervisor._DECIDE)]


def test_a_host_that_was_booted_while_it_waited_is_not_judged() -> None:
    rebooted = status("waiting", boot_id="one", now_booted="two").replace("active=yes\n", "")
    host = Faulty(statuses=[rebooted], states=[(OLD, OLD)])
    applied = apply(host, health=[{"command": "exit 1", "within": "1s"}])
    assert (applied.outcome, applied.health, host.decisions) == (DeployOutcome.ROLLED_BACK, (), [])
