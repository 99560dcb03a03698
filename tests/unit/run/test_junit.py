"""JUnit XML stays XML, whatever people and programs put into names and logs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.errors import CredentialsError, StepFailedError, TransientError
from pipelinegen.run import junit
from pipelinegen.run.result import ItemResult, Reports, Status, StepResult


def parse(document: bytes) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314  # our own document


@given(st.text(alphabet=st.characters()), st.text(alphabet=st.characters()), st.text(alphabet=st.characters()))
def test_any_text_gives_valid_xml(suite: str, name: str, output: str) -> None:
    document = junit.to_xml(suite, [junit.Case(name, 1.0, failure=name, output=output)], 1.0)
    case = parse(document)[0][0]
    assert case.tag == "testcase"
    assert case[0].tag == "failure"


@pytest.mark.parametrize("hostile", ["\x00", "\x1b[31m", "\ud800", "\ufffe", "]]>", "<failure/>", '"&<'])
def test_hostile_text_is_carried_or_replaced(hostile: str) -> None:
    case = parse(junit.to_xml("suite", [junit.Case(f"a{hostile}b", 0.0)], 0.0))[0][0]
    assert case.attrib["name"][0] + case.attrib["name"][-1] == "ab"
    assert case.attrib["name"] == junit.text(f"a{hostile}b")


def test_counts_and_kinds_are_told() -> None:
    cases = [
        junit.Case("good", 1.5),
        junit.Case("bad", 2.0, failure="why", output="log"),
        junit.Case("no", 0, skipped="s"),
    ]
    suite = parse(junit.to_xml("suite", cases, 3.5))[0]
    assert suite.attrib == {"name": "suite", "tests": "3", "failures": "1", "skipped": "1", "time": "3.500"}
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["skipped"]]
    assert suite[1][0].text == "why\nlog"


def result(**fields: object) -> StepResult:
    items = (ItemResult(name="a", status=Status.OK), ItemResult(name="b", status=Status.NOT_TRIED, message="because"))
    return StepResult.model_validate({"step": "build", "what": "job", "seconds": 1.0, "items": items, **fields})


def test_a_result_is_written_to_both_files(tmp_path: Path) -> None:
    reports = Reports(junit=tmp_path / "new" / "junit.xml", json_file=tmp_path / "result.json")
    reports.write(result())
    assert StepResult.model_validate_json((tmp_path / "result.json").read_bytes()) == result()
    suite = parse((tmp_path / "new" / "junit.xml").read_bytes())[0]
    assert suite.attrib["name"] == "build job"
    assert suite[1][0].attrib["message"] == "because"


def test_test_cases_are_named_so_that_two_pipelines_can_be_compared(tmp_path: Path) -> None:
    names = [f"/nix/store/{letter * 32}-hello-1.0.drv" for letter in "ab"]
    for number, name in enumerate(names):
        item = ItemResult(name=name, status=Status.OK)
        Reports(junit=tmp_path / str(number)).write(result(items=(item,), what="build hello"))
    suites = [parse((tmp_path / str(number)).read_bytes())[0] for number in range(2)]
    assert {(suite.attrib["name"], suite[0].attrib["name"]) for suite in suites} == {("build hello", "hello-1.0")}


def test_a_closure_has_cases_for_what_was_asked_for_and_for_what_is_not_there(tmp_path: Path) -> None:
    status = {
        "root": Status.OK,
        "lib": Status.OK,
        "old": Status.PRESENT,
        "bad": Status.FAILED,
        "late": Status.NOT_TRIED,
    }
    items = tuple(ItemResult(name=name, status=status[name], asked=name == "root") for name in status)
    Reports(junit=tmp_path / "junit.xml").write(result(items=items))
    suite = parse((tmp_path / "junit.xml").read_bytes())[0]
    assert [case.attrib["name"] for case in suite] == ["root", "bad", "late"]
    assert (suite.attrib["failures"], suite.attrib["skipped"]) == ("1", "1")


def test_a_result_without_reports_writes_nothing(tmp_path: Path) -> None:
    Reports().write(result())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        pytest.param({}, StepFailedError, 1, id="for good"),
        pytest.param({"transient": True}, TransientError, 75, id="worth another try"),
        pytest.param({"credentials": True}, CredentialsError, 4, id="refused"),
    ],
)
def test_a_failed_result_raises_with_its_exit_code(fields: dict[str, bool], kind: type[Exception], code: int) -> None:
    with pytest.raises(kind, match="it failed") as raised:
        result(message="it failed", **fields).raise_if_failed()
    assert getattr(raised.value, "exit_code", None) == code


def test_a_good_result_raises_nothing() -> None:
    assert result().ok
    result().raise_if_failed()
