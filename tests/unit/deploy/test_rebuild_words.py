"""What nixos-rebuild is told, and what its end means."""

from __future__ import annotations

import pytest

from pipelinegen.deploy.rebuild_words import (
    ASKED,
    Outcome,
    RebuildAction,
    arguments,
    judge,
    known_options,
    options_not_refused,
)
from pipelinegen.deploy.state import HostState
from pipelinegen.errors import DeployOutcome

OLD, NEW, OTHER = "/nix/store/old", "/nix/store/new", "/nix/store/other"
BEFORE = HostState(running=OLD, profile=OLD)

MANUAL = """
       nixos-rebuild [--verbose] [--store-path STORE_PATH] [--elevate {none,sudo,run0}] [--no-reexec]
       [--target-host TARGET_HOST]
       --sudo
           Alias for --elevate=sudo.
"""


@pytest.mark.parametrize(
    ("manual", "known"),
    [
        pytest.param(MANUAL, set(ASKED), id="the newest"),
        pytest.param("[--sudo] [--fast] [--target-host TARGET_HOST]", {"--sudo"}, id="one without store paths"),
        pytest.param(
            "--target-host --store-paths --no-reexec-now --use-remote-sudo", set(), id="words that only look alike"
        ),
        pytest.param(MANUAL.replace("-", "\u2010"), set(ASKED), id="typeset with hyphens"),
        pytest.param("man: command not found", None, id="no manual"),
    ],
)
def test_a_manual_tells_the_options(manual: str, known: set[str] | None) -> None:
    assert known_options(manual) == known


@pytest.mark.parametrize(
    ("said", "known"),
    [
        pytest.param(
            "nixos-rebuild: error: unrecognized arguments: --pipelinegen-asks", set(ASKED), id="only what nobody has"
        ),
        pytest.param(
            "nixos-rebuild: error: unrecognized arguments: --store-path=/ --pipelinegen-asks",
            {"--no-reexec", "--sudo"},
            id="no store paths",
        ),
        pytest.param("/bin/nixos-rebuild: unknown option `--store-path=/'", set(), id="the shell script"),
        pytest.param("Permission denied", None, id="something else"),
    ],
)
def test_what_is_refused_tells_the_options(said: str, known: set[str] | None) -> None:
    assert options_not_refused(said) == known


@pytest.mark.parametrize(
    ("known", "root", "words"),
    [
        (
            ASKED,
            False,
            "switch --store-path /nix/store/new --target-host u@h --sudo --use-substitutes --no-reexec",
        ),
        ((), False, "switch --flake .#web1 --target-host u@h --use-remote-sudo --use-substitutes --fast"),
        (("--store-path",), True, "switch --store-path /nix/store/new --target-host u@h --use-substitutes --fast"),
    ],
    ids=["the newest", "the shell script", "as root"],
)
def test_it_is_told_what_it_knows(known: tuple[str, ...], root: bool, words: str) -> None:
    told = arguments("switch", NEW, known, login="u@h", root=root, substitute=True, flake=".", name="web1")
    assert " ".join(told) == words


def verdict(
    code: int | None,
    runs: str,
    boots: str,
    *failed: str,
    action: RebuildAction = "switch",
    units_named: bool = False,
) -> Outcome:
    after = HostState(running=runs, profile=boots)
    return judge(action, NEW, code, BEFORE, after, failed, units_named=units_named)


@pytest.mark.parametrize(
    ("action", "runs", "boots"),
    [("switch", NEW, NEW), ("boot", OLD, NEW), ("test", NEW, OLD), ("dry-activate", OLD, OLD)],
)
def test_what_was_asked_for_and_came_about_is_success(action: RebuildAction, runs: str, boots: str) -> None:
    assert verdict(0, runs, boots, action=action) == Outcome()


@pytest.mark.parametrize(
    ("action", "runs", "boots"),
    [("switch", OLD, NEW), ("switch", NEW, OLD), ("boot", NEW, NEW), ("test", NEW, NEW), ("dry-activate", NEW, OLD)],
)
def test_its_word_is_not_believed_where_the_host_is_another(action: RebuildAction, runs: str, boots: str) -> None:
    judged = verdict(0, runs, boots, action=action)
    assert judged.outcome is DeployOutcome.FAILED
    assert runs in str(judged.message)
    assert boots in str(judged.message)


@pytest.mark.parametrize(
    ("code", "runs", "boots", "outcome", "words"),
    [
        (2, OLD, NEW, DeployOutcome.FAILED, "exit code 2 (the activation script failed)"),
        (
            1,
            OLD,
            NEW,
            DeployOutcome.FAILED,
            "exit code 1 (copying, a check before the switch, or the boot loader: its last lines say which)",
        ),
        (4, NEW, NEW, DeployOutcome.FAILED, "exit code 4 (units failed)"),
        (11, OLD, OLD, DeployOutcome.LOCKED, "another switch was going on"),
        (11, OLD, NEW, DeployOutcome.FAILED, "another switch was going on"),
        (100, OLD, NEW, DeployOutcome.REBOOT_REQUIRED, "None"),
        (100, OLD, OLD, DeployOutcome.FAILED, "needs a reboot"),
        (255, NEW, NEW, DeployOutcome.FAILED, "ssh lost the host"),
        (77, OTHER, NEW, DeployOutcome.FAILED, "exit code 77"),
        (None, NEW, NEW, DeployOutcome.FAILED, "did not end in its time"),
    ],
)
def test_each_end_is_named_with_what_runs_and_what_boots(
    code: int | None, runs: str, boots: str, outcome: DeployOutcome, words: str
) -> None:
    judged = verdict(code, runs, boots)
    assert judged.outcome is outcome
    called = {NEW: "the new system", OLD: "as before", OTHER: "neither the new nor the old"}
    assert f"runs {runs} ({called[runs]}), and its next boot takes {boots} ({called[boots]})" in str(judged.message)
    assert words in str(judged.why)
    assert (judged.hint is None) == ((runs, boots) == (OLD, OLD) or outcome is DeployOutcome.REBOOT_REQUIRED)


def test_units_that_may_fail_or_had_failed_before_are_no_failure() -> None:
    assert verdict(4, NEW, NEW, units_named=True) == Outcome()
    assert verdict(4, NEW, NEW, "a.service", units_named=True).outcome is DeployOutcome.FAILED
    assert "newly failed: a.service" in str(verdict(0, NEW, NEW, "a.service").why)
