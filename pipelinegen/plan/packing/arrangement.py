"""One way of putting derivations into jobs, and what it is worth. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipelinegen.plan.packing.graph import WorkGraph, levels
from pipelinegen.plan.packing.schedule import Schedule, schedule

EARLY = 0.3
"""How much the mean time at which work is done counts at first beside the time at which everything is.

The makespan alone cannot tell which of two arrangements is closer to a better one when each of several
chains holds it up. In the end it is all that counts.
"""

TOO_MANY_JOBS = 20
"""How many times its fixed cost a job beyond the limit counts."""


@dataclass(frozen=True)
class Arrangement:
    """Jobs by number; what a job builds is of one class.

    Attributes:
        graph: what is built.
        overhead: seconds that a job costs besides its builds.
        members: job → the derivations that it builds, ascending, which is dependencies first.
        job_of: derivation → job.
        seconds: job → what building its derivations takes.
        waits: job → jobs that must end before; those that another one of them waits for may be left out.
        limit: jobs that there may be; infinite: any number.
        early: how much the mean time at which work is done counts for the score.
    """

    graph: WorkGraph
    overhead: float
    members: Mapping[int, Sequence[int]]
    job_of: Sequence[int]
    seconds: Mapping[int, float]
    waits: Mapping[int, frozenset[int]]
    limit: float = float("inf")
    early: float = EARLY

    @classmethod
    def of(
        cls, graph: WorkGraph, overhead: float, groups: Iterable[Sequence[int]], limit: float = float("inf")
    ) -> Arrangement:
        """The arrangement with a job for each of `groups`, which hold every derivation once."""
        members = {job: tuple(sorted(group)) for job, group in enumerate(groups)}
        job_of = [0] * len(graph.drvs)
        for job, nodes in members.items():
            for node in nodes:
                job_of[node] = job
        seconds = {job: build_seconds(graph, nodes) for job, nodes in members.items()}
        return cls(graph, overhead, members, job_of, seconds, without_implied(_needs(graph, members, job_of)), limit)

    @cached_property
    def needs(self) -> Mapping[int, frozenset[int]]:
        """Job → all jobs whose outputs it uses."""
        return _needs(self.graph, self.members, self.job_of)

    @cached_property
    def order(self) -> list[int]:
        """The jobs in a fixed order, by which `schedule` numbers them."""
        return sorted(self.members)

    @cached_property
    def schedule(self) -> Schedule | None:
        """How the jobs run; null when they wait for each other in a circle."""
        place = {job: index for index, job in enumerate(self.order)}
        waits, seconds, overhead = self.waits, self.seconds, self.overhead
        return schedule(
            [seconds[job] + overhead for job in self.order],
            [[place[other] for other in waits[job]] for job in self.order],
            self._pools,
            [pool.count for pool in self.graph.pools],
        )

    @cached_property
    def _pools(self) -> list[int]:
        """The pool of each job of `order`."""
        members, classes, pools = self.members, self.graph.classes, self.graph.class_pools
        return [pools[classes[members[job][0]]] for job in self.order]

    @cached_property
    def score(self) -> float:
        """Seconds, the fewer the better: the makespan, and what the jobs' fixed costs take from the runners.

        Jobs beyond the limit count several times what they cost, so that a way back below it is always taken.
        Infinite for jobs that wait for each other in a circle.
        """
        if self.schedule is None:
            return float("inf")
        seconds = self.seconds
        work = sum(seconds.values())
        done = sum(seconds[job] * end for job, end in zip(self.order, self.schedule.ends, strict=True))
        jobs = Counter(self._pools)
        fixed = sum(self.overhead * jobs[number] / pool.count for number, pool in enumerate(self.graph.pools))
        excess = TOO_MANY_JOBS * max(len(self.members) - self.limit, 0) * self.overhead
        return self.schedule.makespan + fixed + excess + (self.early * done / work if work else 0.0)

    def work(self, job: int, other: int) -> float:
        """What two jobs take together; infinite where one of them is no longer there."""
        gone = float("inf")
        return self.seconds.get(job, gone) + self.seconds.get(other, gone)

    def job_class(self, job: int) -> int:
        """The class of what a job builds."""
        return self.graph.classes[self.members[job][0]]

    def split(self, job: int, part: Collection[int]) -> Arrangement:
        """`part` of a job's derivations becomes a job of its own."""
        fresh = max(self.members) + 1
        rest = tuple(node for node in self.members[job] if node not in part)
        changed = {job: rest, fresh: tuple(sorted(part))}
        users = {self.job_of[user] for node in self.members[job] for user in self.graph.users[node]} - {job}
        members = {**self.members, **changed}
        job_of = list(self.job_of)
        for node in changed[fresh]:
            job_of[node] = fresh
        needs = dict(self.needs)
        for each in (*changed, *users):
            needs[each] = _needs_of(each, members[each], job_of, self.graph)
        seconds = {**self.seconds, **{each: build_seconds(self.graph, nodes) for each, nodes in changed.items()}}
        return Arrangement(
            self.graph, self.overhead, members, job_of, seconds, without_implied(needs), self.limit, self.early
        )

    def merge(self, pairs: Iterable[tuple[int, int]]) -> Arrangement:
        """Each pair of jobs becomes one, under the number of its first; no job is in two pairs."""
        members = dict(self.members)
        seconds = dict(self.seconds)
        job_of = list(self.job_of)
        now = {other: job for job, other in pairs}
        for other, job in now.items():
            members[job] = tuple(sorted((*members[job], *members.pop(other))))
            del seconds[other]
            seconds[job] = build_seconds(self.graph, members[job])
            for node in self.members[other]:
                job_of[node] = job
        gone = now.keys()
        waits = {
            job: waited if gone.isdisjoint(waited) else frozenset([now.get(other, other) for other in waited])
            for job, waited in self.waits.items()
        }
        for other, job in now.items():
            waits[job] = (waits[job] | waits.pop(other)) - {job}
        return Arrangement(self.graph, self.overhead, members, job_of, seconds, waits, self.limit, self.early)


def _needs(graph: WorkGraph, members: Mapping[int, Sequence[int]], job_of: Sequence[int]) -> dict[int, frozenset[int]]:
    return {job: _needs_of(job, nodes, job_of, graph) for job, nodes in members.items()}


def _needs_of(job: int, nodes: Iterable[int], job_of: Sequence[int], graph: WorkGraph) -> frozenset[int]:
    return frozenset(job_of[dep] for node in nodes for dep in graph.inputs[node]) - {job}


def without_implied(needs: Mapping[int, frozenset[int]]) -> Mapping[int, frozenset[int]]:
    """Leave out what another need waits for anyway; unchanged where jobs wait for each other in a circle."""
    jobs = list(needs)
    place = {job: index for index, job in enumerate(jobs)}
    order = [
        jobs[index] for level in levels([[place[other] for other in needs[job]] for job in jobs]) for index in level
    ]
    if len(order) < len(jobs):
        return needs
    place = {job: index for index, job in enumerate(order)}
    reach: dict[int, int] = {}
    kept: dict[int, frozenset[int]] = {}
    for job in order:
        implied = 0
        direct = []
        for other in sorted(needs[job], key=place.__getitem__, reverse=True):
            if not implied >> place[other] & 1:
                direct.append(other)
                implied |= reach[other]
        kept[job] = frozenset(direct)
        reach[job] = implied | 1 << place[job]
    return kept


def build_seconds(graph: WorkGraph, nodes: Sequence[int]) -> float:
    """What building `nodes` (ascending) takes in one job: all work, shared among as many builds as run at once."""
    work = sum(graph.seconds[node] for node in nodes)
    at_once = graph.pools[graph.pool(nodes[0])].builds
    if at_once == 1:
        return work
    ends: dict[int, float] = {}
    for node in nodes:
        begin = max((ends[dep] for dep in graph.inputs[node] if dep in ends), default=0.0)
        ends[node] = begin + graph.seconds[node]
    return max(work / at_once, *ends.values())


def connected(graph: WorkGraph, groups: Sequence[Hashable]) -> list[list[int]]:
    """The parts of each group that no edge inside the group connects, in the order of their first members."""
    parent = list(range(len(groups)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for node, deps in enumerate(graph.inputs):
        for dep in deps:
            if groups[dep] == groups[node]:
                one, two = root(dep), root(node)
                parent[max(one, two)] = min(one, two)
    parts: dict[int, list[int]] = {}
    for node in range(len(parent)):
        parts.setdefault(root(node), []).append(node)
    return list(parts.values())
