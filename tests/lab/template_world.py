"""A project that includes components, its cache, and the pipelines that GitLab would make of it.

What the runner leaves out: patterns of inputs, retries, timeouts, environments. It takes no empty list of tags, so
projects give some here. Schedules are simulated by their variables. A job has the store of its runner; what was
built there is read from the logs that Nix keeps.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.gitrepo import ISOLATED
from tests.lab.cache_server import cache_server
from tests.lab.machine import REPOSITORY, run
from tests.lab.repo import Project, new_project
from tests.lab.runner import PipelineResult, Runner, merge_request_variables, push_variables
from tests.lab.store import PrivateStore, SigningKey

WEBSITE = "packages.x86_64-linux.website"

CONFIG = """\
refs = ["main"]
exclude = [
  "checks.*.api-*", "checks.*.cli-*", "checks.*.database-*", "devShells.**", "formatter.**",
  "nixosConfigurations.db1", "nixosConfigurations.web2",
  "packages.*.api", "packages.*.backup", "packages.*.cli", "packages.*.database", "packages.*.default",
]

[handoff]
mode = "runner"

[packing]
default_seconds = 1
record = false

[caches.fleet]
url = "{url}"
push_url = "file://{folder}"
writers = "protected"
publish = true
public_key = "{key}"
secret_key_file = "$FLEET_KEY"
warm = ["packages.*.website"]
include = ["packages.*.website", "nixosConfigurations.*"]
{more}
"""

# A job of GitLab's finds a clone; this runner copies the files that git knows, into a folder inside of the clone.
SETUP = 'test -e .git || cp -r "$LAB_CHECKOUT/.git" .'

PIPELINE = {"inspect", "pipeline", "deliver"}
SCHEDULED = {f"scheduled-{name}" for name in PIPELINE}


@dataclass
class World:
    """A project that includes templates, its cache, and a runner.

    Attributes:
        key, url: of the cache.
        requests: what the cache was asked for by now.
    """

    folder: Path
    project: Project
    runner: Runner
    key: SigningKey
    url: str
    requests: list[tuple[str, str]]
    count: int = 0

    @property
    def cache(self) -> Path:
        """The files of the cache."""
        return self.folder / "cache"

    def include(self, **templates: dict[str, Any]) -> None:
        """Commit a `.gitlab-ci.yml` with these templates and inputs."""
        entries = [
            {"local": f"templates/{name.replace('_', '-')}/template.yml", "inputs": {"tags": ["nix"], **inputs}}
            for name, inputs in templates.items()
        ]
        file = {"include": entries, "default": {"before_script": [SETUP]}}
        (self.project.folder / ".gitlab-ci.yml").write_text(yaml.safe_dump(file, sort_keys=False))
        self.project.commit("templates")

    def include_plain_file(self) -> None:
        """Commit a `.gitlab-ci.yml` with the file that has no inputs."""
        source = "ci/pipelinegen.gitlab-ci.yml"
        (self.project.folder / "ci").mkdir()
        shutil.copy(REPOSITORY / source, self.project.folder / source)
        file = {"include": [{"local": source}], "default": {"before_script": [SETUP]}}
        (self.project.folder / ".gitlab-ci.yml").write_text(yaml.safe_dump(file, sort_keys=False))
        self.project.commit("the plain file")

    def run(
        self, store: PrivateStore, *, branch: str = "main", source: str = "push", task: str = "", **variables: str
    ) -> PipelineResult:
        """The pipeline that GitLab would make for this source, with a runner that has this store."""
        self.count += 1
        place = self.folder / f"pipeline-{self.count}"
        checkout = self.project.clone(place / "checkout", branch=branch)
        head = self.project.head
        if source == "merge_request_event":
            given = merge_request_variables(branch=branch, commit=head, base=head)
        else:
            given = push_variables(branch=branch, commit=head, protected=branch == "main")
        given |= {
            "CI_PIPELINE_SOURCE": source,
            "LAB_CHECKOUT": str(checkout),
            "PATH": f"{_tools(place / 'bin', store, self.url, self.key.public)}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PIPELINEGEN_CACHE_DIR": str(self.folder / "evaluations"),
            # The child's jobs cannot take artifacts of the parent's.
            "PIPELINEGEN_HANDOFF": str(checkout / ".gitlab-ci-local/artifacts" / self.planner(task) / ".pipelinegen"),
            "FLEET_KEY": str(self.key.secret_file),
            **({"PIPELINEGEN_TASK": task} if task else {}),
            **variables,
        }
        unset = [] if "CI_COMMIT_BRANCH" in given else ["CI_COMMIT_BRANCH"]
        # A project's settings: to children, this runner gives nothing of what is said on its command line.
        settings = {name: {"type": "variable", "values": {"*": value}} for name, value in given.items()}
        del settings["CI_PIPELINE_SOURCE"]
        file = self.runner.home / ".gitlab-ci-local" / "variables.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({"global": settings}))
        try:
            return self.runner.run_pipeline(checkout / ".gitlab-ci.yml", checkout, variables=given, unset=unset)
        finally:
            file.unlink()

    def fill(self, store: PrivateStore) -> None:
        """Build and publish what pipelines of `main` publish."""
        patterns = ("--targets", "packages.*.website", "--targets", "nixosConfigurations.web1")
        env = {**ISOLATED, "FLEET_KEY": str(self.key.secret_file)}
        store.pipelinegen("run", "push", "--to", "fleet", *patterns, env=env, cwd=self.project.folder)

    @staticmethod
    def planner(task: str) -> str:
        """The job that plans."""
        return "scheduled-inspect" if task == "full" else "inspect"


def _tools(folder: Path, store: PrivateStore, url: str, key: str) -> Path:
    """What a runner of this store has on its PATH: this checkout's pipelinegen, and Nix, which knows our cache."""
    folder.mkdir(parents=True)
    for part in ("nix", "cache"):
        (store.folder / part).mkdir(parents=True, exist_ok=True)
    settings = store.settings()
    settings["NIX_CONFIG"] += f"substituters = {url}\ntrusted-public-keys = {key}\n"
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    for name, argv in {"pipelinegen": (sys.executable, "-m", "pipelinegen"), "nix": ("nix",)}.items():
        command = shlex.join(store.command(argv))
        (folder / name).write_text(f'#!/bin/sh\n{exports}exec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@contextlib.contextmanager
def make_world(runner: Runner, folder: Path, more: str = "") -> Iterator[World]:
    """The example fleet with the templates, and an empty cache."""
    key = SigningKey.generate(folder / "fleet.secret", "fleet-1")
    with cache_server(folder / "cache") as server:
        url = f"http://127.0.0.1:{server.port}"
        config = CONFIG.format(url=url, folder=folder / "cache", key=key.public, more=more)
        project = new_project(folder / "project", files={"pipelinegen.toml": config})
        shutil.copytree(REPOSITORY / "templates", project.folder / "templates")
        project.commit("take the templates")
        yield World(folder, project, runner, key, url, server.requests)


def listed(world: World, *, source: str, task: str, branch: str, **more: str) -> set[str]:
    """The jobs of such a pipeline, which is not run."""
    head = world.project.head
    given = push_variables(branch=branch, commit=head, protected=branch == "main")
    if source == "merge_request_event":
        given = merge_request_variables(branch=branch, commit=head, base=head)
    given |= {"CI_PIPELINE_SOURCE": source, **({"PIPELINEGEN_TASK": task} if task else {}), **more}
    options = [f"--variable={name}={value}" for name, value in given.items()]
    if "CI_COMMIT_BRANCH" not in given:
        options.append("--unset-variable=CI_COMMIT_BRANCH")
    argv = [*world.runner.command, "--list-json", "--ignore-predefined-vars", ",".join(given), *options]
    found = run(argv, cwd=world.project.folder)
    jobs = json.loads(found.stdout[found.stdout.index("[") :])
    return {job["name"] for job in jobs if job["when"] != "never"}
