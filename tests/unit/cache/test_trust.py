"""Whose pipeline it is, and what follows from that."""

from __future__ import annotations

import pytest

from pipelinegen import config_file
from pipelinegen.cache.trust import PipelineClass, handoff_cache, handoff_mode, pipeline_class, trusted_caches
from pipelinegen.ci_env import CiEnv

OURS, FORKED = "https://gitlab.invalid/team/fleet", "https://gitlab.invalid/stranger/fleet"
MERGE_REQUEST = {
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_PROJECT_URL": OURS,
    "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": OURS,
}
FROM_FORK = {**MERGE_REQUEST, "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": FORKED}
EXTERNAL = {"CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA": "a" * 40, "CI_COMMIT_BRANCH": "main"}
CHILD = {"CI_PIPELINE_SOURCE": "parent_pipeline"}


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({"CI_COMMIT_REF_PROTECTED": "true", "CI_COMMIT_BRANCH": "main"}, PipelineClass.PROTECTED),
        ({"CI_COMMIT_REF_PROTECTED": "false", "CI_COMMIT_BRANCH": "topic"}, PipelineClass.UNPROTECTED),
        ({}, PipelineClass.UNPROTECTED),
        ({**MERGE_REQUEST, "CI_COMMIT_REF_PROTECTED": "true"}, PipelineClass.UNPROTECTED),
        ({**FROM_FORK, "CI_PROJECT_URL": FORKED}, PipelineClass.FORK),
        ({**FROM_FORK, "CI_PROJECT_URL": OURS}, PipelineClass.FORK),
        ({**FROM_FORK, **CHILD, "CI_PROJECT_URL": OURS, "CI_COMMIT_REF_PROTECTED": "true"}, PipelineClass.FORK),
        ({**FROM_FORK, "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": "", "CI_PROJECT_URL": OURS}, PipelineClass.FORK),
        ({**EXTERNAL, "CI_COMMIT_REF_PROTECTED": "true"}, PipelineClass.FORK),
    ],
    ids=[
        "protected branch",
        "other branch",
        "unknown",
        "merge request from a protected branch",
        "fork, run there",
        "fork, run in the project",
        "fork, in a child pipeline",
        "fork that is gone",
        "pull request of another server",
    ],
)
def test_the_class_of_a_pipeline(variables: dict[str, str], kind: PipelineClass) -> None:
    assert pipeline_class(CiEnv.from_environment({"CI": "true", **variables})) is kind


CACHES = {
    "main": {"url": "https://main.invalid", "writers": "protected"},
    "open": {"url": "https://open.invalid", "writers": "unprotected"},
    "up": {"url": "https://up.invalid"},
}
BOTH = {"mode": "cache", "protected": "main", "unprotected": "open"}


@pytest.mark.parametrize(
    ("handoff", "modes", "caches"),
    [
        (BOTH, ("cache", "cache", "artifacts"), ("main", "open", None)),
        ({"mode": "cache", "protected": "main"}, ("cache", "artifacts", "artifacts"), ("main", None, None)),
        ({"mode": "cache", "unprotected": "open"}, ("artifacts", "cache", "artifacts"), (None, "open", None)),
        ({"mode": "artifacts"}, ("artifacts",) * 3, (None,) * 3),
        ({"mode": "runner"}, ("runner",) * 3, (None,) * 3),
    ],
    ids=["both", "protected alone", "unprotected alone", "artifacts", "runner"],
)
def test_a_class_without_a_cache_hands_over_as_artifacts(
    handoff: dict[str, str], modes: tuple[str, ...], caches: tuple[str | None, ...]
) -> None:
    config = config_file.parse({"caches": CACHES, "handoff": handoff})
    kinds = (PipelineClass.PROTECTED, PipelineClass.UNPROTECTED, PipelineClass.FORK)
    assert tuple(handoff_mode(config, kind) for kind in kinds) == modes
    assert tuple(handoff_cache(config, kind) for kind in kinds) == caches


def test_a_fork_believes_what_unprotected_pipelines_believe() -> None:
    config = config_file.parse({"caches": CACHES, "handoff": BOTH})
    assert set(trusted_caches(config, PipelineClass.FORK)) == set(trusted_caches(config, PipelineClass.UNPROTECTED))
    assert "open" not in trusted_caches(config, PipelineClass.PROTECTED)
