"""A wave has gone well when the reports of its deployments say so, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipelinegen.console import Console
from pipelinegen.deploy.report import DeployReport
from pipelinegen.deploy.wave import report_in, run_wave
from pipelinegen.errors import DeployOutcome, StepFailedError
from tests.unit.deploy.reports import RESULTS, report

WELL = {"deployed", "unchanged"}
HOSTS = ("a", "b/c", "d e")


def write(folder: Path, *reports: DeployReport) -> None:
    for one in reports:
        report_in(folder, one.host).write_text(one.model_dump_json(), "utf-8")


def judged(folder: Path, max_failures: int = 0, hosts: tuple[str, ...] = HOSTS) -> tuple[bool, str]:
    """Whether the wave has gone well, and what was printed."""
    text = io.StringIO()
    try:
        run_wave(hosts, folder, max_failures=max_failures, console=Console(text))
    except StepFailedError:
        return False, text.getvalue()
    return True, text.getvalue()


@pytest.mark.parametrize("result", RESULTS)
def test_a_deployment_has_gone_well_or_counts_as_failed(tmp_path: Path, result: str) -> None:
    write(tmp_path, report(result, host="a"), report(host="b/c"), report(host="d e"))
    assert judged(tmp_path)[0] is (result in WELL)
    assert judged(tmp_path, 1)[0]


def test_failures_are_counted_up_to_what_is_allowed(tmp_path: Path) -> None:
    write(tmp_path, report("rolled-back", host="a"), report("refused", host="b/c"), report(host="d e"))
    assert [judged(tmp_path, allowed)[0] for allowed in range(4)] == [False, False, True, True]


def test_a_wave_of_which_nothing_was_deployed_has_failed_whatever_is_allowed(tmp_path: Path) -> None:
    assert not judged(tmp_path, 99)[0]
    write(tmp_path, *(report("refused", host=host) for host in HOSTS))
    assert not judged(tmp_path, 99)[0]
    assert not judged(tmp_path / "nowhere", 99)[0]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"host": "a", "result": "deployed"}', "\x00\x1b[2J", "{" * 5000],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_report_is_a_failed_host(tmp_path: Path, text: str) -> None:
    write(tmp_path, report(host="b/c"), report(host="d e"))
    report_in(tmp_path, "a").write_text(text, "utf-8")
    well, said = judged(tmp_path)
    assert not well
    assert "\x1b" not in said
    assert judged(tmp_path, 1)[0]


def test_the_report_of_another_host_is_not_this_ones(tmp_path: Path) -> None:
    write(tmp_path, report(host="b/c"), report(host="d e"))
    report_in(tmp_path, "a").write_text(report(host="b/c").model_dump_json(), "utf-8")
    assert not judged(tmp_path)[0]


def test_a_success_with_an_exit_code_is_none(tmp_path: Path) -> None:
    write(tmp_path, report(host="a", exit_code=int(DeployOutcome.FAILED)), report(host="b/c"), report(host="d e"))
    assert not judged(tmp_path)[0]


def test_each_host_is_told_with_how_it_ended(tmp_path: Path) -> None:
    write(tmp_path, report(host="a"), report("rolled-back", host="b/c"))
    _, said = judged(tmp_path, 2)
    assert said.splitlines() == [
        "ok      a      deployed (4.5 s)",
        'failed  "b/c"  rolled-back (exit code 20) (4.5 s)',
        'failed  "d e"  no report: it was not deployed, or its job broke off',
        "2 of 3 hosts failed; 2 may",
    ]


def test_the_hosts_that_failed_are_named(tmp_path: Path) -> None:
    write(tmp_path, report("rolled-back", host="a"), report(host="b/c"), report(host="d e"))
    with pytest.raises(StepFailedError) as caught:
        run_wave(HOSTS, tmp_path, max_failures=0, console=Console(io.StringIO()))
    assert caught.value.where == "a"
    assert "fleet.max_failures = 0" in (caught.value.why or "")
