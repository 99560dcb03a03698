"""The files of a deployment's report."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from pipelinegen import reference
from pipelinegen.deploy.report import DeployReport
from pipelinegen.deploy.report_files import NO_FILES, ReportFiles
from pipelinegen.errors import ToolError
from tests.unit.deploy.reports import RESULTS, full, report


def files(folder: Path) -> ReportFiles:
    return ReportFiles(
        json_file=folder / "deploy.json",
        markdown=folder / "deploy.md",
        junit=folder / "junit.xml",
        metrics=folder / "metrics.txt",
    )


def test_each_file_has_its_form(tmp_path: Path) -> None:
    files(tmp_path / "new").write(report())
    read = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert DeployReport.model_validate_json(read["deploy.json"]) == report()
    assert read["deploy.md"].startswith("# Deployment of")
    assert "<testsuite " in read["junit.xml"]
    assert read["metrics.txt"].endswith("# EOF\n")


def test_a_file_that_cannot_be_written_keeps_no_other_from_it(tmp_path: Path) -> None:
    (tmp_path / "deploy.json").mkdir()
    with pytest.raises(ToolError, match=r"deploy\.json"):
        files(tmp_path).write(report())
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"deploy.md", "junit.xml", "metrics.txt"}


def test_nothing_is_written_that_nobody_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    NO_FILES.write(report())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("of", [*map(report, RESULTS), full("x", 2)], ids=lambda of: of.result)
def test_the_json_report_is_what_its_schema_says(of: DeployReport) -> None:
    import json

    schema = json.loads(reference.pages()["deploy-report.schema.json"])
    jsonschema.validate(json.loads(of.model_dump_json()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(of.model_dump_json()), "more": 1}, schema)
