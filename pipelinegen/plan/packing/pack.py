"""From what is to be built to the jobs that build it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelinegen.config import Packing, Runner
from pipelinegen.plan.packing.arrangement import Arrangement, build_seconds, without_implied
from pipelinegen.plan.packing.budget import squeeze
from pipelinegen.plan.packing.contraction import contract
from pipelinegen.plan.packing.costs import Costs
from pipelinegen.plan.packing.graph import WorkGraph, work_graph
from pipelinegen.plan.packing.jobs import Jobs
from pipelinegen.plan.packing.repeats import repeat_cheap
from pipelinegen.plan.packing.search import Search
from pipelinegen.plan.packing.windows import cut, ideal_starts
from pipelinegen.plan.to_build import ToBuild

FEW = 1500
"""Derivations that the search can move one by one; of more, those that belong together move together."""

TOO_MANY = 5000
"""Things to move from which on there is no search: classes alone give enough jobs."""

PARTS = (64, 32, 16, 8)
"""Into how many windows the ideal schedule is cut to make such parts; fewer where that makes too many."""

STARTS = ((32, 1.0), (32, 0.5), (8, 0.5))
"""Where the search starts: into how many windows the ideal schedule is cut, and what share of one a job holds.

Found by trying all from 1 to 64 on the graphs of `benchmarks`: joining small jobs leads to better ends than
cutting large ones.
"""

TRIALS = 2000
"""Arrangements of 1,000 derivations that the search looks at, about a millisecond each; of more, fewer."""


@dataclass(frozen=True)
class Group:
    """Derivations that one job builds.

    Attributes:
        drvs: what it builds, dependencies first.
        targets: the targets that need something of it (what it repeats does not count: it is there for them),
            one bit each, in the order in which they were given.
        covering: derivations of some of these targets that together need all that it builds.
        system: where it builds.
        features: what the machine must offer, sorted.
        depends_on: indexes (into the list of groups) of the groups whose outputs it uses, sorted.
        waits_for: those of `depends_on` that none of the others waits for.
        seconds: estimate of what its builds take.
        repeats: those of `drvs` that other groups build, too.
        mixed: whether targets that need one part of it do not need another.
    """

    drvs: tuple[str, ...]
    targets: int
    covering: tuple[str, ...]
    system: str
    features: tuple[str, ...]
    depends_on: tuple[int, ...]
    waits_for: tuple[int, ...]
    seconds: float
    repeats: tuple[str, ...]
    mixed: bool


def pack(
    to_build: ToBuild,
    target_drvs: Iterable[str],
    *,
    costs: Costs,
    packing: Packing,
    runners: Sequence[Runner],
    limit: int | None = None,
    tests: Iterable[str] = (),
) -> list[Group]:
    """Put what is to be built into jobs; dependencies come before dependents, what is urgent before the rest.

    Args:
        target_drvs: the targets' derivations; neighbours share jobs where jobs must be shared.
        limit: jobs that there may be; null: any number.
        tests: those of the targets that are only tested; what only they need is never in a job with other things.
    """
    graph = work_graph(to_build, target_drvs, costs, runners)
    if not graph.drvs:
        return []
    jobs = Jobs(graph, _jobs(graph, packing, float("inf") if limit is None else limit))
    if packing.repeat:
        targets = set(graph.targets)
        jobs = repeat_cheap(
            jobs,
            packing.job_seconds,
            is_cheap=lambda node: costs.known_to_be_cheap(to_build.graph[graph.drvs[node]]),
            targets={node for node, drv in enumerate(graph.drvs) if drv in targets},
        )
    if limit is not None:
        only_tests = graph.target_bits(tests)
        repeats = jobs.repeats()
        jobs = squeeze(jobs, limit, lambda nodes: not graph.targets_of(set(nodes) - repeats) & ~only_tests)
    return _groups(jobs, to_build, packing.job_seconds)


def _jobs(graph: WorkGraph, packing: Packing, limit: float) -> Iterable[Sequence[int]]:
    """The jobs: found by searching, among single derivations or parts that stay together, while those are few."""
    if len(graph.drvs) <= FEW:
        return _search(graph, packing, limit)
    most = min(max(FEW, 3 * limit), TOO_MANY)
    starts = ideal_starts(graph) if len(graph.class_targets) <= most else ()
    for windows in PARTS if starts else ():
        parts = _first(graph, starts, packing, windows, share=1.0)
        if len(parts) <= most:
            contracted, ordered = contract(graph, parts)
            found = _search(contracted, packing, limit)
            return [sorted(node for part in job for node in ordered[part]) for job in found]
    return cut(graph, None, window=0.0, fill=packing.max_job_seconds)


def _search(graph: WorkGraph, packing: Packing, limit: float) -> Iterable[Sequence[int]]:
    """The best jobs that are found from several starts."""
    starts = ideal_starts(graph)
    trials = TRIALS * 1000 // max(len(starts), 1000)
    search = Search(starts, max_job_seconds=packing.max_job_seconds, trials=trials)
    found = []
    for windows, share in STARTS:
        first = _first(graph, starts, packing, windows, share)
        found.append(search.improve(Arrangement.of(graph, packing.job_seconds, first, limit)))
    return min(found, key=lambda arrangement: arrangement.score).members.values()


def _first(graph: WorkGraph, starts: Sequence[float], packing: Packing, windows: int, share: float) -> list[list[int]]:
    """Classes cut at so many windows of the ideal schedule; jobs hold `share` of a window's work."""
    window = max(starts) / windows or float("inf")
    fill = min(max(window * share, packing.job_seconds), packing.max_job_seconds)
    return cut(graph, starts, window=window, fill=fill)


def _groups(jobs: Jobs, to_build: ToBuild, overhead: float) -> list[Group]:
    graph = jobs.graph
    seconds = {job: build_seconds(graph, nodes) for job, nodes in jobs.members.items()}
    needs = jobs.needs()
    waits = without_implied(needs)
    order = jobs.urgent_first(waits, overhead, seconds)
    place = {job: index for index, job in enumerate(order)}
    repeats = jobs.repeats()
    groups = []
    for job in order:
        nodes = jobs.members[job]
        own = [node for node in nodes if node not in repeats]
        owned = sorted({graph.class_targets[graph.classes[node]] for node in own})
        groups.append(
            Group(
                drvs=tuple(graph.drvs[node] for node in nodes),
                targets=graph.targets_of(own),
                covering=graph.first_targets(owned),
                system=graph.pools[jobs.pool(job)].system,
                features=tuple(sorted({f for node in nodes for f in to_build.graph[graph.drvs[node]].features})),
                depends_on=tuple(sorted(place[other] for other in needs[job])),
                waits_for=tuple(sorted(place[other] for other in waits[job])),
                seconds=seconds[job],
                repeats=tuple(graph.drvs[node] for node in nodes if node in repeats),
                mixed=len(owned) > 1,
            )
        )
    return groups
