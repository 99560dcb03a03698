"""Merge requests from forks, and others without a cache of their own: they hand over as artifacts, to no cache."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipelinegen import config_file as configuration
from pipelinegen.plan.model import Action
from pipelinegen.testing import plan_recording, render_pipeline
from tests.factory import Fleet
from tests.unit.plan.test_decisions import CACHES, fleet

CONFIG = {
    "caches": CACHES,
    "handoff": {"mode": "cache", "protected": "main", "unprotected": "open"},
    "hosts": {"web1": {"address": "web1"}},
}
ALONE = {**CONFIG, "handoff": {"mode": "cache", "protected": "main"}}


def pipeline(settings: dict[str, Any], made: Fleet | None = None, **push: Any) -> dict[str, Any]:
    config = configuration.parse(settings)
    text = render_pipeline((made or fleet()).recording(), config=config, **push)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def jobs(document: dict[str, Any], stage: str) -> dict[str, Any]:
    return {name: job for name, job in document.items() if isinstance(job, dict) and job.get("stage") == stage}


@pytest.mark.parametrize("branch", ["main", "topic"])
def test_a_fork_neither_pushes_nor_deploys_and_the_reason_is_told(branch: str) -> None:
    planned = plan_recording(
        fleet().recording(), config=configuration.parse(CONFIG), branch=branch, protected=True, fork=True
    )
    assert not [task for task in planned.tasks if task.action in {Action.PUSH, Action.DEPLOY, Action.APPROVE}]
    reasons = {
        reason
        for output in planned.plan.outputs
        for stage, decision in output.decisions.items()
        if stage in {"push", "deploy"}
        for reason in decision.reasons
    }
    assert any("another project" in reason for reason in reasons)
    assert any("artifacts" in note and "fork" in note for note in planned.plan.notes)


@pytest.mark.parametrize(
    ("settings", "push"),
    [(CONFIG, {"fork": True, "merge_request": True}), (ALONE, {"merge_request": True}), (ALONE, {"branch": "topic"})],
    ids=["fork", "merge request without a cache", "branch without a cache"],
)
def test_without_a_cache_jobs_take_each_others_artifacts(settings: dict[str, Any], push: dict[str, Any]) -> None:
    builds = jobs(pipeline(settings, **push), "build")
    assert builds
    assert all(job["artifacts"]["paths"] for job in builds.values())
    needs = [need for job in builds.values() for need in job["needs"] if need.get("job") in builds]
    assert needs, "one job needs what another one makes"
    assert all(need["artifacts"] for need in needs)


def test_with_a_cache_jobs_upload_no_outputs() -> None:
    for push in ({"branch": "main"}, {"merge_request": True}):
        builds = jobs(pipeline(CONFIG, **push), "build")
        needs = [need for job in builds.values() for need in job["needs"] if need.get("job") in builds]
        assert needs
        assert not any(need["artifacts"] for need in needs)


def test_all_jobs_are_told_their_class() -> None:
    settings = {**CONFIG, "flake_check": True, "tests": [{"name": "smoke", "command": "true"}]}
    document = pipeline(settings, fork=True)
    lines = [line for job in document.values() if isinstance(job, dict) for line in job.get("script", ())]
    ours = [line for line in lines if " run build " in line or " run test " in line]
    assert any("--command" in line for line in ours)
    assert any("--flake-check" in line for line in ours)
    assert all("--class fork" in line for line in ours)
