"""Which jobs of the components run for which pipelines, as the pipeline runner reads their rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.runner import Runner
from tests.lab.template_world import PIPELINE, SCHEDULED, WEBSITE, World, listed, make_world

pytestmark = [pytest.mark.lab, pytest.mark.nix]


@pytest.fixture
def world(runner: Runner, tmp_path: Path) -> Iterator[World]:
    with make_world(runner, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("source", "task", "branch", "expected"),
    [
        ("push", "", "main", PIPELINE),
        ("schedule", "", "main", PIPELINE),
        ("schedule", "full", "main", SCHEDULED),
        ("schedule", "drill", "main", {"drill-without-caches", "drill-backup"}),
        ("schedule", "cache-report", "main", {"cache-report"}),
        ("web", "image", "main", {"ci-image", "ci-image-smoke-test"}),
        ("push", "", "topic", PIPELINE),
        ("merge_request_event", "", "topic", PIPELINE),
        ("push", "drill", "main", set()),
    ],
)
def test_each_source_of_pipelines_has_its_jobs(
    world: World, source: str, task: str, branch: str, expected: set[str]
) -> None:
    world.include(
        pipeline={},
        scheduled={},
        image={},
        cache_report={},
        drill={"target": WEBSITE, "backup-metrics": "metrics.prom"},
    )
    if branch != "main":
        world.project.git("checkout", "-q", "-b", branch)
    assert listed(world, source=source, task=task, branch=branch) == expected


def test_a_branch_with_an_open_merge_request_has_one_pipeline(world: World) -> None:
    world.include(pipeline={})
    world.project.git("checkout", "-q", "-b", "topic")
    opened = {"CI_OPEN_MERGE_REQUESTS": "fleet/fleet!1"}
    assert listed(world, source="push", task="", branch="topic", **opened) == set()
    assert listed(world, source="merge_request_event", task="", branch="topic") == PIPELINE
    assert listed(world, source="push", task="", branch="main", **opened) == PIPELINE, "it publishes and deploys"


@pytest.mark.parametrize(
    ("inputs", "branch", "expected"),
    [
        ({"branch-pipelines": "default"}, "main", PIPELINE),
        ({"branch-pipelines": "default"}, "topic", set()),
        ({"branch-pipelines": "protected"}, "main", PIPELINE),
        ({"branch-pipelines": "protected"}, "topic", set()),
        ({"branch-pipelines": "none"}, "main", set()),
        ({"job-prefix": "nixos-"}, "main", {f"nixos-{name}" for name in PIPELINE}),
    ],
)
def test_inputs_choose_branches_and_names(
    world: World, inputs: dict[str, Any], branch: str, expected: set[str]
) -> None:
    world.include(pipeline=inputs)
    if branch != "main":
        world.project.git("checkout", "-q", "-b", branch)
    assert listed(world, source="push", task="", branch=branch) == expected


@pytest.mark.parametrize(
    ("source", "task", "branch", "inputs", "expected"),
    [
        ("push", "", "main", {}, PIPELINE | {"refine-memo"}),
        ("push", "", "topic", {}, PIPELINE),
        ("merge_request_event", "", "topic", {}, PIPELINE),
        ("schedule", "", "main", {}, PIPELINE),
        ("push", "drill", "main", {}, set()),
        ("push", "", "main", {"branch-pipelines": "none"}, set()),
        ("schedule", "nightly", "main", {"task": "nightly"}, PIPELINE),
        ("push", "", "main", {"job-prefix": "a-"}, {f"a-{name}" for name in PIPELINE | {"refine-memo"}}),
    ],
)
def test_the_memo_is_refined_after_pushes_to_the_default_branch_alone(
    world: World, source: str, task: str, branch: str, inputs: dict[str, Any], expected: set[str]
) -> None:
    world.include(pipeline={"refine-memo": True, **inputs})
    if branch != "main":
        world.project.git("checkout", "-q", "-b", branch)
    assert listed(world, source=source, task=task, branch=branch) == expected


def test_it_can_be_included_as_a_component(world: World) -> None:
    world.project.git("remote", "add", "origin", "git@gitlab.example.org:group/pipelinegen.git")
    entry = {"component": "gitlab.example.org/group/pipelinegen/pipeline@$CI_COMMIT_SHA", "inputs": {"tags": ["nix"]}}
    (world.project.folder / ".gitlab-ci.yml").write_text(yaml.safe_dump({"include": [entry]}))
    head = world.project.commit("a component of this very commit")
    assert listed(world, source="push", task="", branch="main", CI_COMMIT_SHA=head) == PIPELINE
