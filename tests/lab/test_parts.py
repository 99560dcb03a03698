"""A plan that does not fit one pipeline, run for real: part after part, in stores that share nothing.

What differs from GitLab: a failing part does not fail the job that starts it, and variables do not travel to a
part with it, so the runner is given them as its user's.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.gitrepo import ISOLATED
from tests.lab.offer import Offer
from tests.lab.repo import Project, new_project
from tests.lab.runner import Runner, push_variables
from tests.lab.store import JobStores, PrivateStore, SigningKey, write_job_nix

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.time_limit(300)]

_CONFIG = """\
[gitlab]
command = {command}
max_jobs = 7

[handoff]
mode = "cache"
protected = "ci"

[caches.ci]
url = "file://{cache}"
writers = "protected"
public_key = "{public}"
secret_key_file = "$CI_CACHE_KEY"
"""
COMMANDS = [f"command {letter}" for letter in "abcdef"]
"""Tests that are jobs of their own, so that with the builds there are more jobs than fit."""


@dataclass(frozen=True)
class World:
    """The example fleet without its machines, planned, and what it takes to run the pipeline.

    Attributes:
        variables: of its jobs.
        stores: of its jobs.
    """

    folder: Path
    project: Project
    offer: Offer
    variables: dict[str, str]
    stores: JobStores

    @property
    def handoff(self) -> Path:
        """What `generate` wrote."""
        return self.folder / "handoff"

    @property
    def parts(self) -> list[Path]:
        """The files of the parts, in the order in which they run."""
        return sorted(self.handoff.glob("pipeline-*.yml"))

    def checkout(self, name: str) -> Path:
        """A fresh one."""
        return self.project.clone(self.folder / f"checkout-{name}")


@pytest.fixture
def world(private_stores: None, tmp_path: Path) -> World:
    """The fleet's first push with room for few jobs."""
    key = SigningKey.generate(tmp_path / "ci.secret", "ci-1")
    command = json.dumps(str(write_job_nix(tmp_path / "job-nix")))
    config = _CONFIG.format(command=command, cache=tmp_path / "cache", public=key.public)
    config += "".join(f'\n[[tests]]\nname = "{name}"\ncommand = "true"\n' for name in COMMANDS)
    project = new_project(tmp_path / "project", files={"pipelinegen.toml": config})
    variables = push_variables(branch="main", commit=project.head)
    inspect = project.clone(tmp_path / "inspect")
    env = {**variables, **ISOLATED, "CI_PIPELINE_SOURCE": "push", "CI_PROJECT_DIR": str(inspect)}
    PrivateStore(tmp_path / "bootstrap").pipelinegen("generate", inspect, "-o", tmp_path / "handoff", env=env)
    stores = JobStores(tmp_path / "stores")
    given = {"CI_CACHE_KEY": str(key.secret_file), "PIPELINEGEN_HANDOFF": str(tmp_path / "handoff")}
    offer = Offer.at(project, project.head, PrivateStore(tmp_path / "reference"))
    return World(tmp_path, project, offer, {**variables, **given, **stores.variables}, stores)


def jobs(file: Path) -> set[str]:
    """Names of the jobs of a pipeline file that run a script."""
    document = yaml.safe_load(file.read_text("utf-8"))
    return {name for name, job in document.items() if isinstance(job, dict) and "script" in job}


def once(world: World) -> Counter[str]:
    """Every derivation of the fleet, built in exactly one job."""
    return Counter(dict.fromkeys(world.offer.everything, 1))


def test_parts_run_one_after_another_build_each_derivation_once(world: World, runner: Runner) -> None:
    assert len(world.parts) > 1
    for part in world.parts:
        assert len(jobs(part)) <= 7
        result = runner.run_pipeline(part, world.checkout(part.stem), variables=world.variables)
        assert result.passed, result.describe()
        assert result.names("passed") == jobs(part), result.describe()
    assert world.stores.builds() == once(world)
    held = {file.read_text().split()[1] for file in (world.folder / "cache").glob("*.narinfo")}
    assert set(world.offer.outs.values()) <= held


def test_the_conductor_takes_the_files_and_starts_the_parts_in_turn(
    world: World, runner: Runner, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".gitlab-ci-local").mkdir(parents=True)
    settings = {name: {"type": "variable", "values": {"*": value}} for name, value in world.variables.items()}
    (home / ".gitlab-ci-local" / "variables.yml").write_text(json.dumps({"global": settings}), "utf-8")
    result = Runner(runner.command, home).run_pipeline(
        world.handoff / "pipeline.yml", world.checkout("conductor"), variables=world.variables
    )
    assert result.passed, result.describe()
    assert world.stores.builds() == once(world), result.output
    # Which part each line of a job comes from; the table at the end of a part has it before the name, too.
    passed = re.findall(r"^ PASS  \[part (\d+) of \d+: [a-z, ]+\] -> (.*?)\s*$", result.output, re.MULTILINE)
    ran = [{name for number, name in passed if number == part.stem.removeprefix("pipeline-")} for part in world.parts]
    assert ran == [jobs(part) for part in world.parts]
    # What jobs print on one stream comes behind all of the other; the order in each is that of time.
    started = list(dict.fromkeys(re.findall(r"^\t\[part (\d+) of", result.output, re.MULTILINE)))
    assert started == sorted(started, key=int)
