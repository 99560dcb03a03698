"""What we make of a supervised activation, with a host that answers from memory; the real one is in the lab."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console
from pipelinegen.deploy import supervisor
from pipelinegen.deploy.activation import Applied
from pipelinegen.deploy.preflight import missing_on
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.state import STATE, HostState, read_state
from pipelinegen.deploy.supervised import SupervisedActivation
from pipelinegen.errors import CommandError, DeployOutcome
from pipelinegen.process import Completed

OLD, NEW, OTHER = "/nix/store/old", "/nix/store/new", "/nix/store/other"

Answer = str | Exception


def status(phase: str, result: str = "", **more: object) -> str:
    values = {"active": "yes" if phase != "ended" else "", "phase": phase, "result": result, **more}
    return "".join(f"{key}={value}\n" for key, value in values.items() if value != "")


@dataclass(frozen=True)
class Host(Target):
    """Answers our scripts.

    Attributes:
        statuses: how far the supervisor is, one after another; an exception is raised. The last one is repeated.
        states: what it runs and boots (and failed units), likewise.
        missing: what it says to be absent from its store.
        orders: what supervisors were asked for; decisions: what they were told.
    """

    address: str = "web1"
    statuses: list[Answer] = field(default_factory=list)
    states: list[tuple[str, ...]] = field(default_factory=list)
    missing: str = ""
    orders: list[dict[str, str]] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)

    def run(self, script: str, *arguments: str, **_: Any) -> Completed:
        answers: dict[str, Callable[[], Answer]] = {
            STATE: self._state,
            supervisor._START: lambda: self._start(arguments[1]),
            supervisor._STATUS: lambda: next_of(self.statuses),
            supervisor._DECIDE: lambda: self._decide(arguments[1]),
        }
        answer = self.missing if "--print-invalid" in script else answers.get(script, lambda: "")()
        if isinstance(answer, Exception):
            raise answer
        return Completed(0, answer.encode(), ())

    def _state(self) -> str:
        running, profile, *failed = next_of(self.states)
        return "".join([f"running={running}\nprofile={profile}\njobs=0\n", *(f"failed={unit}\n" for unit in failed)])

    def _start(self, order: str) -> str:
        self.orders.append(dict(line.split("=", 1) for line in order.splitlines()))
        return ""

    def _decide(self, words: str) -> str:
        self.decisions.append(words)
        return words


def next_of(answers: list[Any]) -> Any:
    return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def ticks() -> Iterator[float]:
    return iter(range(0, 10**6, 5))


def apply(host: Host, ticks: Iterator[float], log: io.StringIO | None = None, **settings: object) -> Applied:
    console = Console(log or io.StringIO(), clock=lambda: next(ticks))
    values = HostConfig.model_validate({"address": "web1", "settle": "0s", **settings})
    activation = SupervisedActivation(host, values, console, sleep=lambda _: None)
    return activation.apply(NEW, HostState(running=OLD, profile=OLD, failed=("old.service",)))


WAITING = status("waiting", activation_exit=0)
CONFIRMED = status("ended", "confirmed", activation_exit=0, boot_exit=0)
RESTORED = status("ended", "restored", activation_exit=0, restore_exit=0, reason="undone")


def test_what_is_well_is_confirmed(ticks: Iterator[float]) -> None:
    host = Host(statuses=[status("activating"), WAITING, CONFIRMED], states=[(NEW, OLD), (NEW, NEW)])
    applied = apply(host, ticks)
    assert (applied.outcome, applied.exit_code, host.decisions) == (None, 0, ["confirm"])
    (order,) = host.orders
    assert (order["action"], order["system"], order["previous"], order["previous_profile"]) == ("switch", NEW, OLD, OLD)


def test_a_newly_failed_unit_undoes_it(ticks: Iterator[float]) -> None:
    host = Host(statuses=[WAITING, RESTORED], states=[(NEW, OLD, "old.service", "web.service"), (OLD, OLD)])
    applied = apply(host, ticks)
    assert applied.outcome is DeployOutcome.ROLLED_BACK
    assert applied.newly_failed == ("web.service",)
    assert host.decisions == ["undo newly failed: web.service"]


def test_a_unit_that_may_fail_is_told_and_no_more(ticks: Iterator[float]) -> None:
    host = Host(statuses=[WAITING, CONFIRMED], states=[(NEW, OLD, "web.service"), (NEW, NEW, "web.service")])
    applied = apply(host, ticks, ignore_units=["web.*"])
    assert (applied.outcome, applied.newly_failed) == (None, ())
    assert applied.tolerated == ("web.service failed, which may",)


def test_tolerated_failures_are_an_exit_code_of_their_own_where_that_is_asked_for(ticks: Iterator[float]) -> None:
    host = Host(statuses=[WAITING, CONFIRMED], states=[(NEW, OLD, "web.service"), (NEW, NEW, "web.service")])
    applied = apply(host, ticks, ignore_units=["web.*"], fail_on_warnings=True)
    assert applied.outcome is DeployOutcome.WARNINGS


def test_a_fault_that_undoes_nothing_fails_all_the_same(ticks: Iterator[float]) -> None:
    host = Host(statuses=[WAITING, CONFIRMED], states=[(NEW, OLD, "web.service"), (NEW, NEW, "web.service")])
    applied = apply(host, ticks, rollback_on=["health"])
    assert (applied.outcome, host.decisions) == (DeployOutcome.FAILED, ["confirm"])
    assert "newly failed: web.service" in (applied.why or "")


def test_a_switch_that_failed_with_units_and_names_none_is_not_trusted(ticks: Iterator[float]) -> None:
    host = Host(statuses=[status("waiting", activation_exit=4), RESTORED], states=[(NEW, OLD), (OLD, OLD)])
    applied = apply(host, ticks)
    assert applied.outcome is DeployOutcome.ROLLED_BACK
    assert host.decisions == ["undo switch-to-configuration ended with 4 and named no unit"]


def test_a_host_that_refuses_to_answer_for_a_while_is_asked_again(ticks: Iterator[float]) -> None:
    host = Host(statuses=[refused(), refused(), WAITING, CONFIRMED], states=[(NEW, NEW)])
    assert apply(host, ticks).outcome is None


def test_a_host_that_refuses_to_answer_for_good_is_in_an_unknown_state(ticks: Iterator[float]) -> None:
    away = Host(statuses=[UnreachableError("web1 does not answer")], states=[(NEW, NEW)])
    object.__setattr__(away, "_state", lambda: UnreachableError("web1 does not answer"))
    assert apply(away, ticks).outcome is DeployOutcome.STATE_UNKNOWN


def test_a_supervisor_that_was_ended_half_way_is_followed_by_one_that_brings_the_old_system_back(
    ticks: Iterator[float],
) -> None:
    gone = status("activating").replace("active=yes\n", "")
    host = Host(statuses=[gone, gone, gone, RESTORED], states=[(NEW, OLD), (OLD, OLD)])
    applied = apply(host, ticks)
    assert [order["action"] for order in host.orders] == ["switch", "restore"]
    assert applied.outcome is DeployOutcome.ROLLED_BACK
    assert "ended from outside (phase: activating)" in (applied.why or "")


def test_what_only_a_boot_leads_to_is_left_to_the_next_boot(ticks: Iterator[float]) -> None:
    refused_once = status("ended", "refused", activation_exit=100, reason="switch-to-configuration ended with 100")
    host = Host(statuses=[refused_once, status("ended", "confirmed", boot_exit=0)], states=[(OLD, OLD), (OLD, NEW)])
    applied = apply(host, ticks)
    assert [order["action"] for order in host.orders] == ["switch", "boot"]
    assert applied.outcome is DeployOutcome.REBOOT_REQUIRED
    assert applied.state == HostState(running=OLD, profile=NEW)


def refused() -> CommandError:
    return CommandError("a command failed", command="ssh", returncode=127, stderr_tail=("sudo: command not found",))


def test_what_a_host_says_is_harmless_to_print() -> None:
    state = read_state(Host(states=[("/nix/store/x\x1b[2J\x1b[0Ksection_end:1:a", OLD)]))
    assert state.running == "/nix/store/xsection-end:1:a"


def test_a_host_cannot_name_paths_that_it_was_not_asked_for() -> None:
    host = Host(missing=f"{NEW}\n--option\n")
    assert missing_on(Host(missing=f"{NEW}\n"), [NEW, OLD]) == [NEW]
    with pytest.raises(UnreachableError, match="does not answer what it was asked"):
        missing_on(host, [NEW, OLD])
