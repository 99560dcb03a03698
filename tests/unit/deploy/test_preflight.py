"""All of the pre-flight together, with a host that answers from memory; the real one is in the lab."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console
from pipelinegen.deploy import preflight, preflight_scripts
from pipelinegen.deploy.findings import Findings
from pipelinegen.deploy.preflight import Survey, cut_off, describe, dry_activate, survey
from pipelinegen.deploy.report import PackageChange, UnitChanges
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.errors import CommandError, DeployError, DeployOutcome
from pipelinegen.process import Completed

OLD, NEW = (f"/nix/store/{letter * 32}-nixos-system-web1-1" for letter in "ab")

_LOGIN = "uid=0\nmachine=x86_64\nsystemd=yes\nnixos=yes\nnix=nix-store (Nix) 2.28.4\nflock=yes\nroot=yes\n"
_ROOT = """\
hostname=web1
boot_id=now
generation=4
free_store=100000000
nix.substituters=https://a https://b
running.switch-inhibitors={"dbus": "dbus"}
booted.kernel=/nix/store/k1
done=yes
"""
_CLOSURES = f"""\
running.path={OLD}
running.size=100000
new.path={NEW}
new.size=200000
switches=yes
new.hostname=web1
new.platform=x86_64-linux
new.kernel=/nix/store/k2
done=yes
"""


@dataclass(frozen=True)
class Host(Target):
    """Answers the pre-flight's questions.

    Attributes:
        says: answers by question; an exception is raised.
        asked: the questions, in order.
    """

    address: str = "web1"
    says: dict[str, str | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def run(self, script: str, *_: str, **__: Any) -> Completed:
        question = (
            "login" if script == preflight_scripts.LOGIN else "dry" if script == preflight._DRY_ACTIVATE else "closures"
        )
        self.asked.append(question)
        answer = self.says.get(question, "")
        if isinstance(answer, Exception):
            raise answer
        return Completed(0, answer.encode(), ())


def machine(running: str = OLD, root: str = "", closures: str | Exception = "", dry: str | Exception = "") -> Host:
    state = f"running={running}\nprofile={running}\n"
    whole = closures + _CLOSURES if isinstance(closures, str) else closures
    return Host(says={"login": _LOGIN + state + root + _ROOT, "closures": whole, "dry": dry})


def look(host: Host, findings: Findings, *, settings: dict[str, Any] | None = None, **options: Any) -> Survey | None:
    config = HostConfig.model_validate({"address": "web1", **(settings or {})})
    options = {"revision": None, "newer": lambda _: None, "fetch": None, **options}
    return survey(host, "web1", config, NEW, findings, **options)


def test_two_connections_are_enough() -> None:
    host, findings = machine(), Findings()
    found = look(host, findings)
    assert found is not None
    assert host.asked == ["login", "closures"]
    assert findings.refusals == []
    assert (found.generation, found.missing_bytes, found.reboot_needed) == (4, 0, ("kernel",))
    assert found.diff == (PackageChange(name="nixos-system-web1", before=("1",), after=("1",), bytes=100_000),)


def test_a_host_that_runs_the_system_is_asked_no_more() -> None:
    host, findings = machine(running=NEW), Findings()
    found = look(host, findings, fetch=lambda: pytest.fail("nothing need be fetched"))
    assert found is not None
    assert found.state.runs(NEW)
    assert host.asked == ["login"]
    assert (found.missing_bytes, found.diff) == (0, ())


def test_what_nobody_heard_is_told_even_where_there_is_nothing_to_do() -> None:
    findings = Findings()
    look(
        machine(running=NEW, root="last.id=p-1\nlast.phase=ended\nlast.result=restored\nlast.reason=silence\n"),
        findings,
    )
    assert "was undone: silence" in findings.warnings[0]


def test_a_host_that_is_busy_is_locked_even_where_it_runs_the_system() -> None:
    findings = Findings()
    look(machine(running=NEW, root="locked=ours\n"), findings)
    assert findings.only_locked


def test_everything_that_speaks_against_it_is_told_at_once() -> None:
    findings = Findings()
    root = f"free_store=5\nlocked=system\nrevision={'2' * 40}\n"
    closures = 'new.hostname=web2\nnew.platform=aarch64-linux\nnew.switch-inhibitors={"dbus": "broker"}\n'
    login = f"deployed.system=/nix/store/x\n{root}"
    look(
        machine(root=login, closures=closures),
        findings,
        revision="1" * 40,
        newer=lambda _: True,
        settings={"on_drift": "refuse"},
    )
    for words in (
        "switch is going on there",
        "of a later commit",
        "which no pipeline brought there",
        "/nix/store on web1 has 1 MiB free",
        "the system is made for aarch64-linux",
        "the system is made for web2",
        "dbus: dbus → broker",
    ):
        assert any(words in refusal for refusal in findings.refusals), (words, findings.refusals)
    assert not findings.only_locked


def test_what_cannot_be_switched_to_becomes_another_action() -> None:
    findings = Findings()
    closures = 'new.switch-inhibitors={"dbus": "broker"}\n'
    found = look(machine(closures=closures), findings, settings={"on_inhibitor": "boot"})
    assert found is not None
    assert (found.instead, found.inhibitors) == ("boot", ("dbus: dbus → broker",))
    assert findings.refusals == []


def test_a_host_that_does_not_answer_is_told_with_what_else_is_wrong() -> None:
    findings = Findings()
    host = Host(says={"login": UnreachableError("root@web1 cannot be reached", why="refused", hint="is it on?")})
    assert look(host, findings, fetch=lambda: ["the system is in no cache"]) is None
    assert findings.refusals == ["root@web1 cannot be reached: refused", "the system is in no cache"]
    assert findings.hints == ["is it on?"]


def test_a_host_without_a_shell_is_told() -> None:
    findings = Findings()
    error = CommandError(
        "it failed", command="ssh", returncode=1, stderr_tail=("This account is\x1b[2J not available.",)
    )
    assert look(Host(says={"login": error}), findings) is None
    assert "This account is not available." in findings.refusals[0]


def test_a_host_that_falls_silent_half_way_is_refused_with_what_is_known() -> None:
    findings = Findings()
    found = look(machine(closures=UnreachableError("it is gone")), findings)
    assert found is not None
    assert found.state.running == OLD
    assert findings.refusals == ["it is gone"]


def test_a_generation_that_was_collected_is_refused() -> None:
    findings = Findings()
    look(machine(closures=f"missing={NEW}\n"), findings)
    assert findings.refusals == [f"{NEW} is not in the store of web1 any more"]


def test_a_dry_run_asks_what_a_switch_would_do() -> None:
    host, findings = machine(dry="would restart the following units: sshd.service\nsomething else\n"), Findings()
    found = look(host, findings, dry_run=True)
    assert found is not None
    assert found.would == UnitChanges(restarted=("sshd.service",))
    assert "would restart: sshd.service" in list(describe(found, "web1"))


def test_a_dry_run_of_a_host_that_cannot_say_is_none_the_worse() -> None:
    findings = Findings()
    error = CommandError("it failed", command="ssh", returncode=11, stderr_tail=("Could not acquire lock",))
    found = look(machine(dry=error), findings, dry_run=True)
    assert found is not None
    assert found.would is None
    assert "Could not acquire lock" in findings.warnings[-1]


def test_a_dry_activation_that_fails_is_refused() -> None:
    host = Host(says={"dry": UnreachableError("it is gone")})
    with pytest.raises(DeployError) as caught:
        dry_activate(host, NEW)
    assert caught.value.outcome is DeployOutcome.REFUSED


def test_what_a_host_says_of_a_dry_activation_is_harmless_to_print() -> None:
    log = io.StringIO()
    dry_activate(Host(says={"dry": "a\x1b[2Jb\n"}), NEW, Console(log))
    assert log.getvalue() == "  ab\n"


def test_what_would_change_is_described() -> None:
    found = look(machine(), Findings())
    assert found is not None
    assert list(describe(found, "web1")) == [
        "web1 has all of it in its store",
        "packages that change (+97.7 KiB):",
        "  nixos-system-web1: 1, +97.7 KiB",
    ]
    assert list(describe(found.model_copy(update={"missing_bytes": 2048, "diff": ()}), "web1")) == [
        "web1 lacks 2.0 KiB of it",
        "no package changes its version or its size by much",
    ]


def test_a_survey_is_a_value_that_can_be_written_down() -> None:
    found = look(machine(), Findings())
    assert found is not None
    assert Survey.model_validate(json.loads(found.model_dump_json())) == found


@pytest.mark.parametrize(
    ("last", "answer"),
    [
        ({"system": "/nix/store/new", "phase": "committing"}, True),
        ({"system": "/nix/store/other", "phase": "committing"}, False),
        ({"system": "/nix/store/new", "phase": "ended"}, False),
        ({}, False),
    ],
)
def test_a_system_of_which_the_boot_loader_may_not_know_is_not_deployed_yet(last: dict[str, str], answer: bool) -> None:
    assert cut_off(last, "/nix/store/new") is answer
