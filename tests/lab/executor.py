"""Runs the build and test jobs of child pipelines on simulated runners, quicker than a pipeline runner would.

A job gets what GitLab would give it and nothing else: a fresh checkout, the artifacts of the parent's job and of
the jobs that it names in `needs`, its variables, and the store of the runner it lands on. It starts when all that
it needs has passed; a job that needs a failed one does not start. Of several pipelines, each starts when all jobs
of the one before have passed.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.lab import launch
from tests.lab.store import PrivateStore

Stores = Literal["job", "runner", "shared"]
"""A fresh store for each job, one for each runner, or one for all of them."""

Status = Literal["passed", "failed"]

_KEYWORDS = {
    *("stage", "needs", "script", "before_script", "artifacts", "variables", "timeout", "retry", "interruptible"),
    *("tags", "image"),
}
"""What a build or test job may say; anything else would mean something that is not done here."""

PIPELINE_ID = "1001"
"""Of the child pipeline; artifacts lie in folders of that name."""


@dataclass(frozen=True)
class Need:
    """What a job waits for; null for the parent's job, whose artifacts are the handoff."""

    job: str | None
    artifacts: bool


@dataclass(frozen=True)
class Job:
    """A job as the file describes it. `kept` are the paths of its artifacts that other jobs get."""

    name: str
    stage: str
    needs: tuple[Need, ...]
    script: tuple[str, ...]
    variables: Mapping[str, str]
    kept: tuple[str, ...]
    kept_when: str

    @classmethod
    def read(cls, name: str, said: Mapping[str, Any], pipeline: Mapping[str, Any]) -> Job:
        """Take a job out of a parsed file."""
        unknown = said.keys() - _KEYWORDS
        assert not unknown, f"{name} says {sorted(unknown)}, which is not done here"
        default = pipeline.get("default") or {}
        artifacts = said.get("artifacts", default.get("artifacts")) or {}
        assert artifacts.keys() <= {"paths", "when", "reports", "expire_in", "name", "access"}, f"{name}: {artifacts}"
        before = said.get("before_script", default.get("before_script")) or ()
        return cls(
            name=name,
            stage=said["stage"],
            needs=tuple(_need(need) for need in said["needs"]),
            script=(*before, *said["script"]),
            variables={**(pipeline.get("variables") or {}), **(said.get("variables") or {})},
            kept=tuple(artifacts.get("paths") or ()),
            kept_when=artifacts.get("when", "on_success"),
        )


def _need(said: str | Mapping[str, Any]) -> Need:
    if isinstance(said, str):
        return Need(said, artifacts=True)
    assert not said.get("optional"), f"{said}: optional needs are not done here"
    artifacts = bool(said.get("artifacts", True))
    return Need(None if "pipeline" in said else str(said["job"]), artifacts)


@dataclass(frozen=True)
class Ended:
    """A job that was tried. `built` are the derivations whose builders it started, by the logs of its store."""

    job: Job
    attempt: int
    status: Status
    built: tuple[str, ...]
    log: str
    seconds: float


@dataclass
class Executor:
    """A child pipeline, or its parts, on `runners` runners that work at the same time.

    Args:
        folder: for checkouts, stores, artifacts and logs.
        files: the child pipeline, or the parts that it runs one after another.
        checkout: the repository that every job gets a copy of.
        handoff: files that the parent's job leaves, as they lie in its checkout.
        environment: what all jobs see besides the variables of the pipeline and of their store.
        lab: see `launch.Order`.
        stores: see `Stores`; `shared` is the folder of the store in that case.
        shell: see `launch.Order`.
        nix_bin: folder of the Nix of all runners; null means the one on PATH.
    """

    folder: Path
    files: tuple[Path, ...]
    checkout: Path
    handoff: Path
    environment: Mapping[str, str]
    stores: Stores = "job"
    shared: Path | None = None
    runners: int = 2
    shell: bool = False
    lab: Path | None = None
    nix_bin: Path | None = None
    stages: tuple[str, ...] = ("build", "test")
    jobs: dict[str, Job] = field(init=False)
    _part: dict[str, int] = field(init=False)
    ended: list[Ended] = field(init=False, default_factory=list)
    artifacts: dict[str, Path] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.jobs, self._part = {}, {}
        for part, file in enumerate(self.files):
            pipeline = yaml.safe_load(file.read_text("utf-8"))
            for name, said in pipeline.items():
                if isinstance(said, dict) and "script" in said and said["stage"] in self.stages:
                    assert name not in self.jobs, f"two jobs are called {name}"
                    self.jobs[name] = Job.read(name, said, pipeline)
                    self._part[name] = part
        self._numbers = itertools.count()

    def parts(self) -> list[list[str]]:
        """The jobs of each pipeline."""
        return [[name for name in self.jobs if self._part[name] == part] for part in range(len(self.files))]

    # --- what happened

    def statuses(self) -> dict[str, Status]:
        """Job → how its last attempt ended; those that were never tried are absent."""
        return {one.job.name: one.status for one in self.ended}

    def built(self) -> Iterator[tuple[str, str]]:
        """(job, derivation) of each builder that was started."""
        return ((one.job.name, drv) for one in self.ended for drv in one.built)

    def describe(self) -> str:
        """Every job, and what the failed ones said; for failed assertions."""
        statuses = self.statuses()
        lines = [f"{statuses.get(name, 'not run'):8} {name}" for name in self.jobs]
        for one in self.ended:
            if one.status == "failed":
                lines += ["", f"--- {one.job.name} (attempt {one.attempt})", one.log]
        return "\n".join(lines)

    # --- running

    def run(self, timeout: float = 100) -> None:
        """Try every job that has not passed, as far as what it needs has: also again what failed.

        Raises:
            AssertionError: the time was up, or a job needs one that does not exist.
        """
        deadline = time.monotonic() + timeout
        tried: set[str] = set()
        live: dict[int, _Live] = {}
        try:
            while True:
                for runner in sorted(set(range(self.runners)) - live.keys()):
                    ready = self._next(tried)
                    if ready is None:
                        break
                    tried.add(ready.name)
                    live[runner] = self._start(ready, runner)
                if not live:
                    return
                left = deadline - time.monotonic()
                assert wait([one.process.sentinel for one in live.values()], left), f"not done in {timeout} s: {live}"
                for runner, one in list(live.items()):
                    if one.process.exitcode is not None:
                        del live[runner]
                        self._end(one)
        finally:
            for one in live.values():
                one.kill()

    def _next(self, tried: Collection[str]) -> Job | None:
        statuses = self.statuses()
        part = min((self._part[name] for name in self.jobs if statuses.get(name) != "passed"), default=0)
        for job in self.jobs.values():
            needed = [need.job for need in job.needs if need.job is not None]
            unknown = [name for name in needed if name not in self.jobs]
            assert not unknown, f"{job.name} needs {unknown}, which do not exist"
            open_now = statuses.get(job.name) != "passed" and self._part[job.name] == part
            if open_now and job.name not in tried and all(statuses.get(name) == "passed" for name in needed):
                # One that failed before and is to be tried again has not passed yet: whoever needs it waits.
                return job
        return None

    def _start(self, job: Job, runner: int) -> _Live:
        number = next(self._numbers)
        place = self.folder / "jobs" / str(number)
        directory = place / "checkout"
        if job.variables.get("GIT_STRATEGY") == "none":
            directory.mkdir(parents=True)
        else:
            shutil.copytree(self.checkout, directory, symlinks=True)
        for need in job.needs:
            if need.artifacts and need.job is None:
                shutil.copytree(self.handoff, directory, dirs_exist_ok=True)
            elif need.artifacts and need.job in self.artifacts:
                shutil.copytree(self.artifacts[need.job], directory, symlinks=True, dirs_exist_ok=True)
        store = {
            "job": place / "store",
            "runner": self.folder / "runners" / str(runner),
            "shared": self.shared or self.folder / "shared",
        }[self.stores]
        variables = {
            **job.variables,
            "CI_JOB_NAME": job.name,
            "CI_JOB_STAGE": job.stage,
            "CI_PIPELINE_ID": PIPELINE_ID,
            "CI_PROJECT_DIR": str(directory),
        }
        private = PrivateStore(store, self.nix_bin)
        environment = {**private.settings(), **self.environment, **variables}
        order = launch.Order(job.script, store, directory, environment, place / "log", self.lab, shell=self.shell)
        return _Live(job, place, private, private.logs(), launch.start(order), time.monotonic())

    def _end(self, one: _Live) -> None:
        passed = one.process.exitcode == 0
        log = (one.place / "log").read_text("utf-8", "replace")
        built = tuple(sorted(drv for drv, when in one.store.logs().items() if one.known.get(drv) != when))
        attempt = 1 + sum(before.job.name == one.job.name for before in self.ended)
        seconds = time.monotonic() - one.started
        status: Status = "passed" if passed else "failed"
        self.ended.append(Ended(one.job, attempt, status, built, f"{log}exit code {one.process.exitcode}\n", seconds))
        if one.job.kept_when == "always" or (one.job.kept_when == "on_success") == passed:
            self._keep(one.job, one.place / "checkout", one.place / "artifacts")
        shutil.rmtree(one.place / "checkout")
        if self.stores == "job":
            shutil.rmtree(one.store.folder)

    def _keep(self, job: Job, directory: Path, artifacts: Path) -> None:
        artifacts.mkdir()
        for pattern in job.kept:
            # As GitLab's runner does with any variable.
            for found in directory.glob(pattern.rstrip("/").replace("$CI_PIPELINE_ID", PIPELINE_ID)):
                target = artifacts / found.relative_to(directory)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(found, target, symlinks=True) if found.is_dir() else shutil.copy2(found, target)
        self.artifacts[job.name] = artifacts


@dataclass(frozen=True)
class _Live:
    """A job that runs. `known` are the logs of builds that were in its store before."""

    job: Job
    place: Path
    store: PrivateStore
    known: dict[str, int]
    process: ForkServerProcess
    started: float

    def kill(self) -> None:
        """End it and what it started."""
        pid = self.process.pid
        if pid is not None and self.process.is_alive():
            os.killpg(pid, 9)
        self.process.join(10)
