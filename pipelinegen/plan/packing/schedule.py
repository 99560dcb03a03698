"""How long jobs take on a number of runners: list scheduling, as GitLab's runners do it. Pure.

A runner takes one job at a time; of those whose needs have passed, the one first that has the most work behind
it. (GitLab hands jobs out in the order in which they became ready; which one comes first is luck. The order
here is the one in which plans are compared, not a promise.)
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """When each job runs.

    Attributes:
        makespan: seconds until the last job ends.
        ends: seconds after which each job ends.
        waited_for: the job whose end let it start (one that it needs, or the one before it on its runner);
            null where it starts at once.
    """

    makespan: float
    ends: Sequence[float]
    waited_for: Sequence[int | None]

    def critical_path(self) -> list[int]:
        """The jobs that, one after another, make the whole take as long as it does."""
        job: int | None = max(range(len(self.ends)), key=lambda each: (self.ends[each], -each), default=None)
        path: list[int] = []
        while job is not None:
            path.append(job)
            job = self.waited_for[job]
        return path[::-1]


def schedule(
    seconds: Sequence[float], needs: Sequence[Collection[int]], pools: Sequence[int], runners: Sequence[int]
) -> Schedule | None:
    """Run jobs 0, 1, … as early as their needs and their pool's runners allow.

    Args:
        seconds: what each takes, its fixed cost included.
        needs: the jobs that must have ended before.
        pools: which runners take it.
        runners: how many each pool has.

    Returns:
        Null when the needs form a cycle.
    """
    users = _users(needs)
    left = [len(needed) for needed in needs]
    behind = _work_behind(seconds, users, left)
    if behind is None:
        return None
    ready: list[list[tuple[float, int]]] = [[] for _ in runners]
    for job, waiting in enumerate(left):
        if not waiting:
            heapq.heappush(ready[pools[job]], (-behind[job], job))
    free = list(runners)
    ends = [0.0] * len(seconds)
    waited_for: list[int | None] = [None] * len(seconds)
    released: list[int | None] = [None] * len(seconds)
    before: list[int | None] = [None] * len(runners)
    running: list[tuple[float, int]] = []
    now = 0.0
    while True:
        for pool, waiting_jobs in enumerate(ready):
            while waiting_jobs and free[pool]:
                _, job = heapq.heappop(waiting_jobs)
                ends[job] = now + seconds[job]
                need = released[job]
                waited_for[job] = need if need is not None and ends[need] == now else before[pool]
                free[pool] -= 1
                heapq.heappush(running, (ends[job], job))
        if not running:
            return Schedule(now, ends, waited_for)
        now = running[0][0]
        while running and running[0][0] == now:
            _, job = heapq.heappop(running)
            free[pools[job]] += 1
            before[pools[job]] = job
            for user in users[job]:
                left[user] -= 1
                if not left[user]:
                    released[user] = job
                    heapq.heappush(ready[pools[user]], (-behind[user], user))


def _users(needs: Sequence[Collection[int]]) -> list[list[int]]:
    users: list[list[int]] = [[] for _ in needs]
    for job, needed in enumerate(needs):
        for other in needed:
            users[other].append(job)
    return users


def _work_behind(seconds: Sequence[float], users: Sequence[Sequence[int]], needs: Sequence[int]) -> list[float] | None:
    """Seconds from each job's start to the end of the longest chain behind it; null when there is a cycle."""
    left = list(needs)
    order = [job for job, waiting in enumerate(left) if not waiting]
    for job in order:  # grows while it is read
        for user in users[job]:
            left[user] -= 1
            if not left[user]:
                order.append(user)
    if len(order) < len(seconds):
        return None
    behind = [0.0] * len(seconds)
    for job in reversed(order):
        longest = 0.0
        for user in users[job]:
            longest = max(behind[user], longest)
        behind[job] = longest + seconds[job]
    return behind
