"""Where a pipeline that is too large is cut into segments that run one after another. Pure.

A segment starts when the one before it has passed, so jobs may be cut apart wherever one merely waits for the
other. Some belong together:

* a job and the one whose files it takes: GitLab hands artifacts on only within a pipeline;
* a job that waits for a person and all that waits for it: a pipeline passes without them;
* a job that also runs after a failure, what it waits for and what waits for it: nothing starts after a segment
  that failed;
* an environment's job and the one that stops it.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pipelinegen.errors import VerificationError
from pipelinegen.pipeline.model import Job

Segment = tuple[Job, ...]

Fits = Callable[[Sequence[Job]], bool]
"""Whether jobs that stand next to each other may be one pipeline. Fewer of them fit where more do."""

AFTER_FAILURE = ("always", "on_failure")
"""`when` of jobs that run although something failed."""


def divide(jobs: Sequence[Job], stages: Sequence[str], fits: Fits, most: int) -> tuple[Segment, ...]:
    """All jobs in as few segments as fit, in the order in which the segments run.

    Cut where a stage ends if that takes no more segments, else so that the segments are of one size.

    Args:
        jobs: that need each other without a cycle; each keeps all its needs.
        stages: in their order; a job needs none of a later stage.
        most: segments.

    Raises:
        VerificationError: that many do not hold them, or jobs that belong together fit no segment.
    """
    line = _Line(in_order(jobs, stages), fits)
    ends = line.furthest()
    if len(ends) > most:
        raise VerificationError(
            "the pipeline cannot be divided",
            findings=[f"it would take {len(ends)} child pipelines; gitlab.max_pipelines allows {most}"],
        )
    ends = line.balanced(ends)
    return tuple(tuple(line.jobs[start:end]) for start, end in itertools.pairwise((0, *ends)))


def in_order(jobs: Sequence[Job], stages: Sequence[str]) -> list[Job]:
    """Stage by stage, each job behind those that it needs, else in the order given."""
    order = {stage: place for place, stage in enumerate((".pre", *stages, ".post"))}
    place = {job.name: (order.get(job.stage, 0), number) for number, job in enumerate(jobs)}
    missing = {job.name: sum(name in place for name in set(job.local_needs)) for job in jobs}
    dependents: dict[str, list[str]] = {}
    for job in jobs:
        for name in set(job.local_needs):
            dependents.setdefault(name, []).append(job.name)
    ready = [place[name] for name, count in missing.items() if not count]
    heapq.heapify(ready)
    found: list[Job] = []
    while ready:
        job = jobs[heapq.heappop(ready)[1]]
        found.append(job)
        for name in dependents.get(job.name, ()):
            missing[name] -= 1
            if not missing[name]:
                heapq.heappush(ready, place[name])
    return found


@dataclass
class _Line:
    """The jobs in a row, and between which of them it may be cut.

    Attributes:
        cuts: counts of jobs that may stand before a cut, rising; the last is all of them.
    """

    jobs: list[Job]
    fits: Fits
    cuts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        # One up where a pair that belongs together begins and one down behind it: a cut needs a sum of nothing.
        steps = [0] * (len(self.jobs) + 1)
        for first, last in _together(self.jobs):
            steps[first + 1] += 1
            steps[last + 1] -= 1
        spanning = list(itertools.accumulate(steps))
        self.cuts = [*(at for at in range(1, len(self.jobs)) if not spanning[at]), len(self.jobs)]

    def furthest(self) -> list[int]:
        """The ends of segments that are each as long as can be: no other ends are fewer."""
        ends: list[int] = []
        start = 0
        while start < len(self.jobs):
            end = self._furthest_from(start)
            if end is None:
                following = self.cuts[bisect.bisect_right(self.cuts, start)]
                raise _does_not_fit(self.jobs[start:following])
            ends.append(end)
            start = end
        return ends

    def balanced(self, furthest: list[int]) -> list[int]:
        """As many ends as `furthest`, where stages end or else evenly spread."""
        earliest = self._earliest(len(furthest))
        ends: list[int] = []
        for number in range(len(furthest) - 1):
            start = ends[-1] if ends else 0
            latest = self._furthest_from(start) or start
            even = start + (len(self.jobs) - start) // (len(furthest) - number)
            between = [cut for cut in self.cuts[:-1] if max(start + 1, earliest[number]) <= cut <= latest]
            if not between:
                return furthest
            ends.append(min(between, key=lambda cut: (not self._ends_a_stage(cut), abs(cut - even), cut)))
        ends.append(len(self.jobs))
        # Collectors are few, and yet one job less may need one more: what was only concluded is looked at.
        return ends if all(self._fits(*pair) for pair in itertools.pairwise((0, *ends))) else furthest

    def _furthest_from(self, start: int) -> int | None:
        """The last cut up to which the jobs from `start` on fit, null when there is none; by halving."""
        first = bisect.bisect_right(self.cuts, start)
        beyond = _first(first, len(self.cuts), lambda at: not self._fits(start, self.cuts[at]))
        return self.cuts[beyond - 1] if beyond > first else None

    def _earliest(self, count: int) -> list[int]:
        """For each of `count` segments but the last, its first end from which on the others hold the rest."""
        found: list[int] = []
        end = len(self.jobs)
        for _ in range(count - 1):
            end = self._earliest_to(end)
            found.append(end)
        return found[::-1]

    def _earliest_to(self, end: int) -> int:
        """The first cut from which on the jobs before `end` fit."""
        last = bisect.bisect_left(self.cuts, end)
        return self.cuts[_first(0, last, lambda at: self._fits(self.cuts[at], end))]

    def _fits(self, start: int, end: int) -> bool:
        return self.fits(self.jobs[start:end])

    def _ends_a_stage(self, cut: int) -> bool:
        return self.jobs[cut - 1].stage != self.jobs[cut].stage


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first number from `low` on that `holds`, as all behind it do; `high` when none below that does."""
    return low + bisect.bisect_left(range(low, high), True, key=holds)


def _together(jobs: Sequence[Job]) -> Iterator[tuple[int, int]]:
    """The first and last place of each pair that belongs together."""
    place = {job.name: at for at, job in enumerate(jobs)}
    waiting = {job.name for job in jobs if job.manual}
    counting = {job.name for job in jobs if job.when in AFTER_FAILURE}
    for at, job in enumerate(jobs):
        names = {need.job for need in job.needs or () if need.pipeline is None}
        if names & waiting:
            waiting.add(job.name)
        partners = {need.job for need in job.needs or () if need.pipeline is None and need.artifacts}
        partners |= {
            *(job.dependencies or ()),
            *(names & (waiting | counting)),
            *(names if job.when in AFTER_FAILURE else ()),
        }
        if job.environment is not None and job.environment.on_stop is not None:
            partners.add(job.environment.on_stop)
        for partner in partners & place.keys():
            yield min(at, place[partner]), max(at, place[partner])


def _does_not_fit(jobs: Sequence[Job]) -> VerificationError:
    if len(jobs) == 1:
        reason = f"{jobs[0].name!r} alone is too large for a pipeline"
    else:
        reason = f"{len(jobs)} jobs, {jobs[0].name!r} to {jobs[-1].name!r}, belong together and do not fit one pipeline"
        if any(job.dependencies and job.when in AFTER_FAILURE for job in jobs):
            reason += (
                ": failed deployments are counted (fleet.max_failures, fleet.rollback_succeeded) only within a pipeline"
            )
        elif any(need.artifacts and need.pipeline is None for job in jobs for need in job.needs or ()):
            reason += ": GitLab hands artifacts on only within one (handoff.mode)"
    return VerificationError("the pipeline cannot be divided", findings=[reason])
