"""Fan-in beyond GitLab's limit of `needs` per job: a tree of collector jobs that do nothing.

A collector needs a share of the jobs and is needed instead of them. It runs when all of them have passed
and is skipped when one has not, so what waits for it waits for exactly what it waited for before. Where outputs
travel as artifacts, it downloads those of its share and uploads them as one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pipelinegen.job_names import OUTPUTS, job_name
from pipelinegen.pipeline.model import Artifacts, Job, Need, Retry
from pipelinegen.plan.model import Stage

OUTPUTS_OF_ALL = f"{OUTPUTS}/$CI_PIPELINE_ID/"
"""Where the jobs of a pipeline leave outputs for each other, each in a folder; runners expand the variable."""

Wire = tuple[str, bool]
"""A job, and whether its outputs are downloaded."""

Wires = tuple[Wire, ...]


def fan_in(
    jobs: Sequence[Job], limit: int = 45, *, stages: Sequence[str] = tuple(Stage), max_artifact_mb: int = 100
) -> tuple[Job, ...]:
    """The same jobs with at most `limit` needs each, every collector before the first job that needs it.

    Jobs that wait for the same jobs share their collectors. Needs that are about other files than outputs,
    optional ones and those of other pipelines stay as they are; where those alone exceed the limit, `verify`
    says so.

    Args:
        limit: `needs` per job, at least 2. The default leaves room below GitLab's 50.
        stages: in their order; a collector is in the latest stage of what it collects.
        max_artifact_mb: MiB that the server takes as one archive; a collector of more fails and says so.
    """
    tree = _Tree(jobs, max(limit, 2), stages, max_artifact_mb)
    return tuple(part for job in jobs for part in tree.expand(job))


class _Tree:
    """The collectors made so far, by what they collect."""

    def __init__(self, jobs: Sequence[Job], limit: int, stages: Sequence[str], max_artifact_mb: int) -> None:
        self.limit = limit
        self.order = {stage: place for place, stage in enumerate((".pre", *stages, ".post"))}
        self.max_artifact_mb = max_artifact_mb
        self.jobs = {job.name: job for job in jobs}
        self.place = {name: place for place, name in enumerate(self.jobs)}
        self.crowds = self._crowds(jobs)
        self.collectors: dict[Wires, Job] = {}

    def expand(self, job: Job) -> list[Job]:
        """The collectors that `job` is the first to need, then `job`."""
        needs = job.needs or ()
        if len(needs) <= self.limit:
            return [job]
        kept = [need for need in needs if self._wire(job, need) is None]
        known = len(self.collectors)
        wires = self._fewer(self._wires(job), max(self.limit - len(kept), 1), job)
        made = list(self.collectors.values())[known:]
        return [*made, job.model_copy(update={"needs": (*_needs(wires), *kept)})]

    def _fewer(self, wires: Wires, room: int, job: Job) -> Wires:
        """At most `room` wires that together stand for `wires`."""
        # What the same jobs wait for is collected together, the largest crowd first, so that those jobs
        # can share the collectors; only then anything else, in order.
        crowds: dict[int, list[Wire]] = {}
        for wire in wires:
            crowds.setdefault(self.crowds[wire], []).append(wire)
        surplus = len(wires) - room
        for crowd in sorted(crowds, key=lambda crowd: -len(crowds[crowd])):
            if surplus > 0:
                collected = self._collect(crowds[crowd], job)
                surplus -= len(crowds[crowd]) - len(collected)
                crowds[crowd] = list(collected)
        fewer = tuple(itertools.chain.from_iterable(crowds.values()))
        while len(fewer) > room:
            before, fewer = fewer, self._collect(fewer, job)
            if len(fewer) == len(before):
                break  # one of each kind
        return fewer

    def _collect(self, wires: Sequence[Wire], job: Job) -> Wires:
        """The collectors of `wires`, one for each full share of a kind."""
        collected: list[Wire] = []
        for carries in (False, True):
            ordered = sorted((wire for wire in wires if wire[1] is carries), key=self._rank)
            shares = [tuple(ordered[at : at + self.limit]) for at in range(0, len(ordered), self.limit)]
            collected += [
                share[0] if len(share) == 1 else (self._collector(share, job).name, carries) for share in shares
            ]
        return tuple(collected)

    def _collector(self, wires: Wires, job: Job) -> Job:
        if wires not in self.collectors:
            stages = [self.jobs[name].stage for name, _ in wires if name in self.jobs] or [job.stage]
            stage = max(stages, key=lambda stage: self.order.get(stage, 0))
            collector = Job(
                name=self._free_name(stage),
                stage=stage,
                interruptible=True,
                needs=_needs(wires),
                # Only the runner of the job that waits is known to exist for it.
                tags=job.tags,
                image=job.image,
                variables={"GIT_STRATEGY": "none"},
                timeout="10 minutes",
                retry=Retry(max=2, when=("runner_system_failure", "stuck_or_timeout_failure")),
                before_script=(),
                script=(f"echo 'all {len(wires)} jobs have passed'",),
            )
            if any(carries for _, carries in wires):
                collector = collector.model_copy(update=self._repacking())
            self.collectors[wires] = collector
            self.place[collector.name] = len(self.place)
            self.jobs[collector.name] = collector
        return self.collectors[wires]

    def _repacking(self) -> dict[str, object]:
        """What makes a collector pass outputs on."""
        folder = f'"{OUTPUTS_OF_ALL}"'
        limit = self.max_artifact_mb
        says = (
            f"error: more than gitlab.max_artifact_mb = {limit} allows; hint: hand over through a cache (handoff.mode)"
        )
        too_large = f'[ -d {folder} ] && [ "$(du -sk {folder} | cut -f1)" -gt {limit * 1024} ]'
        return {
            # Not without a checkout: making one removes what other jobs left in the runner's folder.
            "variables": {},
            "timeout": "1 hour",
            "script": (
                "echo 'passing the outputs of all jobs on as one artifact'",
                f"if [ -d {folder} ]; then du -sk {folder}; fi",
                f"if {too_large}; then echo '{says}'; exit 1; fi",
            ),
            "artifacts": Artifacts(paths=(OUTPUTS_OF_ALL,), expire_in="1 week"),
        }

    def _free_name(self, stage: str) -> str:
        names = (job_name("collect", f"{stage} #{number}") for number in itertools.count(1))
        return next(name for name in names if name not in self.jobs)

    def _rank(self, wire: Wire) -> tuple[int, int]:
        job = self.jobs.get(wire[0])
        return (self.order.get(job.stage, 0) if job else 0, self.place.get(wire[0], 0))

    def _crowds(self, jobs: Sequence[Job]) -> dict[Wire, int]:
        """Wire → a number for the set of jobs with too many needs that have it."""
        crowds: dict[Wire, list[str]] = {}
        for job in jobs:
            if len(job.needs or ()) > self.limit:
                for wire in self._wires(job):
                    crowds.setdefault(wire, []).append(job.name)
        numbers: dict[tuple[str, ...], int] = {}
        return {wire: numbers.setdefault(tuple(crowd), len(numbers)) for wire, crowd in crowds.items()}

    def _wires(self, job: Job) -> Wires:
        """What collectors may stand for, each once."""
        return tuple(dict.fromkeys(wire for need in job.needs or () if (wire := self._wire(job, need)) is not None))

    def _wire(self, job: Job, need: Need) -> Wire | None:
        """What a collector would have to stand for; null for a need that stays as it is."""
        if need.optional or need.pipeline is not None or need.job in (job.dependencies or ()):
            return None
        if not need.artifacts:
            return need.job, False
        needed = self.jobs.get(need.job)
        uploads = needed.artifacts.paths if needed is not None and needed.artifacts is not None else ()
        return (need.job, True) if any(path.startswith(OUTPUTS_OF_ALL) for path in uploads) else None


def _needs(wires: Wires) -> tuple[Need, ...]:
    return tuple(Need(job=name, artifacts=carries) for name, carries in wires)
