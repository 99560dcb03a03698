"""Build times on their way from jobs through the runner's cache to the next pipeline's plan."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelinegen.history import TIMES_FOLDER
from pipelinegen.history_files import read_history
from tests.gitrepo import ISOLATED
from tests.lab.machine import REPOSITORY
from tests.lab.repo import Project, new_project
from tests.lab.runner import PipelineResult, Runner, push_variables
from tests.lab.store import JobStores, PrivateStore, write_job_nix

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.time_limit(240)]

LINUX = "x86_64-linux"

FLAKE = """\
{
  outputs = { self }: let
    make = name: script: inputs: derivation {
      inherit name inputs;
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" script ];
    };
    slow = make "slow-1.0" "/bin/sleep 2; echo > $out" [ ];
  in {
    packages.x86_64-linux = {
      inherit slow;
      quick = make "quick-1.0" "echo > $out" [ slow ];
      broken = make "broken-1.0" "/bin/sleep 1; exit 1" [ slow ];
    };
    checks.x86_64-linux.tested = make "tested-1.0" "echo > $out" [ slow ];
  };
}
"""

CONFIG = """\
[gitlab]
command = {command}

[packing]
job_seconds = 0
repeat = false

[handoff]
mode = "cache"
protected = "ci"

[caches.ci]
url = "file://{cache}"
writers = "protected"
"""


@dataclass
class Pushes:
    """The project and a runner that keeps its cache from one pipeline to the next, as GitLab's do."""

    folder: Path
    project: Project
    runner: Runner
    count: int = 0

    @property
    def cache(self) -> Path:
        """The runner's cache: a folder for each key."""
        return self.folder / "cache"

    def push(self) -> tuple[PipelineResult, str]:
        """Plan and run a push of `main`; how the jobs ended, and what the planning job said."""
        self.count += 1
        folder = self.folder / f"pipeline-{self.count}"
        handoff = folder / "handoff"
        variables = push_variables(branch="main", commit=self.project.head)
        inspect = self.project.clone(folder / "inspect")
        self._fill(inspect, yaml.safe_load((REPOSITORY / "ci" / "pipelinegen.gitlab-ci.yml").read_text())["inspect"])
        planned = PrivateStore(folder / "bootstrap").pipelinegen(
            *("generate", inspect, "-o", handoff),
            env={**variables, **ISOLATED, "CI_PIPELINE_SOURCE": "push", "CI_PROJECT_DIR": str(inspect)},
            cwd=inspect,
        )
        checkout = self.project.clone(folder / "checkout")
        state = checkout / ".gitlab-ci-local"
        state.mkdir()
        if self.cache.exists():
            shutil.copytree(self.cache, state / "cache")
        given = {"PIPELINEGEN_HANDOFF": str(handoff), **variables, **JobStores(folder / "stores").variables}
        result = self.runner.run_pipeline(handoff / "pipeline.yml", checkout, variables=given)
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.copytree(state / "cache", self.cache)
        return result, planned.stderr

    def _fill(self, checkout: Path, job: dict[str, Any]) -> None:
        """Give a job's checkout what the runner's cache has for it."""
        for cache in job["cache"]:
            if (self.cache / cache["key"]).exists():
                shutil.copytree(self.cache / cache["key"], checkout, dirs_exist_ok=True)


@pytest.fixture
def pushes(runner: Runner, tmp_path: Path) -> Pushes:
    source = tmp_path / "source"
    source.mkdir()
    (source / "flake.nix").write_text(FLAKE)
    command = json.dumps(str(write_job_nix(tmp_path / "job-nix")))
    config = CONFIG.format(command=command, cache=tmp_path / "ci")
    return Pushes(tmp_path, new_project(tmp_path / "project", source, files={"pipelinegen.toml": config}), runner)


def recorded(place: Path) -> dict[str, tuple[int, float]]:
    """Package → how often it was built and how long that takes, in the history below `place`."""
    history, trouble = read_history(place / ".pipelinegen-history" / "history.json")
    assert trouble is None
    return {name: (entry.builds, entry.seconds) for name, entry in history.entries.get(LINUX, {}).items()}


def test_a_pipeline_plans_with_the_build_times_of_the_ones_before(pushes: Pushes) -> None:
    first, _ = pushes.push()
    # A build fails, and so does the pipeline; what the others took is recorded all the same.
    assert first.names("failed") == {"build packages.x86_64-linux.broken"}, first.describe()
    record = first.jobs["record build times"]
    assert record.status == "passed", first.describe()
    assert "recorded 3 build times" in record.log
    kept = recorded(pushes.cache / "pipelinegen-history")
    assert {name: builds for name, (builds, _) in kept.items()} == {"slow": 1, "quick": 1, "tested": 1}
    assert 2 <= kept["slow"][1] < 60
    assert kept["quick"][1] < kept["slow"][1]

    pushes.project.edit("flake.nix", "/bin/sleep 2", "/bin/sleep 3")
    pushes.project.edit("flake.nix", '"slow-1.0"', '"slow-1.1"')
    pushes.project.commit("slow 1.1")
    second, planning = pushes.push()
    assert recorded(pushes.folder / "pipeline-2" / "inspect") == kept
    assert "warning" not in planning
    assert second.jobs["record build times"].status == "passed", second.describe()
    later = recorded(pushes.cache / "pipelinegen-history")
    assert {name: builds for name, (builds, _) in later.items()} == {"slow": 2, "quick": 2, "tested": 2}
    assert later["slow"][1] > kept["slow"][1]
    # What one job leaves reaches the job that records it, and no other.
    left = {name for name, job in second.jobs.items() if (job.artifacts / TIMES_FOLDER).is_dir()}
    assert left == {name for name in second.jobs if name.startswith(("build ", "test "))}
