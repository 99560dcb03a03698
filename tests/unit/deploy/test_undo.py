"""What a deployment that went well is undone to, when others failed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipelinegen.config import Config
from pipelinegen.config_file import parse
from pipelinegen.console import Console
from pipelinegen.deploy.generations import Generation
from pipelinegen.deploy.report import DeployReport
from pipelinegen.deploy.state import HostState
from pipelinegen.deploy.undo import decide, find_way_back
from pipelinegen.errors import DeployError, DeployOutcome, UsageError
from tests.unit.deploy.reports import NEW, OLD, RESULTS, report

OTHER = OLD.replace("1.0", "0.9")
NOW = HostState(running=NEW, profile=NEW)
GENERATIONS = (
    Generation(number=44, path=NEW, current=True, running=True),
    Generation(number=43, path=OTHER),
    Generation(number=42, path=OLD),
    Generation(number=41, path=OLD),
)


def test_the_newest_generation_of_the_earlier_system_is_gone_back_to() -> None:
    assert decide(report(), NOW, GENERATIONS).generation == 42


@pytest.mark.parametrize(
    ("made", "now", "why"),
    [
        (report(), HostState(running=OTHER, profile=OTHER), "does not have"),
        (report(), HostState(), "does not have"),
        (report(before=HostState(running=NEW, profile=OLD)), NOW, "had that system before"),
        (report(before=HostState()), NOW, "not known"),
        (report(before=None), NOW, "not known"),
    ],
    ids=["given another since", "runs nothing", "ran it before", "ran nothing", "not asked"],
)
def test_nothing_is_done_where_there_is_nothing_to_undo(made: DeployReport, now: HostState, why: str) -> None:
    found = decide(made, now, GENERATIONS)
    assert found.generation is None
    assert why in found.why


def test_what_only_the_next_boot_takes_is_taken_back_too() -> None:
    made = report(action="boot", before=HostState(running=OTHER, profile=OLD))
    assert decide(made, HostState(running=OTHER, profile=NEW), GENERATIONS).generation == 42


@pytest.mark.parametrize(
    "generations", [GENERATIONS[:2], (*GENERATIONS[:2], Generation(number=42, path=OLD, present=False))], ids=len
)
def test_a_system_without_a_generation_cannot_be_gone_back_to(generations: tuple[Generation, ...]) -> None:
    with pytest.raises(DeployError) as caught:
        decide(report(), NOW, generations)
    assert caught.value.outcome is DeployOutcome.REFUSED


# --- the report


def hosts() -> Config:
    return parse({"hosts": {"web1": {"address": "web1.example.org", "ssh_key_file": "/nowhere/key"}}})


def find(file: Path, name: str = "web1") -> int | None:
    return find_way_back(name, file, config=hosts(), console=Console(io.StringIO()))


@pytest.mark.parametrize("result", [result for result in RESULTS if result not in ("deployed", "warnings")])
def test_no_host_is_asked_whose_deployment_did_not_end_well(tmp_path: Path, result: str) -> None:
    file = tmp_path / "web1.json"
    file.write_text(report(result).model_dump_json(), "utf-8")
    assert find(file) is None


@pytest.mark.parametrize("text", [None, "", "{}"], ids=["missing", "empty", "another thing"])
def test_a_report_that_cannot_be_read_is_not_taken_for_nothing_to_do(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "web1.json"
    if text is not None:
        file.write_text(text, "utf-8")
    with pytest.raises(DeployError) as caught:
        find(file)
    assert caught.value.outcome is DeployOutcome.STATE_UNKNOWN


def test_the_report_of_another_host_or_an_unknown_host_is_a_wrong_use(tmp_path: Path) -> None:
    file = tmp_path / "web1.json"
    file.write_text(report(host="web2").model_dump_json(), "utf-8")
    with pytest.raises(UsageError):
        find(file)
    with pytest.raises(UsageError):
        find(file, "web3")
