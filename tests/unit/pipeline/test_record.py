"""The job that records build times: it sees every build and test, and nothing depends on it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from pipelinegen import config_file as configuration
from pipelinegen.history import HISTORY_FILE, TIMES_FOLDER
from pipelinegen.pipeline.compile import Surroundings, compile_pipeline
from pipelinegen.pipeline.model import Job, Pipeline
from pipelinegen.plan.model import RECORD_JOB
from pipelinegen.report.text import plan_text
from pipelinegen.testing import plan_recording
from tests.factory import Fleet

CACHES = {"public": {"url": "https://cache.example.org/public", "writers": "protected", "publish": True}}


def compiled(settings: dict[str, Any] | None = None, fleet: Fleet | None = None, **push: Any) -> Pipeline:
    """A package, a check of it, a host behind an approval, a push and an integration command."""
    if fleet is None:
        fleet = Fleet()
        hello = fleet.drv("hello")
        fleet.package("hello", hello)
        fleet.check("hello-runs", fleet.drv("hello-runs", hello))
        fleet.host("web1", fleet.drv("nixos-system-web1", hello))
    config = configuration.parse(
        {
            "caches": CACHES,
            "hosts": {"web1": {"address": "web1", "policy": "manual"}} if fleet.outputs else {},
            "tests": [{"name": "smoke", "command": "true"}],
            **(settings or {}),
        }
    )
    return compile_pipeline(plan_recording(fleet.recording(), config=config, **push), config, Surroundings())


def times_of(job: Job) -> str | None:
    """The folder that the job is told to leave its times in."""
    words = shlex.split(job.script[0])
    building = words[:3] in (["pipelinegen", "run", "build"], ["pipelinegen", "run", "test"])
    return words[words.index("--times-dir") + 1] if building and "--times-dir" in words else None


def test_it_runs_behind_all_builds_and_tests_however_they_end_and_fails_nothing() -> None:
    pipeline = compiled()
    job = pipeline.job(RECORD_JOB)
    assert job is not None
    assert (job.needs, job.dependencies) == (None, None)  # GitLab: all stages before, and what they uploaded
    assert (job.when, job.allow_failure) == ("always", True)
    stages = {stage: place for place, stage in enumerate(pipeline.stages)}
    leaving = [one for one in pipeline.jobs if times_of(one)]
    assert len(leaving) == 3
    assert all(stages[one.stage] < stages[job.stage] for one in leaving)


def test_nothing_waits_for_it_and_nobody_can_keep_it_waiting() -> None:
    pipeline = compiled()
    record = pipeline.job(RECORD_JOB)
    assert record is not None
    assert not [job.name for job in pipeline.jobs if RECORD_JOB in job.local_needs]
    # What has no needs waits for earlier stages, so nothing else may have none.
    assert [job.name for job in pipeline.jobs if job.needs is None] == [RECORD_JOB]
    stages = {stage: place for place, stage in enumerate(pipeline.stages)}
    manual = [job for job in pipeline.jobs if job.manual]
    assert manual
    assert all(stages[job.stage] > stages[record.stage] for job in manual)


def test_each_job_that_builds_uploads_the_times_that_it_leaves() -> None:
    pipeline = compiled()
    leaving = [job for job in pipeline.jobs if times_of(job)]
    assert len(leaving) == 3
    for job in leaving:
        assert times_of(job) == TIMES_FOLDER
        assert job.artifacts is not None
        assert job.artifacts.paths == (f"{TIMES_FOLDER}/",)
        assert job.artifacts.when == "always"
    record = pipeline.job(RECORD_JOB)
    assert record is not None
    assert f"--times-dir {TIMES_FOLDER} --history {HISTORY_FILE}" in record.script[0]


@pytest.mark.parametrize(
    "settings", [{"packing": {"record": False}}, {"handoff": {"mode": "artifacts"}}], ids=["off", "artifacts"]
)
def test_where_nothing_is_recorded_no_job_leaves_times(settings: dict[str, Any]) -> None:
    pipeline = compiled(settings)
    assert pipeline.job(RECORD_JOB) is None
    assert not [job.name for job in pipeline.jobs if times_of(job)]


def test_where_nothing_is_built_nothing_is_recorded() -> None:
    assert compiled(fleet=Fleet()).job(RECORD_JOB) is None
    assert compiled(held={"public": {"*"}}).job(RECORD_JOB) is None


def test_it_is_not_counted_as_a_push() -> None:
    pipeline = compiled(merge_request=True)
    assert pipeline.job(RECORD_JOB) is not None
    assert pipeline.workflow_name == "flake: 2 build, 2 test (everything)"
    made = Fleet()
    made.package("hello", made.drv("hello"))
    text = plan_text(plan_recording(made.recording()).plan, lambda text, _: text)
    assert "2 jobs (1 build, record build times), 1 derivation to build" in text
