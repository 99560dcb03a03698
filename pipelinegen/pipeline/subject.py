"""What the checks look at: a pipeline, the server it is for, and the indexes that every check shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from pipelinegen.pipeline.limits import Limits, Version
from pipelinegen.pipeline.model import Job, Pipeline
from pipelinegen.pipeline.secret_names import NO_SECRETS, Secrets

EDGE_STAGES = (".pre", ".post")
"""Stages that exist without being listed, before and after all others."""

DEFAULT_STAGES = ("build", "test", "deploy")
"""The stages of a file that lists none: https://docs.gitlab.com/ci/yaml/#stages."""

Trouble = tuple[str | None, str]
"""The job (null: the whole file) and what is wrong with it, one sentence."""

Check = Callable[["Subject"], Iterator[Trouble]]
"""A rule: yields what breaks it, in the order of the file."""


@dataclass(frozen=True)
class Subject:
    """A pipeline under verification.

    Attributes:
        version: the oldest server it must work on.
        yaml_bytes: size of its file, null when it has not been written.
        merge_request: whether it runs for a merge request.
        child: whether it is a child pipeline that pipelinegen writes; else a file that people include.
        secrets: names of the variables and files that hold the configuration's secrets.
    """

    pipeline: Pipeline
    limits: Limits
    version: Version
    yaml_bytes: int | None = None
    merge_request: bool = False
    child: bool = True
    secrets: Secrets = NO_SECRETS

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs, in the order of the file."""
        return self.pipeline.jobs

    @cached_property
    def by_name(self) -> dict[str, Job]:
        """Name → job (the first of that name)."""
        return {job.name: job for job in reversed(self.jobs)}

    @cached_property
    def stage_order(self) -> dict[str, int]:
        """Stage → its place; `.pre` is first and `.post` last, listed or not."""
        first, last = EDGE_STAGES
        listed = [stage for stage in self.pipeline.stages or DEFAULT_STAGES if stage not in EDGE_STAGES]
        return {stage: place for place, stage in enumerate((first, *dict.fromkeys(listed), last))}

    def is_later(self, job: Job, than: Job) -> bool:
        """Whether `job` is in a later stage than the other (an unknown stage is never later)."""
        order = self.stage_order
        return order.get(job.stage, -1) > order.get(than.stage, len(order))

    @cached_property
    def needed(self) -> frozenset[str]:
        """Names of all jobs that some job needs."""
        return frozenset(name for job in self.jobs for name in job.local_needs)

    @cached_property
    def dependents(self) -> dict[str, list[Job]]:
        """Job name → the jobs that need it, in the order of the file."""
        found: dict[str, list[Job]] = {}
        for job in self.jobs:
            for name in dict.fromkeys(job.local_needs):
                found.setdefault(name, []).append(job)
        return found
