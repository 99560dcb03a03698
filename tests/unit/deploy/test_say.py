"""What people read last: no two ways in which a host can end up sound alike."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipelinegen.deploy.report import Phase, ProbeResult
from pipelinegen.deploy.say import headline, remarks, verdict
from pipelinegen.deploy.state import HostState
from tests.unit.deploy.reports import NEW, OLD, RESULTS, report


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("deployed", f"runs {NEW} (before: {OLD})"),
        ("unchanged", f"runs {NEW} already; nothing to do"),
        ("dry-run", f"runs {OLD}; it would be given {NEW}"),
        ("interrupted", "interrupted: what was begun on the host ends by itself there"),
        ("failed", "failed; it runs"),
        ("warnings", "with warnings"),
        ("rolled-back", f"rolled back and healthy: it runs and boots {OLD} again"),
        ("rolled-back-unhealthy", "rolled back but NOT healthy"),
        ("rollback-failed", "the ROLLBACK FAILED"),
        ("boot-failed", f"it runs {NEW}, the next boot takes {OLD}"),
        ("refused", f"refused: nothing was switched; it runs and boots {OLD}"),
        ("locked", "another deployment or switch is going on there"),
        ("state-unknown", "what it runs is not known"),
        ("reboot-required", f"a reboot is needed: it runs {OLD}, the next boot takes {NEW}"),
    ],
)
def test_each_result_is_said_in_its_own_words(result: str, words: str) -> None:
    assert words in verdict(report(result))


@pytest.mark.parametrize("phases", [(), ("preflight",), ("preflight", "copy")], ids=len)
def test_an_interruption_before_the_switch_does_not_speak_of_what_was_begun(phases: tuple[str, ...]) -> None:
    early = report("interrupted", phases=tuple(Phase(name=name, seconds=1.0) for name in phases))
    assert "interrupted before anything was switched" in verdict(early)


def test_no_two_results_are_said_alike() -> None:
    # The time differs from run to run and is not what tells them apart.
    said = sorted(verdict(report(one, phases=())) for one in RESULTS)
    assert not [one for one, other in pairwise(said) if one == other]
    assert len({headline(report(one)) for one in RESULTS}) == len(RESULTS)


def test_a_deployment_for_the_next_boot_does_not_say_that_it_runs() -> None:
    waiting = report(after=HostState(running=OLD, profile=NEW), action="boot")
    assert f"{NEW} is what the next boot takes; {OLD} runs until then" in verdict(waiting)
    trial = report(after=HostState(running=NEW, profile=OLD), action="test")
    assert f"runs {NEW} until the next boot, which takes {OLD}" in verdict(trial)


def test_units_that_fail_after_a_rollback_are_named() -> None:
    after = HostState(running=OLD, profile=OLD, failed=("new.service", "old.service"))
    before = HostState(running=OLD, profile=OLD, failed=("old.service",))
    assert "failed there: new.service (" in verdict(report("rolled-back-unhealthy", before=before, after=after))


def test_what_is_not_known_is_not_made_up() -> None:
    assert "what it runs is not known" in verdict(report("failed", after=None))


def test_remarks_tell_units_probes_and_reboots() -> None:
    probe = ProbeResult(title="answers", passed=False, tries=1, seconds=1.0, said="status\n502")
    one = report("deployed", tolerated=("a.service failed, which may",), health=(probe,), reboot_needed=("kernel",))
    assert list(remarks(one)) == [
        "tolerated: a.service failed, which may",
        "health probe 'answers' was not answered well: status 502",
        "a reboot is needed for: kernel",
    ]
    assert list(remarks(report("refused", reboot_needed=("kernel",)))) == []


def test_hostile_names_stay_on_one_line() -> None:
    one = report("rolled-back", host="web\n1\x1b[31m", newly_failed=("a\r\x1b]0;b\x07.service",), address="x")
    for line in (verdict(one), *remarks(one)):
        assert line.isprintable()
