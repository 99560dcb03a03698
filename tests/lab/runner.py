"""Runs a child pipeline for real, with gitlab-ci-local and its shell executor.

What differs from GitLab, so that a test does not claim too much: `retry`, `timeout`, `resource_group`,
`environment` and `needs` on another pipeline are ignored, and a batch of jobs ends before the next one starts.
Each job gets a copy of the checkout of its own, and artifacts travel as in GitLab. Jobs see PATH, HOME and LANG of
the runner and nothing else of our environment.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.lab.machine import run

Status = Literal["passed", "warning", "failed", "not run"]
"""`warning` is a failed job that is allowed to fail; `not run` one whose turn never came."""

_VERDICTS: dict[str, Status] = {"PASS": "passed", "WARN": "warning", "FAIL": "failed"}
_STATE = ".gitlab-ci-local"


@dataclass(frozen=True)
class JobResult:
    """How one job ended.

    Attributes:
        log: what it printed, the echoed commands too; empty when it did not run.
        artifacts: folder with the artifacts it left.
    """

    name: str
    stage: str
    status: Status
    log: str
    artifacts: Path


@dataclass(frozen=True)
class PipelineResult:
    """How a pipeline ended; `passed` is GitLab's verdict on it. `output` is all that the runner printed."""

    jobs: dict[str, JobResult]
    passed: bool
    output: str

    def names(self, *statuses: Status) -> set[str]:
        """The jobs that ended so."""
        return {name for name, job in self.jobs.items() if job.status in statuses}

    def describe(self) -> str:
        """Every job with its status, and the logs of those that failed; for failed assertions."""
        lines = [f"{job.status:8} {job.stage:7} {name}" for name, job in self.jobs.items()]
        for job in self.jobs.values():
            if job.status in ("failed", "warning"):
                lines += ["", f"--- {job.name}", job.log]
        return "\n".join(lines)


@dataclass(frozen=True)
class Runner:
    """gitlab-ci-local; `command` starts it, `home` is a folder in which it finds no settings of the user."""

    command: tuple[str, ...]
    home: Path

    def run_pipeline(
        self,
        child: Path,
        checkout: Path,
        *,
        variables: Mapping[str, str],
        unset: Collection[str] = (),
        manual: Collection[str] = (),
        only: Collection[str] = (),
        timeout: float = 300,
    ) -> PipelineResult:
        """Run the pipeline in `child` on a checked-out repository.

        Args:
            child: the YAML file, as `pipelinegen generate` wrote it.
            checkout: top of a git work tree, best a fresh clone: the runner keeps its files in there.
            variables: what GitLab and the project's settings would set; see `push_variables`.
            unset: variables that must be absent, such as CI_COMMIT_BRANCH for a merge request.
            manual: manual jobs that somebody starts. Those that nobody starts, and whoever needs them, do
                not run.
            only: run these jobs alone, as somebody does who retries them; what they need has passed before.
            timeout: seconds for the whole pipeline.

        Raises:
            AssertionError: the runner refused the file, or its time was up.
        """
        state = checkout / _STATE
        state.mkdir(exist_ok=True)
        waiting = _write_without_waiting(child, state / "child.yml", manual)
        options = [
            *("--file", f"{_STATE}/child.yml", "--force-shell-executor", "--shell-isolation"),
            *("--no-color", "--ignore-predefined-vars", ",".join(sorted(variables))),
            # The runner expands `$` in values, as GitLab does; `$$` is a plain one.
            *(f"--variable={name}={value.replace('$', '$$')}" for name, value in sorted(variables.items())),
            *(f"--unset-variable={name}" for name in sorted(unset)),
            *(f"--manual={name}" for name in sorted(manual)),
        ]
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
        }
        self.home.mkdir(parents=True, exist_ok=True)
        listed = run([*self.command, *options, "--list-json"], env=environment, cwd=checkout)
        jobs: list[dict[str, Any]] = json.loads(listed.stdout[listed.stdout.index("[\n") :])
        ended = run(
            [*self.command, *options, *sorted(only)], env=environment, cwd=checkout, timeout=timeout, check=False
        )
        verdicts = _verdicts(ended.stdout, [str(job["name"]) for job in jobs])
        failed = "failed" in verdicts.values()
        # Its own exit code must agree with what was read from its table; else it broke in the middle.
        assert verdicts, f"the runner ran no job\n{ended.output}"
        assert (ended.returncode != 0) == failed, f"the runner failed, no job did\n{ended.output}"
        results = {str(job["name"]): _result(state, str(job["name"]), str(job["stage"]), verdicts) for job in jobs}
        for name, stage in waiting.items():
            results[name] = _result(state, name, stage, {})
        return PipelineResult(results, passed=not failed, output=ended.output)


def push_variables(
    *, branch: str, commit: str, before: str | None = None, protected: bool = True, default: str = "main"
) -> dict[str, str]:
    """The predefined variables of a child pipeline after a push, as far as pipelinegen reads them."""
    return {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_PIPELINE_SOURCE": "parent_pipeline",
        "CI_COMMIT_BRANCH": branch,
        "CI_COMMIT_REF_NAME": branch,
        "CI_COMMIT_REF_PROTECTED": "true" if protected else "false",
        "CI_COMMIT_SHA": commit,
        "CI_COMMIT_BEFORE_SHA": before or "0" * 40,
        "CI_DEFAULT_BRANCH": default,
        "CI_PROJECT_ID": "7",
        "CI_PROJECT_URL": "https://gitlab.example.org/fleet/fleet",
    }


def merge_request_variables(*, branch: str, commit: str, base: str, target: str = "main") -> dict[str, str]:
    """Those of a merge request's pipeline; CI_COMMIT_BRANCH must then be unset."""
    variables = push_variables(branch=branch, commit=commit, protected=False, default=target)
    del variables["CI_COMMIT_BRANCH"], variables["CI_COMMIT_BEFORE_SHA"]
    return {
        **variables,
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": target,
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": branch,
        "CI_MERGE_REQUEST_PROJECT_URL": variables["CI_PROJECT_URL"],
        "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": variables["CI_PROJECT_URL"],
    }


def _verdicts(stdout: str, names: Sequence[str]) -> dict[str, Status]:
    """The table at the end of the runner's output: ` PASS  name`, ` FAIL  name`, one line per started job.

    What jobs print comes with their name before it, the last lines of failed jobs with `  >`; the table's
    lines begin with one space.
    """
    known = set(names)
    found: dict[str, Status] = {}
    for line in stdout.splitlines():
        match = re.fullmatch(r" (PASS|WARN|FAIL)  (.*?)\s*(?:  pre_script)?", line)
        if match and match[2] in known:
            found[match[2]] = _VERDICTS[match[1]]
    return found


def _result(state: Path, name: str, stage: str, verdicts: Mapping[str, Status]) -> JobResult:
    # The runner's own way to make a file name of a job's: base64 without padding for what is no word.
    safe = re.sub(r"[^\w-]+", lambda match: _base64url(match[0]), name, flags=re.ASCII)
    log = state / "output" / f"{safe}.log"
    status = verdicts.get(name, "not run")
    return JobResult(
        name=name,
        stage=stage,
        status=status,
        log=log.read_text("utf-8", "replace") if status != "not run" and log.exists() else "",
        artifacts=state / "artifacts" / safe,
    )


def _base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _write_without_waiting(child: Path, target: Path, manual: Collection[str]) -> dict[str, str]:
    """Copy the pipeline without the jobs that wait for somebody; they are returned with their stages.

    GitLab leaves a manual job that nobody starts, and all that need it, as they are; this runner would
    refuse the whole file.
    """
    pipeline: dict[str, Any] = yaml.safe_load(child.read_text("utf-8"))
    jobs = {
        name: job for name, job in pipeline.items() if isinstance(job, dict) and ("script" in job or "trigger" in job)
    }
    waiting = {name for name, job in jobs.items() if job.get("when") == "manual" and name not in manual}
    grown = True
    while grown:
        more = {name for name, job in jobs.items() if waiting & set(_needed(job))} - waiting
        waiting |= more
        grown = bool(more)
    if not waiting:
        target.write_bytes(child.read_bytes())
        return {}
    rest = {name: value for name, value in pipeline.items() if name not in waiting}
    target.write_text(yaml.safe_dump(rest, sort_keys=False), "utf-8")
    return {name: str(job.get("stage", "test")) for name, job in jobs.items() if name in waiting}


def _needed(job: Mapping[str, Any]) -> list[str]:
    needs = [need if isinstance(need, dict) else {"job": need} for need in job.get("needs") or []]
    return [str(need["job"]) for need in needs if "pipeline" not in need and "job" in need]
