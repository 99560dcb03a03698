"""Better arrangements by small steps: jobs on the critical path are cut, jobs of one class are joined. Pure.

Each step is tried on the simulated schedule and kept when the score falls. The number of trials is bounded,
so that planning stays quick; it counts trials, not time, so that equal input gives equal output.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipelinegen.plan.packing.arrangement import Arrangement

ROUNDS = 4
BATCH = 100
"""Of more jobs than this several pairs are joined in one trial."""

NEIGHBOURS = 4
"""How many of the next jobs of its class each job is tried to be joined with."""


class Search:
    """Improves arrangements while there are trials left.

    Args:
        starts: of the ideal schedule, by derivation.
        max_job_seconds: work above which jobs are not joined.
        trials: how many arrangements may be looked at.
    """

    def __init__(self, starts: Sequence[float], *, max_job_seconds: float, trials: int) -> None:
        self._starts = starts
        self._max_job_seconds = max_job_seconds
        self._trials = trials

    def improve(self, arrangement: Arrangement) -> Arrangement:
        """The best arrangement that was found, perhaps the same."""
        for _ in range(ROUNDS):
            before = arrangement.score
            arrangement = self._cut(self._join(arrangement))
            if arrangement.score >= before or self._trials <= 0:
                break
        return self._join(replace(arrangement, early=0.0))

    def _join(self, arrangement: Arrangement) -> Arrangement:
        """Join jobs of one class, those with the least work first, as long as the score falls."""
        joined = True
        while joined and self._trials > 0:
            before = arrangement
            pairs = _pairs(arrangement, self._max_job_seconds)
            while pairs and self._trials > 0:
                batch = self._batch(arrangement, pairs)
                arrangement = self._join_all(arrangement, batch)
            joined = arrangement is not before
        return arrangement

    def _batch(self, arrangement: Arrangement, pairs: deque[tuple[int, int]]) -> list[tuple[int, int]]:
        """The next pairs, taken out: of a few jobs one, of many jobs several that do not overlap."""
        size = max(len(arrangement.members) // BATCH, 1)
        batch: list[tuple[int, int]] = []
        taken: set[int] = set()
        while pairs and len(batch) < size:
            job, other = pairs.popleft()
            if job in taken or other in taken:
                pairs.appendleft((job, other))
                break
            if arrangement.work(job, other) <= self._max_job_seconds:
                batch.append((job, other))
                taken |= {job, other}
        return batch

    def _join_all(self, arrangement: Arrangement, batch: Sequence[tuple[int, int]]) -> Arrangement:
        """Join all pairs where that is better, else those of either half for which it is."""
        if not batch or self._trials <= 0:
            return arrangement
        self._trials -= 1
        candidate = arrangement.merge(batch)
        if candidate.score <= arrangement.score:
            return candidate
        if len(batch) == 1:
            return arrangement
        middle = len(batch) // 2
        return self._join_all(self._join_all(arrangement, batch[:middle]), batch[middle:])

    def _cut(self, arrangement: Arrangement) -> Arrangement:
        """Cut the job on the critical path where that gains most, as long as it gains."""
        while self._trials > 0 and arrangement.schedule is not None:
            path = [arrangement.order[index] for index in arrangement.schedule.critical_path()]
            best = arrangement
            for before, job, after in zip([None, *path], path, [*path[1:], None], strict=False):
                for part in self._parts(arrangement, before, job, after):
                    self._trials -= 1
                    candidate = arrangement.split(job, part)
                    if candidate.score < best.score:
                        best = candidate
            if best is arrangement:
                break
            arrangement = best
        return arrangement

    def _parts(
        self, arrangement: Arrangement, before: int | None, job: int, after: int | None
    ) -> Iterator[frozenset[int]]:
        """Parts of a job that could go first: none of them needs anything of the rest."""
        nodes = arrangement.members[job]
        if len(nodes) < 2:
            return
        graph = arrangement.graph
        inside = set(nodes)
        found: set[frozenset[int]] = set()
        if after is not None:  # what the next job on the path waits for
            wanted = {dep for node in arrangement.members[after] for dep in graph.inputs[node] if dep in inside}
            for node in reversed(nodes):
                if node in wanted:
                    wanted.update(dep for dep in graph.inputs[node] if dep in inside)
            found.add(frozenset(wanted))
        if before is not None:  # what need not wait for the job before it
            first = set(arrangement.members[before])
            late: set[int] = set()
            for node in nodes:
                if any(dep in late or dep in first for dep in graph.inputs[node]):
                    late.add(node)
            found.add(frozenset(inside - late))
        by_time = sorted(nodes, key=lambda node: (self._starts[node], node))
        for order in (by_time, _branch_by_branch(arrangement, nodes, self._starts)):
            found.update(_prefixes(arrangement, order))
        for part in sorted(found, key=sorted):
            if part and len(part) < len(nodes):
                yield part


def _prefixes(arrangement: Arrangement, order: Sequence[int]) -> Iterator[frozenset[int]]:
    seconds = arrangement.graph.seconds
    total = sum(seconds[node] for node in order)
    shares = [0.25, 0.5, 0.75] if total > 8 * arrangement.overhead else [0.5]
    work = 0.0
    for index, node in enumerate(order):
        work += seconds[node]
        while shares and work >= shares[0] * total:
            shares.pop(0)
            yield frozenset(order[: index + 1])


def _branch_by_branch(arrangement: Arrangement, nodes: Sequence[int], starts: Sequence[float]) -> list[int]:
    """Dependencies first, and what belongs to one end together."""
    graph = arrangement.graph
    inside = set(nodes)
    order: list[int] = []
    seen: set[int] = set()
    ends = [node for node in nodes if not any(user in inside for user in graph.users[node])]
    for end in sorted(ends, key=lambda node: (-starts[node], node)):
        stack = [(end, iter(graph.inputs[end]))]
        seen.add(end)
        while stack:
            node, deps = stack[-1]
            deeper = next((dep for dep in deps if dep in inside and dep not in seen), None)
            if deeper is None:
                order.append(node)
                stack.pop()
            else:
                seen.add(deeper)
                stack.append((deeper, iter(graph.inputs[deeper])))
    return order


def _pairs(arrangement: Arrangement, max_seconds: float) -> deque[tuple[int, int]]:
    """Jobs of one class that could be joined, the least work first, neighbours in the graph before others."""
    schedule = arrangement.schedule
    if schedule is None:
        return deque()
    begin = {job: schedule.ends[index] - arrangement.seconds[job] for index, job in enumerate(arrangement.order)}
    by_class: dict[int, list[int]] = {}
    for job in sorted(arrangement.order, key=lambda job: (begin[job], job)):
        by_class.setdefault(arrangement.job_class(job), []).append(job)
    pairs: list[tuple[float, int, int]] = []
    for jobs in by_class.values():
        for index, job in enumerate(jobs):
            for other in jobs[index + 1 : index + NEIGHBOURS]:
                work = arrangement.seconds[job] + arrangement.seconds[other]
                if work <= max_seconds:
                    adjacent = job in arrangement.needs[other] or other in arrangement.needs[job]
                    pairs.append((work - 2 * arrangement.overhead * adjacent, job, other))
    return deque((job, other) for _, job, other in sorted(pairs))
