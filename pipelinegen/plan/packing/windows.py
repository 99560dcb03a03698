"""First jobs: each class is cut where an ideal schedule has come a certain way. Pure.

The ideal schedule hands single derivations to the runners. Cutting all classes at the same moments of it puts
work into jobs that is done at about the same time, and what nothing connects inside such a window is dealt to
as many jobs as it fills.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator, Sequence

from pipelinegen.plan.packing.arrangement import connected
from pipelinegen.plan.packing.graph import WorkGraph


def ideal_starts(graph: WorkGraph) -> list[float]:
    """Seconds after which each derivation would start if runners took single derivations, at no extra cost."""
    behind = [0.0] * len(graph.drvs)
    for node in range(len(behind) - 1, -1, -1):
        behind[node] = graph.seconds[node] + max((behind[user] for user in graph.users[node]), default=0.0)
    left = [len(deps) for deps in graph.inputs]
    ready: list[list[tuple[float, int]]] = [[] for _ in graph.pools]
    for node, waiting in enumerate(left):
        if not waiting:
            heapq.heappush(ready[graph.pool(node)], (-behind[node], node))
    free = [pool.count * pool.builds for pool in graph.pools]
    starts = [0.0] * len(behind)
    running: list[tuple[float, int]] = []
    now = 0.0
    while True:
        for pool, waiting_nodes in enumerate(ready):
            while waiting_nodes and free[pool]:
                _, node = heapq.heappop(waiting_nodes)
                starts[node] = now
                free[pool] -= 1
                heapq.heappush(running, (now + graph.seconds[node], node))
        if not running:
            return starts
        now = running[0][0]
        while running and running[0][0] == now:
            _, node = heapq.heappop(running)
            free[graph.pool(node)] += 1
            for user in graph.users[node]:
                left[user] -= 1
                if not left[user]:
                    heapq.heappush(ready[graph.pool(user)], (-behind[user], user))


def cut(graph: WorkGraph, starts: Sequence[float] | None, *, window: float, fill: float) -> list[list[int]]:
    """Jobs of one class and one window of the ideal schedule each.

    Args:
        starts: of the ideal schedule; null: no cut, large parts are cut in the order of the derivations.
        window: seconds of it.
        fill: seconds of work up to which unconnected parts share a job; larger connected parts are cut.
    """
    classes = graph.classes
    if starts is None:
        starts = range(len(classes))
        keys: Sequence[Hashable] = classes
    else:
        keys = [(which, int(start // window)) for which, start in zip(classes, starts, strict=True)]
    small: dict[Hashable, list[list[int]]] = {}
    jobs: list[list[int]] = []
    for part in connected(graph, keys):
        if sum([graph.seconds[node] for node in part]) <= fill:
            small.setdefault(keys[part[0]], []).append(part)
        else:
            # Pieces of one part wait for each other: sharing a job with each other's neighbours they could
            # wait in a circle.
            jobs += _pieces(graph, part, starts, fill)
    for parts in small.values():
        jobs += _deal(graph, parts, fill) if len(parts) > 1 else parts
    return jobs


def _pieces(graph: WorkGraph, part: list[int], starts: Sequence[float], fill: float) -> Iterator[list[int]]:
    """A connected part, cut in the order of the ideal schedule so that each piece fills a job."""
    piece: list[int] = []
    work = 0.0
    for node in sorted(part, key=lambda node: (starts[node], node)):
        if piece and work + graph.seconds[node] > fill:
            yield piece
            piece, work = [], 0.0
        piece.append(node)
        work += graph.seconds[node]
    yield piece


def _deal(graph: WorkGraph, parts: list[list[int]], fill: float) -> list[list[int]]:
    """The largest parts first, each into the emptiest job, or into a new one where it does not fit."""
    weights = [sum(graph.seconds[node] for node in part) for part in parts]
    jobs: list[list[int]] = []
    filled: list[tuple[float, int]] = []
    for index in sorted(range(len(parts)), key=lambda index: (-weights[index], index)):
        if filled and filled[0][0] + weights[index] <= fill:
            work, job = heapq.heappop(filled)
            jobs[job] += parts[index]
        else:
            work, job = 0.0, len(jobs)
            jobs.append(list(parts[index]))
        heapq.heappush(filled, (work + weights[index], job))
    return jobs
