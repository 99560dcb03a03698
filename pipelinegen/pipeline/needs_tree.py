"""Fan-in beyond GitLab's limit of `needs` per job: a tree of collector jobs that do nothing.

A collector needs a share of the jobs and is needed instead of them. It runs when all of them have passed
and is skipped when one has not, so what waits for it waits for exactly what it waited for before.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pipelinegen.job_names import job_name
from pipelinegen.pipeline.model import Job, Need, Retry
from pipelinegen.plan.model import Stage

Names = tuple[str, ...]


def fan_in(jobs: Sequence[Job], limit: int = 45, *, stages: Sequence[str] = tuple(Stage)) -> tuple[Job, ...]:
    """The same jobs with at most `limit` needs each, every collector before the first job that needs it.

    Jobs that wait for the same jobs share their collectors. Needs that do more than wait (artifacts,
    optional ones, other pipelines') stay as they are; where those alone exceed the limit, `verify` says so.

    Args:
        limit: `needs` per job, at least 2. The default leaves room below GitLab's 50.
        stages: in their order; a collector is in the latest stage of what it collects.
    """
    tree = _Tree(jobs, max(limit, 2), stages)
    return tuple(part for job in jobs for part in tree.expand(job))


class _Tree:
    """The collectors made so far, by what they collect."""

    def __init__(self, jobs: Sequence[Job], limit: int, stages: Sequence[str]) -> None:
        self.limit = limit
        self.order = {stage: place for place, stage in enumerate((".pre", *stages, ".post"))}
        self.jobs = {job.name: job for job in jobs}
        self.place = {name: place for place, name in enumerate(self.jobs)}
        self.crowds = self._crowds(jobs)
        self.collectors: dict[Names, Job] = {}

    def expand(self, job: Job) -> list[Job]:
        """The collectors that `job` is the first to need, then `job`."""
        needs = job.needs or ()
        if len(needs) <= self.limit:
            return [job]
        kept = [need for need in needs if not _only_waits(job, need)]
        known = len(self.collectors)
        names = self._fewer(_waited_for(job), max(self.limit - len(kept), 1), job)
        made = list(self.collectors.values())[known:]
        return [*made, job.model_copy(update={"needs": (*(Need(job=name) for name in names), *kept)})]

    def _fewer(self, names: Names, room: int, job: Job) -> Names:
        """At most `room` names of jobs that together wait for `names`."""
        # What the same jobs wait for is collected together, the largest crowd first, so that those jobs
        # can share the collectors; only then anything else, in order.
        crowds: dict[int, list[str]] = {}
        for name in names:
            crowds.setdefault(self.crowds[name], []).append(name)
        surplus = len(names) - room
        for crowd in sorted(crowds, key=lambda crowd: -len(crowds[crowd])):
            if surplus > 0:
                collected = self._collect(crowds[crowd], job)
                surplus -= len(crowds[crowd]) - len(collected)
                crowds[crowd] = list(collected)
        fewer = tuple(itertools.chain.from_iterable(crowds.values()))
        while len(fewer) > room:
            fewer = self._collect(fewer, job)
        return fewer

    def _collect(self, names: Sequence[str], job: Job) -> Names:
        """Names of the collectors of `names`, one for each full share."""
        ordered = sorted(names, key=self._rank)
        shares = [tuple(ordered[at : at + self.limit]) for at in range(0, len(ordered), self.limit)]
        return tuple(share[0] if len(share) == 1 else self._collector(share, job).name for share in shares)

    def _collector(self, names: Names, job: Job) -> Job:
        if names not in self.collectors:
            stages = [self.jobs[name].stage for name in names if name in self.jobs] or [job.stage]
            stage = max(stages, key=lambda stage: self.order.get(stage, 0))
            self.collectors[names] = collector = Job(
                name=self._free_name(stage),
                stage=stage,
                interruptible=True,
                needs=tuple(Need(job=name) for name in names),
                # Only the runner of the job that waits is known to exist for it.
                tags=job.tags,
                image=job.image,
                variables={"GIT_STRATEGY": "none"},
                timeout="10 minutes",
                retry=Retry(max=2, when=("runner_system_failure", "stuck_or_timeout_failure")),
                before_script=(),
                script=(f"echo 'all {len(names)} jobs have passed'",),
            )
            self.place[collector.name] = len(self.place)
            self.jobs[collector.name] = collector
        return self.collectors[names]

    def _free_name(self, stage: str) -> str:
        names = (job_name("collect", f"{stage} #{number}") for number in itertools.count(1))
        return next(name for name in names if name not in self.jobs)

    def _rank(self, name: str) -> tuple[int, int]:
        job = self.jobs.get(name)
        return (self.order.get(job.stage, 0) if job else 0, self.place.get(name, 0))

    def _crowds(self, jobs: Sequence[Job]) -> dict[str, int]:
        """Needed job → a number for the set of jobs with too many needs that wait for it."""
        crowds: dict[str, list[str]] = {}
        for job in jobs:
            if len(job.needs or ()) > self.limit:
                for name in _waited_for(job):
                    crowds.setdefault(name, []).append(job.name)
        numbers: dict[Names, int] = {}
        return {name: numbers.setdefault(tuple(crowd), len(numbers)) for name, crowd in crowds.items()}


def _waited_for(job: Job) -> Names:
    """The jobs that it needs only to have passed, each once."""
    return tuple(dict.fromkeys(need.job for need in job.needs or () if _only_waits(job, need)))


def _only_waits(job: Job, need: Need) -> bool:
    plain = not need.artifacts and not need.optional and need.pipeline is None
    return plain and need.job not in (job.dependencies or ())
