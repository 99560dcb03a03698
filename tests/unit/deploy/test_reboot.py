"""A reboot is believed only when the host says that it booted, and what it runs since; the real one is in the lab."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.console import Console
from pipelinegen.deploy import reboot as module
from pipelinegen.deploy.reboot import Rebooted, reboot
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.state import STATE
from pipelinegen.errors import CommandError, DeployOutcome, InterruptedRunError
from pipelinegen.process import Completed
from tests.unit.deploy.local_host import LocalHost

OLD, NEW = "/nix/store/old", "/nix/store/new"
AWAY = UnreachableError("web1 cannot be reached", why="Connection refused")
REFUSED = CommandError("a command failed", command="ssh", returncode=1, stderr_tail=("sudo: \x1b[2Jno",))


def state(boot: str, running: str = NEW, *, says: str = "running", jobs: int = 0, failed: str = "") -> str:
    lines = [f"running={running}", f"profile={NEW}", f"boot_id={boot}", f"state={says}", f"jobs={jobs}"]
    return "\n".join([*lines, *([f"failed={failed}"] if failed else [])]) + "\n"


@dataclass(frozen=True)
class Host(Target):
    """Answers from memory.

    Attributes:
        states: to the questions what it runs, one after another; an exception is raised. The last one is repeated.
        requests: to the wish that it reboot, likewise.
        asked: how often that was wished for.
    """

    address: str = "web1"
    states: list[str | BaseException] = field(default_factory=list)
    requests: list[str | BaseException] = field(default_factory=lambda: [""])
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, script: str, *arguments: str, **_: Any) -> Completed:
        answers = self.states
        if script != STATE:
            answers = self.requests
            self.asked.append(arguments)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return Completed(0, answer.encode(), ())


def run(host: Host, log: io.StringIO | None = None, *, timeout: float = 600, up: Target | None = None) -> Rebooted:
    ticks: Iterator[float] = iter(range(0, 10**6, 2))
    console = Console(log or io.StringIO(), clock=lambda: next(ticks))
    return reboot(host, console, expected=NEW, timeout=timeout, sleep=lambda _: None, up=up)


def test_a_host_that_comes_back_with_another_boot_id_was_rebooted() -> None:
    log = io.StringIO()
    host = Host(states=[state("1", OLD), AWAY, AWAY, REFUSED, state("2", failed="worker.service")])
    ended = run(host, log)
    assert (ended.outcome, ended.message, ended.why, ended.settled) == (None, None, None, True)
    assert ended.state is not None
    assert (ended.state.boot_id, ended.state.running, ended.state.failed) == ("2", NEW, ("worker.service",))
    assert ended.seconds > 0
    assert "up again" in log.getvalue()
    assert len(host.asked) == 1


def test_a_host_that_answers_before_it_goes_down_was_not_rebooted_yet() -> None:
    ended = run(Host(states=[state("1", NEW), state("1", NEW), state("1", NEW), AWAY, state("2")]))
    assert ended.outcome is None
    assert ended.state is not None
    assert ended.state.boot_id == "2"


def test_a_host_that_never_goes_down_was_not_rebooted_even_if_it_runs_the_system() -> None:
    ended = run(Host(states=[state("1", NEW)]), timeout=60)
    assert ended.outcome is DeployOutcome.REBOOT_REQUIRED
    assert "since the same boot" in (ended.message or "")
    assert ended.state is None


def test_a_host_that_does_not_say_since_when_it_runs_was_not_rebooted() -> None:
    host = Host(states=[state("", NEW)])
    assert run(host).outcome is DeployOutcome.REBOOT_REQUIRED
    assert not host.asked
    assert run(Host(states=[state("1"), state("")]), timeout=60).outcome is DeployOutcome.REBOOT_REQUIRED


def test_a_host_that_does_not_come_back_is_in_an_unknown_state_within_bounds() -> None:
    log = io.StringIO()
    ended = run(Host(states=[state("1", OLD), AWAY]), log, timeout=300)
    assert ended.outcome is DeployOutcome.STATE_UNKNOWN
    assert ended.why == "Connection refused"
    assert ended.state is None
    assert 300 <= ended.seconds < 320
    assert log.getvalue().count("… still rebooting") >= 5, "a sign of life for whoever reads along"


def test_a_host_that_comes_back_with_another_system_is_no_success() -> None:
    ended = run(Host(states=[state("1", OLD), AWAY, state("2", OLD)]))
    assert ended.outcome is DeployOutcome.FAILED
    assert OLD in (ended.message or "")
    assert NEW in (ended.why or "")
    assert ended.state is not None
    assert ended.state.running == OLD


def test_what_runs_is_judged_when_the_host_has_come_to_rest() -> None:
    booting = state("2", "", says="starting", jobs=7)
    ended = run(Host(states=[state("1", OLD), AWAY, booting, AWAY, booting, state("2", says="degraded")]))
    assert (ended.outcome, ended.settled) == (None, True)


def test_a_host_that_never_comes_to_rest_is_judged_all_the_same() -> None:
    log = io.StringIO()
    ended = run(Host(states=[state("1", OLD), state("2", says="starting", jobs=3)]), log)
    assert (ended.outcome, ended.settled) == (None, False)
    assert "3 jobs wait" in log.getvalue()


def test_a_host_that_goes_away_while_it_boots_is_in_an_unknown_state() -> None:
    ended = run(Host(states=[state("1", OLD), state("2", says="starting", jobs=3), AWAY]))
    assert ended.outcome is DeployOutcome.STATE_UNKNOWN


def test_a_wish_that_was_lost_with_its_connection_is_told_again_under_the_same_name() -> None:
    host = Host(states=[state("1"), state("1"), AWAY, state("2")], requests=[AWAY, ""])
    assert run(host).outcome is None
    assert len(host.asked) == 2
    assert host.asked[0] == host.asked[1]
    assert host.asked[0][1] == "1"


def test_a_wish_that_arrived_although_its_connection_was_lost_is_not_told_again() -> None:
    host = Host(states=[state("1"), AWAY, state("2")], requests=[AWAY])
    assert run(host).outcome is None
    assert len(host.asked) == 1


def test_a_host_that_refuses_to_reboot_still_waits_for_it() -> None:
    ended = run(Host(states=[state("1", OLD)], requests=[REFUSED]))
    assert ended.outcome is DeployOutcome.REBOOT_REQUIRED
    assert "sudo: no" in (ended.why or "")
    assert "\x1b" not in (ended.why or "")


def test_a_host_that_does_not_answer_before_is_asked_for_a_while_and_left_alone() -> None:
    host = Host(states=[AWAY])
    ended = run(host)
    assert ended.outcome is DeployOutcome.REBOOT_REQUIRED
    assert not host.asked
    assert run(Host(states=[AWAY, AWAY, state("1"), state("2")])).outcome is None


def test_a_host_that_moves_is_awaited_where_it_moves_to() -> None:
    moved = Host(address="web1-new", states=[AWAY, state("2")])
    assert run(Host(states=[state("1", OLD), AWAY]), up=moved).outcome is None
    assert not moved.asked


def test_a_signal_passes_and_says_that_the_reboot_goes_on() -> None:
    log = io.StringIO()
    with pytest.raises(InterruptedRunError):
        run(Host(states=[state("1", OLD), InterruptedRunError(15)]), log)
    assert "goes on by itself" in log.getvalue()


@pytest.fixture
def shell(tmp_path: Path) -> LocalHost:
    """A host whose systemd writes down what it is told."""
    boot_id = tmp_path / "proc" / "sys" / "kernel" / "random" / "boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("1\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in {
        "systemd-run": f'echo "$@" >> {tmp_path}/told',
        # As the real one: whether one of them is active.
        "systemctl": f'if [ "$1" != is-active ]; then exit 9; fi; [ -e {tmp_path}/told ]',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    return LocalHost(root=tmp_path, path=programs)


@pytest.mark.processes
def test_the_host_is_told_once_and_after_the_connection_has_ended(shell: LocalHost) -> None:
    for _ in range(2):
        shell.run(module._SCRIPT, "pipelinegen-reboot-1", "1")
    (told,) = (shell.root / "told").read_text().splitlines()
    assert "--unit=pipelinegen-reboot-1" in told
    assert "--on-active=1 --timer-property=AccuracySec=100ms" in told
    assert told.endswith("systemctl reboot")


@pytest.mark.processes
def test_a_host_that_has_booted_meanwhile_is_not_told_again(shell: LocalHost) -> None:
    shell.run(module._SCRIPT, "pipelinegen-reboot-1", "another boot id")
    assert not (shell.root / "told").exists()
