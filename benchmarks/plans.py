"""Ways to make jobs of a fleet: what others do, and what we do."""

from __future__ import annotations

import functools
import graphlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.graphs import SYSTEM, Fleet, bits
from benchmarks.simulator import Job
from pipelinegen.config import Config, Runner
from pipelinegen.history import BuildTime, History, merge
from pipelinegen.plan.units import make_units

SECONDS_PER_CHUNK = 120.0
"""Work that a job of the naive split holds."""


@dataclass(frozen=True)
class Known:
    """What is known of the times when the jobs are made.

    Attributes:
        seconds: derivation path → seconds.
        recorded: whether earlier pipelines recorded them; else they are what is assumed without.
        builds: derivations that a job builds at once.
    """

    seconds: Mapping[str, float]
    recorded: bool = False
    builds: int = 1


@dataclass(frozen=True)
class Way:
    """A way to make jobs.

    Attributes:
        name: for tables.
        make: fleet, what is known of the times, number of runners → jobs.
        shared_cache: its jobs share what they built by a cache, and not by `needs`.
        fits_runners: its jobs depend on how many runners there are.
    """

    name: str
    make: Callable[[Fleet, Known, int], list[Job]]
    shared_cache: bool = False
    fits_runners: bool = False


def _closures(fleet: Fleet) -> list[list[int]]:
    """Target → all that it needs, inputs first."""
    closures: list[list[int]] = [[] for _ in fleet.targets]
    for place, users in enumerate(fleet.users):
        for bit in bits(users):
            closures[bit].append(place)
    return closures


def job_per_output(fleet: Fleet, _known: Known, _runners: int) -> list[Job]:
    """Each job builds all that its output needs."""
    return [Job(closure) for closure in _closures(fleet)]


def job_per_output_with_needs(fleet: Fleet, _known: Known, _runners: int) -> list[Job]:
    """As above, but an output that another output needs comes, with all of its own, from that one's job."""
    closures = _closures(fleet)
    owners = {fleet.place[path]: bit for bit, path in enumerate(fleet.targets)}
    jobs = []
    for bit, closure in enumerate(closures):
        needs = [owners[place] for place in closure if place in owners and owners[place] != bit]
        given = {place for need in needs for place in closures[need]}
        jobs.append(Job([place for place in closure if place not in given], needs))
    return jobs


def job_per_component(fleet: Fleet, _known: Known, _runners: int) -> list[Job]:
    """Outputs that share anything are built by one job."""
    parent = list(range(len(fleet.targets)))

    def top(bit: int) -> int:
        while parent[bit] != bit:
            parent[bit] = parent[parent[bit]]
            bit = parent[bit]
        return bit

    for users in set(fleet.users):
        first, *others = bits(users)
        for other in others:
            parent[top(other)] = top(first)
    members: dict[int, list[int]] = {}
    for place, users in enumerate(fleet.users):
        members.setdefault(top(next(iter(bits(users)))), []).append(place)
    return [Job(builds) for builds in members.values()]


def one_job(fleet: Fleet, _known: Known, _runners: int) -> list[Job]:
    """One job builds everything."""
    return [Job(range(len(fleet.graph)))]


def exact_groups(fleet: Fleet, _known: Known, _runners: int) -> list[Job]:
    """A job for all derivations that exactly the same outputs need."""
    return _jobs_of(fleet, fleet.users)


def split_by_depth(fleet: Fleet, known: Known, _runners: int) -> list[Job]:
    """Exact groups, cut at every level of the graph, and each level into jobs of two minutes."""
    depth: list[int] = []
    load: dict[tuple[int, int], float] = {}
    keys = []
    for place, one in enumerate(fleet.graph.values()):
        depth.append(1 + max((depth[fleet.place[path]] for path in one.inputs), default=-1))
        level = (fleet.users[place], depth[place])
        keys.append((*level, int(load.get(level, 0.0) // SECONDS_PER_CHUNK)))
        load[level] = load.get(level, 0.0) + known.seconds[one.path]
    return _jobs_of(fleet, keys)


def _jobs_of(fleet: Fleet, keys: Sequence[Hashable]) -> list[Job]:
    """A job for all derivations of one key, which form no cycle; in an order in which they can run."""
    numbers: dict[Hashable, int] = {}
    job_of = [numbers.setdefault(key, len(numbers)) for key in keys]
    members: list[list[int]] = [[] for _ in numbers]
    needs: list[set[int]] = [set() for _ in numbers]
    for place, one in enumerate(fleet.graph.values()):
        members[job_of[place]].append(place)
        needs[job_of[place]].update(job_of[fleet.place[path]] for path in one.inputs)
    edges = {job: sorted(some - {job}) for job, some in enumerate(needs)}
    order = {job: place for place, job in enumerate(graphlib.TopologicalSorter(edges).static_order())}
    return [Job(members[job], sorted(order[need] for need in edges[job])) for job in order]


def ours(fleet: Fleet, known: Known, runners: int, *, limit: int | None = None) -> list[Job]:
    """The units of the product's plan with its defaults; recorded times pass through its own history."""
    history = History()
    if known.recorded:
        times = (BuildTime(name=o.name, system=o.system, seconds=known.seconds[o.path]) for o in fleet.graph.values())
        history = merge(history, times)
    config = Config(runners=(Runner(system=SYSTEM, count=runners, builds=known.builds),))
    units = make_units(fleet.to_build, fleet.outputs, config, history=history, limit=limit).units
    place = {unit.job: number for number, unit in enumerate(units)}
    return [
        Job([fleet.place[build.drv_path] for build in unit.builds], [place[need] for need in unit.needs])
        for unit in units
    ]


FEW_JOBS = 500
"""Jobs per pipeline on the smallest plan of gitlab.com."""

MANY = 20_000
"""Derivations from which on plans have more jobs than that."""

OURS = "pipelinegen"
OURS_LIMITED = f"pipelinegen, at most {FEW_JOBS} jobs"

WAYS = (
    Way("one job per output", job_per_output),
    Way("one job per output, needs between outputs", job_per_output_with_needs),
    Way("one job per output, all push to a cache", job_per_output, shared_cache=True),
    Way("one job per connected part", job_per_component),
    Way("one job for everything", one_job),
    Way("exact groups", exact_groups),
    Way("exact groups, split by depth and load", split_by_depth),
    Way(OURS, ours, fits_runners=True),
    Way(OURS_LIMITED, functools.partial(ours, limit=FEW_JOBS), fits_runners=True),
)


def ways_for(fleet: Fleet) -> tuple[Way, ...]:
    """Those that tell something about this fleet: a limit that its plans do not reach does not."""
    return WAYS if len(fleet.graph) >= MANY else tuple(way for way in WAYS if way.name != OURS_LIMITED)
