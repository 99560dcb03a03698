"""How much of GitLab's limits a pipeline of certain jobs takes, without writing it again and again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pipelinegen.pipeline.emit import job_bytes
from pipelinegen.pipeline.model import Job, Need

_EMPTY = Job(name="x", stage="x", needs=())


class Size(NamedTuple):
    """Jobs, those of them with an environment, and bytes of YAML without what stands above the jobs."""

    jobs: int
    deployments: int
    bytes: int = 0

    def plus(self, other: Size) -> Size:
        """Both together."""
        return Size(self.jobs + other.jobs, self.deployments + other.deployments, self.bytes + other.bytes)

    def fits(self, room: Size) -> bool:
        """Whether all of it is within `room`."""
        return self.jobs <= room.jobs and self.deployments <= room.deployments and self.bytes <= room.bytes


def count(jobs: Collection[Job]) -> Size:
    """The number of jobs and deployments, `parallel` included."""
    return Size(sum(job.instances for job in jobs), sum(job.instances for job in jobs if job.environment is not None))


class _Known(NamedTuple):
    """A job by itself: `size` is without needs of this pipeline, `needs` has those with their bytes."""

    size: Size
    needs: tuple[tuple[str, int], ...]
    plain: bool


class Sizes:
    """Sizes of the jobs of one plan.

    Args:
        jobs: all of them.
        most: needs from which on a job gets collectors.
    """

    def __init__(self, jobs: Collection[Job], most: int) -> None:
        self.bytes_of_need: dict[tuple[object, ...], int] = {}
        self.known = {job.name: self._know(job, most) for job in jobs}

    def alone(self, jobs: Sequence[Job]) -> Size | None:
        """Of a pipeline of these jobs of the plan, needs of others left out; null where it would get more jobs.

        Those are collectors, or one that starts by itself where all others may wait.
        """
        names = {job.name for job in jobs}
        count = deployments = total = 0
        for name in names:
            known = self.known[name]
            if not known.plain:
                return None
            count += known.size.jobs
            deployments += known.size.deployments
            total += known.size.bytes
            for need, size in known.needs:
                if need in names:
                    total += size
        return Size(count, deployments, total)

    def of(self, jobs: Sequence[Job]) -> Size:
        """Of a pipeline of exactly these jobs, some of which may be no jobs of the plan."""
        total = 0
        for job in jobs:
            known = self.known.get(job.name)
            total += known.size.bytes if known else job_bytes(_without_needs(job))
            total += sum(self._need(need) for need in job.needs or () if need.pipeline is None or not known)
        return count(jobs)._replace(bytes=total)

    def _know(self, job: Job, most: int) -> _Known:
        needs = job.needs or ()
        elsewhere = sum(self._need(need) for need in needs if need.pipeline is not None)
        return _Known(
            count([job])._replace(bytes=job_bytes(_without_needs(job)) + elsewhere),
            tuple((need.job, self._need(need)) for need in needs if need.pipeline is None),
            plain=job.automatic and len(needs) <= most,
        )

    def _need(self, need: Need) -> int:
        key = (need.job, need.artifacts, need.optional, need.pipeline)
        size = self.bytes_of_need.get(key)
        if size is None:
            # The first need of a job takes three bytes less: `[]` is not written any more.
            with_need = job_bytes(_EMPTY.model_copy(update={"needs": (need,)}))
            size = self.bytes_of_need[key] = with_need - job_bytes(_EMPTY) + len(" []")
        return size


def _without_needs(job: Job) -> Job:
    return job.model_copy(update={"needs": ()})
