"""Outputs that become failing jobs: they did not evaluate, or must not be skipped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipelinegen import attrpath
from pipelinegen.inventory.model import Kind
from pipelinegen.job_names import job_name
from pipelinegen.plan.model import Action, Stage, Task

FAILED_AT_ONCE = 200
"""Outputs that did not evaluate and share a job, where there is no room for a job each."""


@dataclass(frozen=True)
class FailedOutput:
    """An output that becomes a failing job: it did not evaluate, or must not be skipped."""

    path: tuple[str, ...]
    kind: Kind
    job: str
    message: str

    @property
    def attr(self) -> str:
        """The attribute path as Nix prints it."""
        return attrpath.show(self.path)

    @property
    def stage(self) -> Stage:
        """The stage of its job."""
        return Stage.TEST if self.kind is Kind.CHECK else Stage.BUILD

    @classmethod
    def of(cls, path: tuple[str, ...], kind: Kind, message: str) -> FailedOutput:
        """The failed output with the name of its job."""
        return cls(path, kind, job_name("evaluate", attrpath.show(path)), message)


def failure_tasks(failed: Iterable[FailedOutput]) -> list[Task]:
    """The jobs of these, each of which tells of one or several."""
    by_job: dict[str, list[FailedOutput]] = {}
    for one in failed:
        by_job.setdefault(one.job, []).append(one)
    return [
        Task(
            name=job,
            action=Action.EVALUATION_FAILURE,
            stage=some[0].stage,
            targets=tuple(one.attr for one in some),
            needs_handoff=True,
        )
        for job, some in by_job.items()
    ]


def share_jobs(failed: Sequence[FailedOutput]) -> list[FailedOutput]:
    """The same, with one job for many of one stage."""
    shared: list[FailedOutput] = []
    for stage in (Stage.BUILD, Stage.TEST):
        some = [one for one in failed if one.stage is stage]
        for start in range(0, len(some), FAILED_AT_ONCE):
            part = some[start : start + FAILED_AT_ONCE]
            more = f" (+{len(part) - 1})" if len(part) > 1 else ""
            shared += [replace(one, job=job_name("evaluate", part[0].attr + more)) for one in part]
    return shared
