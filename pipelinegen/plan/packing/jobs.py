"""Jobs as sets of derivations of any class, and how they wait for each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipelinegen.plan.packing.graph import WorkGraph, levels


class Jobs:
    """Jobs, numbered in the order of their last derivations.

    A derivation may be in several of them (a repeat), each of which then builds it.

    Attributes:
        graph: what is built.
        members: job → what it builds, ascending, which is dependencies first.
    """

    def __init__(self, graph: WorkGraph, groups: Iterable[Sequence[int]]) -> None:
        self.graph = graph
        # Two jobs can end in the same derivation, one that both repeat.
        self.members: dict[int, Sequence[int]] = dict(
            enumerate(sorted(groups, key=lambda nodes: (nodes[-1], tuple(nodes))))
        )

    def needs(self) -> dict[int, frozenset[int]]:
        """Job → the jobs whose outputs it uses."""
        makers: list[int] = [-1] * len(self.graph.drvs)
        for job, nodes in self.members.items():
            for node in nodes:
                makers[node] = job
        found = {}
        inputs = self.graph.inputs
        for job, nodes in self.members.items():
            inside = set(nodes)
            found[job] = frozenset([makers[dep] for node in nodes for dep in inputs[node] if dep not in inside])
        return found

    def repeats(self) -> set[int]:
        """The derivations that several jobs build."""
        seen: set[int] = set()
        twice: set[int] = set()
        for nodes in self.members.values():
            for node in nodes:
                (twice if node in seen else seen).add(node)
        return twice

    def pool(self, job: int) -> int:
        """The number of the pool that takes a job."""
        return self.graph.pool(self.members[job][-1])

    def dependencies_first(self, needs: Mapping[int, Iterable[int]]) -> list[int]:
        """The jobs in an order in which each comes after those that it needs."""
        jobs = list(self.members)
        place = {job: index for index, job in enumerate(jobs)}
        return [
            jobs[index] for level in levels([[place[other] for other in needs[job]] for job in jobs]) for index in level
        ]

    def urgent_first(
        self, needs: Mapping[int, Iterable[int]], overhead: float, seconds: Mapping[int, float]
    ) -> list[int]:
        """Dependencies first; of those that are ready together, the one with the longest way to the end.

        GitLab starts jobs that are ready in the order of the file.
        """
        order = self.dependencies_first(needs)
        behind = dict.fromkeys(order, 0.0)
        for job in reversed(order):
            behind[job] += seconds[job] + overhead
            for other in needs[job]:
                behind[other] = max(behind[other], behind[job])
        # What a job waits for never has a shorter way to the end than itself, and stands before it in `order`.
        return sorted(order, key=lambda job: -behind[job])
