"""What a project includes: the jobs that plan, keep and start the child pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelinegen.history import HISTORY_FILE, HISTORY_KEY
from pipelinegen.job_names import HANDOFF
from pipelinegen.pipeline.compile import FROM_PARENT, INSPECT_JOB, PARENT
from pipelinegen.pipeline.emit import from_yaml
from pipelinegen.pipeline.limits import Limits
from pipelinegen.pipeline.schema import schema_findings
from pipelinegen.pipeline.verify import Severity, verify
from pipelinegen.testing import render_pipeline
from tests.ci_files import whole_file
from tests.factory import Fleet

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "ci" / "pipelinegen.gitlab-ci.yml"
TEXT = TEMPLATE.read_text("utf-8")


def test_the_file_that_projects_include_is_sound() -> None:
    jobs = yaml.safe_load(TEXT)
    findings = verify(from_yaml(whole_file(TEXT)), Limits(), "17.0", child=False)
    assert [finding for finding in findings if finding.severity is Severity.ERROR] == []
    assert jobs["deliver"]["trigger"]["strategy"] == "depend"


def test_the_child_finds_the_job_and_the_variable_that_it_needs() -> None:
    jobs = yaml.safe_load(TEXT)
    assert INSPECT_JOB in jobs
    assert jobs["deliver"]["variables"] == {PARENT.removeprefix("$"): "$CI_PIPELINE_ID"}
    # Here the parts of a divided pipeline are found, too.
    assert jobs[INSPECT_JOB]["artifacts"]["paths"] == [f"{HANDOFF}/"]
    assert FROM_PARENT.job == INSPECT_JOB


def test_build_times_are_read_where_the_child_writes_them() -> None:
    made = Fleet()
    made.package("hello", made.drv("hello"))
    child = yaml.safe_load(render_pipeline(made.recording()))
    written = child["record build times"]["cache"]
    read = [cache for cache in yaml.safe_load(TEXT)[INSPECT_JOB]["cache"] if cache["key"] == HISTORY_KEY]
    assert [{**cache, "policy": "pull-push"} for cache in read] == written
    assert f"--history {HISTORY_FILE}" in child["record build times"]["script"][0]
    assert HISTORY_FILE.startswith(read[0]["paths"][0])


def test_the_job_whose_archive_carries_the_child_keeps_nothing_else() -> None:
    jobs = yaml.safe_load(TEXT)
    assert jobs["pipeline"]["artifacts"]["paths"] == ["pipeline.yml"]
    assert jobs["deliver"]["trigger"]["include"] == [{"artifact": "pipeline.yml", "job": "pipeline"}]


@pytest.mark.parametrize("file", [TEMPLATE, ROOT / ".gitlab-ci.yml"], ids=lambda file: file.name)
def test_gitlabs_own_schema_accepts_the_files(file: Path) -> None:
    found = schema_findings(file.read_text("utf-8"))
    assert found.skipped is None
    assert found.findings == ()
