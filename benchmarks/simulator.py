"""A list-scheduling simulator of pipelines: how long jobs take on a number of runners. Pure.

The model:

- A runner runs one job at a time. A job costs a fixed overhead (start of the container, checkout, import of the
  derivations) and then its builds. All times are seconds.
- Inside a job up to `builds` derivations are built at once, as their dependencies inside the job allow. With
  1 (the default) a derivation has all cores of its runner, and a job takes the sum of its builds. With more, each
  derivation is still charged its full time: it is assumed not to use more than its share of the cores.
- A job starts when all jobs that it needs have ended and a runner of its pool is free. Among those that could
  start, the one that stands first in the file does: GitLab hands out jobs in the order of their ids.
- A path that a job takes from another job can cost a fixed time (nothing by default); it counts as a transfer.
  Only direct inputs are counted: which of them drag their own references along is not in a derivation graph.
- The ideal knows no jobs: each derivation is scheduled on its own, the longest way to the end first, on the same
  runners, and each runner pays the overhead of a job once. No pipeline of GitLab's reaches it.

This shares no code with the product's own scheduler, so that one checks the other.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

ANY_POOL = ""


@dataclass(frozen=True)
class Work:
    """What is to be built; a derivation is its place in these lists, and inputs stand before their users."""

    seconds: Sequence[float]
    inputs: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True)
class Job:
    """A job: what it builds (inputs first), the places of the jobs it needs, the pool of runners it goes to."""

    builds: Sequence[int]
    needs: Sequence[int] = ()
    pool: str = ANY_POOL


@dataclass(frozen=True)
class Result:
    """What a run costs.

    Attributes:
        makespan: seconds from the start to the end of the last job.
        work: seconds of all builds; distinct: the same with each derivation counted once.
        executions: builds; jobs: how many; transfers: paths that a job takes from another one, per job.
        edges: `needs` in all.
    """

    makespan: float
    work: float
    distinct: float
    executions: int
    jobs: int
    transfers: int
    edges: int

    @property
    def duplicate(self) -> float:
        """Seconds of builds that another job did as well."""
        return self.work - self.distinct


@dataclass(frozen=True)
class Machines:
    """Runners and what jobs cost on them.

    Attributes:
        runners: how many, of every pool alike, or by pool.
        overhead: seconds per job besides its builds.
        builds: derivations that a job builds at once.
        transfer: seconds per path that a job takes from another one.
    """

    runners: int | Mapping[str, int]
    overhead: float = 30.0
    builds: int = 1
    transfer: float = 0.0

    def of(self, pool: str) -> int:
        """Runners of a pool."""
        return self.runners if isinstance(self.runners, int) else self.runners[pool]


def simulate(work: Work, jobs: Sequence[Job], machines: Machines, *, shared_cache: bool = False) -> Result:
    """Run the jobs.

    Args:
        shared_cache: jobs also push all that they built to one cache when they end, and what it holds when a job
            starts need not be built there. Without it a job gets only what the jobs that it needs built.

    Raises:
        ValueError: the jobs wait for each other, or one lacks an input that no job before it builds.
    """
    check(work, jobs)
    cached: set[int] = set()
    built: dict[int, list[int]] = {}
    transfers = 0

    def start(place: int) -> float:
        nonlocal transfers
        built[place] = [drv for drv in jobs[place].builds if drv not in cached]
        taken = _taken(work, built[place])
        transfers += taken
        return machines.overhead + machines.transfer * taken + _inside(work, built[place], machines.builds)

    def end(place: int) -> None:
        if shared_cache:
            cached.update(built[place])

    pools = {job.pool: machines.of(job.pool) for job in jobs}
    makespan = _schedule(
        [set(job.needs) for job in jobs],
        range(len(jobs)),
        start,
        end,
        pools=[job.pool for job in jobs],
        free=pools,
    )
    return Result(
        makespan=makespan,
        work=sum(work.seconds[drv] for drvs in built.values() for drv in drvs),
        distinct=sum(work.seconds[drv] for drv in {drv for job in jobs for drv in job.builds}),
        executions=sum(len(drvs) for drvs in built.values()),
        jobs=len(jobs),
        transfers=transfers,
        edges=sum(len(set(job.needs)) for job in jobs),
    )


def ideal(work: Work, machines: Machines) -> float:
    """Makespan of the ideal (see above) on one pool of runners.

    Several builds at once on a runner are so many more places to build.
    """
    places = {ANY_POOL: machines.of(ANY_POOL) * machines.builds}
    rank = [-rest for rest in _to_the_end(work)]
    return machines.overhead + _schedule(work.inputs, rank, work.seconds.__getitem__, free=places)


def _schedule(
    needs: Sequence[Collection[int]],
    rank: Sequence[float],
    start: Callable[[int], float],
    end: Callable[[int], None] = lambda _: None,
    *,
    pools: Sequence[str] | None = None,
    free: Mapping[str, int],
) -> float:
    """Whenever a place is free, start the lowest rank of what is ready; gives when the last one ends.

    Args:
        needs: item → items that must have ended.
        start: item → how long it takes; called when it starts. end: called when it ends.
        pools: item → the pool whose places it takes. free: pool → its places.
    """
    left = dict(free)
    users: list[list[int]] = [[] for _ in needs]
    waiting = [len(some) for some in needs]
    for item, need in ((item, need) for item, some in enumerate(needs) for need in some):
        users[need].append(item)
    ready: dict[str, list[tuple[float, int]]] = {pool: [] for pool in left}
    pool_of = pools or [ANY_POOL] * len(needs)

    def is_ready(item: int) -> None:
        heapq.heappush(ready[pool_of[item]], (rank[item], item))

    for item in (item for item, count in enumerate(waiting) if not count):
        is_ready(item)
    running: list[tuple[float, int]] = []
    now = 0.0
    while True:
        for pool, queue in ready.items():
            while left[pool] and queue:
                _, item = heapq.heappop(queue)
                heapq.heappush(running, (now + start(item), item))
                left[pool] -= 1
        if not running:
            return now
        now, ended = _next(running)
        for item in ended:
            left[pool_of[item]] += 1
            end(item)
            for user in users[item]:
                waiting[user] -= 1
                if not waiting[user]:
                    is_ready(user)


def longest_way(work: Work) -> float:
    """Seconds of the longest chain of builds: no number of runners is faster."""
    return max(_to_the_end(work), default=0.0)


def check(work: Work, jobs: Sequence[Job]) -> None:
    """Hold that each input of each build comes from the job itself or from one that runs before it.

    Raises:
        ValueError: naming the first that does not; or the jobs wait for each other.
    """
    makers: dict[int, int] = {}
    for place, job in enumerate(jobs):
        for drv in job.builds:
            makers[drv] = makers.get(drv, 0) | 1 << place
    before = _jobs_before(jobs)
    for place, job in enumerate(jobs):
        seen: set[int] = set()
        for drv in job.builds:
            for one in work.inputs[drv]:
                if one not in seen and not makers.get(one, 0) & before[place]:
                    raise ValueError(f"job {place} builds {drv}, whose input {one} no job before it builds")
            seen.add(drv)


def _next(running: list[tuple[float, int]]) -> tuple[float, list[int]]:
    """When something ends next, and all that ends then."""
    now, first = heapq.heappop(running)
    ended = [first]
    while running and running[0][0] == now:
        ended.append(heapq.heappop(running)[1])
    return now, ended


def _jobs_before(jobs: Sequence[Job]) -> list[int]:
    """Job → bit set of the jobs that end before it starts."""
    before = [0] * len(jobs)
    waiting = [len(set(job.needs)) for job in jobs]
    dependents: list[list[int]] = [[] for _ in jobs]
    for place, job in enumerate(jobs):
        for need in set(job.needs):
            dependents[need].append(place)
    ready = [place for place in range(len(jobs)) if not waiting[place]]
    for place in ready:  # grows meanwhile
        for other in dependents[place]:
            before[other] |= before[place] | 1 << place
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    if len(ready) != len(jobs):
        raise ValueError(f"{len(jobs) - len(ready)} jobs wait for each other")
    return before


def _taken(work: Work, builds: Sequence[int]) -> int:
    """How many paths these builds take from elsewhere."""
    inside = set(builds)
    return len({one for drv in builds for one in work.inputs[drv]} - inside)


def _inside(work: Work, builds: Sequence[int], at_once: int) -> float:
    """Seconds of the builds of one job."""
    if at_once == 1:
        return sum(work.seconds[drv] for drv in builds)
    number = {drv: place for place, drv in enumerate(builds)}
    needs = [[number[one] for one in work.inputs[drv] if one in number] for drv in builds]
    lengths = [work.seconds[drv] for drv in builds]
    return _schedule(needs, range(len(builds)), lengths.__getitem__, free={ANY_POOL: at_once})


def _to_the_end(work: Work) -> list[float]:
    """Derivation → seconds of the longest chain that starts with it."""
    rest = list(work.seconds)
    for drv in range(len(work) - 1, -1, -1):
        for one in work.inputs[drv]:
            rest[one] = max(rest[one], work.seconds[one] + rest[drv])
    return rest
