"""The JUnit report of a deployment: a suite per host, and a failed case exactly where it did not go well."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.deploy.report import DeployReport, Phase, ProbeResult
from pipelinegen.deploy.report_junit import to_junit
from tests.unit.deploy.reports import RESULTS, full, report

Cases = dict[str, str]


def cases(of: DeployReport) -> Cases:
    """Name → `passed`, `skipped`, or the text of its failure."""
    suite = ET.fromstring(to_junit(of))[0]  # noqa: S314  # our own document
    assert suite.attrib["name"] == f"deploy {of.host}"
    found = {}
    for case in suite:
        failure = case.find("failure")
        skipped = case.find("skipped")
        state = "skipped" if skipped is not None else "passed"
        found[case.attrib["name"]] = (failure.text or "") if failure is not None else state
    return found


def failed(of: DeployReport) -> set[str]:
    return {name for name, state in cases(of).items() if state not in {"passed", "skipped"}}


PASSED = "passed"
ALWAYS = {"preflight", "copy", "activation", "units", "confirmation"}
BAD = ProbeResult(title="the site answers", passed=False, tries=3, seconds=5.0, said="status 502")


def phases(*names: str) -> tuple[Phase, ...]:
    return tuple(Phase(name=name, seconds=2.0) for name in names)


def test_a_deployment_that_went_well_passes_everywhere() -> None:
    good = ProbeResult(title="the site answers", passed=True, tries=1, seconds=0.5)
    found = cases(report("deployed", health=(good,), smoke=(good,)))
    assert set(found.values()) == {PASSED}
    assert set(found) == {*ALWAYS, "health the site answers", "smoke the site answers"}


@pytest.mark.parametrize(
    ("of", "where"),
    [
        pytest.param(report("refused"), {"preflight"}, id="refused before"),
        pytest.param(report("refused", phases=phases("preflight", "copy")), {"copy"}, id="refused while copying"),
        pytest.param(
            report("locked", phases=phases("preflight", "copy", "activate")), {"activation"}, id="locked at the end"
        ),
        pytest.param(report("rolled-back", switch_exit_code=2), {"activation"}, id="the activation script"),
        pytest.param(report("rolled-back", switch_exit_code=4, newly_failed=("a.service",)), {"units"}, id="a unit"),
        pytest.param(report("rolled-back", switch_exit_code=0, health=(BAD,)), {f"health {BAD.title}"}, id="a probe"),
        pytest.param(report("rolled-back", switch_exit_code=0), {"confirmation"}, id="nobody confirmed it"),
        pytest.param(report("boot-failed", switch_exit_code=0), {"confirmation"}, id="the boot loader"),
        pytest.param(report("state-unknown"), {"confirmation"}, id="no answer"),
        pytest.param(report("interrupted", exit_code=143), {"confirmation"}, id="interrupted"),
        pytest.param(report("reboot-required", switch_exit_code=100), {"activation"}, id="only a boot leads there"),
        pytest.param(
            report("rollback-failed", switch_exit_code=2), {"activation", "rollback"}, id="the way back failed"
        ),
        pytest.param(report("failed", smoke=(BAD,)), {f"smoke {BAD.title}"}, id="a smoke test that undoes nothing"),
    ],
)
def test_the_case_that_fails_says_where_it_went_wrong(of: DeployReport, where: set[str]) -> None:
    assert failed(of) == where


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("code", [None, 0, 2, 4, 100])
@pytest.mark.parametrize("probes", [(), (BAD,)], ids=["no probe", "a bad probe"])
def test_some_case_fails_exactly_when_the_deployment_did(
    result: str, code: int | None, probes: tuple[ProbeResult, ...]
) -> None:
    one = report(result, switch_exit_code=code, health=probes, newly_failed=("a.service",) if code == 4 else ())
    assert bool(failed(one)) == (one.exit_code != 0 or result == "interrupted")
    assert set(cases(one)) >= ALWAYS


def test_a_rollback_that_worked_is_a_case_that_passed() -> None:
    assert cases(report("rolled-back", switch_exit_code=2))["rollback"] == PASSED
    assert "rollback" not in cases(report("deployed"))


def test_the_failure_says_what_happened_and_what_to_do() -> None:
    text = cases(report("rolled-back", switch_exit_code=2, why="it ended with 2", hint="look", log=("last line",)))
    for words in ("rolled back, and healthy", "it ended with 2", "hint: look", "last line"):
        assert words in text["activation"]


def test_phases_give_the_cases_their_times() -> None:
    one = report("deployed", phases=phases("preflight", "copy", "activate", "reboot", "smoke"))
    suite = ET.fromstring(to_junit(one))[0]  # noqa: S314  # our own document
    times = {case.attrib["name"]: case.attrib["time"] for case in suite}
    assert times["activation"] == times["reboot"] == "2.000"
    assert suite.attrib["time"] == "10.000"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_gives_valid_xml(text: str) -> None:
    assert failed(full(text).model_copy(update={"host": "web1"}))
