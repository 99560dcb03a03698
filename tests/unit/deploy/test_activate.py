"""The verdict of a switch, with a host that answers from memory; the real one is in the lab."""

from __future__ import annotations

import fcntl
import io
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.console import Console
from pipelinegen.deploy import switch
from pipelinegen.deploy.activate import SimpleActivation
from pipelinegen.deploy.preflight import missing_on
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.state import RUNTIME, STATE, SYSTEM_LOCK, HostState, read_state
from pipelinegen.errors import CommandError, DeployOutcome
from pipelinegen.process import Completed

OLD, NEW, OTHER = "/nix/store/old", "/nix/store/new", "/nix/store/other"


@dataclass(frozen=True)
class Host(Target):
    """Answers our scripts.

    Attributes:
        polls: answers to the questions how a switch goes on; an exception is raised. The last one is repeated.
        states: what it runs and boots, one after another; the last one is repeated.
        missing: what it says to be absent from its store.
        started: the switches it was asked for, as action, system and profile.
    """

    address: str = "web1"
    polls: list[str | Exception] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)
    missing: str = ""
    started: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, script: str, *arguments: str, **_: Any) -> Completed:
        text = ""
        if script == STATE:
            running, profile = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            text = f"running={running}\nprofile={profile}\njobs=0\n"
        elif script == switch._START:
            self.started.append(arguments[1:4])
        elif script == switch._POLL:
            answer = self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]
            if isinstance(answer, Exception):
                raise answer
            text = answer
        elif "--print-invalid" in script:
            text = self.missing
        return Completed(0, text.encode(), ())


@pytest.fixture
def ticks() -> Iterator[float]:
    return iter(range(0, 10**6, 5))


def apply(host: Host, ticks: Iterator[float], log: io.StringIO | None = None) -> Any:
    console = Console(log or io.StringIO(), clock=lambda: next(ticks))
    return SimpleActivation(host, console, sleep=lambda _: None).apply(NEW, HostState(running=OLD, profile=OLD))


def test_a_deployment_that_came_second_does_not_undo_the_first(ticks: Iterator[float]) -> None:
    host = Host(polls=["done busy\n"], states=[(OTHER, OTHER)])
    applied = apply(host, ticks)
    assert applied.outcome is DeployOutcome.LOCKED
    assert host.started == [("switch", NEW, NEW)]


def test_a_profile_that_cannot_be_set_leaves_nothing_to_undo(ticks: Iterator[float]) -> None:
    host = Host(polls=["done unset\n"], states=[(OLD, OLD)])
    applied = apply(host, ticks)
    assert applied.outcome is DeployOutcome.FAILED
    assert host.started == [("switch", NEW, NEW)]


def refused() -> CommandError:
    return CommandError("a command failed", command="ssh", returncode=127, stderr_tail=("sudo: command not found",))


def test_a_host_that_refuses_to_answer_for_a_while_is_asked_again(ticks: Iterator[float]) -> None:
    host = Host(polls=[refused(), refused(), "done 0\n"], states=[(NEW, NEW)])
    assert apply(host, ticks).outcome is None


def test_a_host_that_refuses_to_answer_for_good_is_in_an_unknown_state(ticks: Iterator[float]) -> None:
    applied = apply(Host(polls=[refused()], states=[(NEW, NEW)]), ticks)
    assert applied.outcome is DeployOutcome.STATE_UNKNOWN
    assert "sudo: command not found" in (applied.why or "")


def test_an_ending_that_could_not_be_written_down_is_no_success(ticks: Iterator[float]) -> None:
    host = Host(polls=["done \n", "done 0\n"], states=[(NEW, NEW), (OLD, OLD)])
    applied = apply(host, ticks)
    assert applied.outcome is DeployOutcome.ROLLED_BACK
    assert host.started == [("switch", NEW, NEW), ("switch", OLD, OLD)]


def test_what_a_host_says_is_harmless_to_print() -> None:
    state = read_state(Host(states=[("/nix/store/x\x1b[2J\x1b[0Ksection_end:1:a", OLD)]))
    assert state.running == "/nix/store/xsection-end:1:a"


def test_a_host_cannot_name_paths_that_it_was_not_asked_for() -> None:
    host = Host(missing=f"{NEW}\n--option\n")
    assert missing_on(Host(missing=f"{NEW}\n"), [NEW, OLD]) == [NEW]
    with pytest.raises(UnreachableError, match="does not answer what it was asked"):
        missing_on(host, [NEW, OLD])


@pytest.mark.processes
@pytest.mark.parametrize("held", [None, "system", "ours"])
def test_nothing_is_begun_while_another_switch_goes_on(tmp_path: Path, held: str | None) -> None:
    ours, system = tmp_path / "lock", tmp_path / "system.lock"
    script = switch._UNIT.replace(SYSTEM_LOCK, str(system)).replace(RUNTIME, str(tmp_path))
    # What the host would do is not to be done here.
    script = script.replace("nix-env --profile", "false --profile")
    files = {"ours": ours.open("w"), "system": system.open("w")}
    if held is not None:
        fcntl.flock(files[held], fcntl.LOCK_EX)
    folder = tmp_path / "unit"
    folder.mkdir()
    subprocess.run(["sh", "-c", script, "run", folder, "switch", NEW, NEW], check=True)
    for file in files.values():
        file.close()
    assert (folder / "status").read_text() == ("unset\n" if held is None else "busy\n")
