"""How long pipelines take and what they build: ways to make jobs, on fleets, in the simulator.

python -m benchmarks.makespans [--quick] [--fleet WORD] [--way WORD]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks import graphs, plans
from benchmarks.graphs import Fleet
from benchmarks.simulator import Job, Machines, Result, ideal, longest_way, simulate

RUNNERS = (2, 8, 32)
MADE_IN = "made_in"
"""Key of the seconds that making the jobs took."""
OVERHEAD = 30.0
FULL = ((20, 1000), (100, 1000), (500, 1000), (100, 10000))
MOST_FOR_ALL_TIMES = 10_000
"""Derivations up to which a fleet is measured with all times; larger ones take the defaults alone."""
MOST_FOR_SEVERAL_BUILDS = 2_500
"""Derivations up to which a fleet is also measured with several builds at once in a job."""


@dataclass(frozen=True)
class Times:
    """What builds take, and what of that is known when the jobs are made."""

    name: str
    real: str
    known: str


TIMES = (
    Times("defaults", "defaults", "defaults"),
    Times("uneven, recorded", "uneven", "uneven"),
    Times("uneven, nothing recorded", "uneven", "defaults"),
)


def measure(*, quick: bool = False) -> dict[str, Any]:
    """`fleets`: name → its shape (`Fleet.shape`); `rows`: see `_record`; and the numbers of the model.

    The same plans give the same answer every time and everywhere: no clock is in it.
    """
    cases = _cases(quick=quick)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        started = {case: pool.submit(_of_case, case, quick) for case in reversed(cases)}  # the largest first
        found = [started[case].result() for case in cases]
    return {
        "overhead": OVERHEAD,
        "runners": RUNNERS,
        "fleets": {name: shape for name, shape, _ in found},
        "rows": [row for _, _, rows in found for row in rows],
    }


def _of_case(case: Case, quick: bool) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    fleet = _fleet(case)
    rows = [{key: value for key, value in row.items() if key != MADE_IN} for row in records(fleet, quick=quick)]
    return fleet.name, fleet.shape(), rows


Case = tuple[int, int] | None
"""Hosts and derivations of each; null: the real fleet."""


def _cases(*, quick: bool) -> list[Case]:
    real: list[Case] = [None] if graphs.data_file() else []
    cases = [*real, *FULL]
    return cases[:1] if quick else cases


def _fleet(case: Case) -> Fleet:
    if case is not None:
        return graphs.synthetic(*case)
    file = graphs.data_file()
    if file is None:
        raise LookupError(f"the real graph is not where {graphs.DATA_VARIABLE} says")
    return graphs.real(file)


def records(fleet: Fleet, way_word: str = "", *, quick: bool = False) -> Iterator[dict[str, Any]]:
    """A record per times, builds at once, way (whose name holds the word) and number of runners."""
    ways = [way for way in plans.ways_for(fleet) if way_word in way.name]
    for one in TIMES if len(fleet.graph) <= MOST_FOR_ALL_TIMES and not quick else TIMES[:1]:
        yield from _of_fleet(fleet, one, ways, builds=1)
    if len(fleet.graph) <= MOST_FOR_SEVERAL_BUILDS and not quick:
        yield from _of_fleet(fleet, TIMES[0], ways, builds=4)


def _of_fleet(fleet: Fleet, times: Times, ways: Sequence[plans.Way], *, builds: int) -> Iterator[dict[str, Any]]:
    work = fleet.work(graphs.COSTS[times.real](fleet.graph.values()))
    recorded = times.known == times.real != "defaults"
    known = plans.Known(graphs.COSTS[times.known](fleet.graph.values()), recorded, builds)
    best = {count: ideal(work, Machines(count, OVERHEAD, builds)) for count in RUNNERS}
    for way in ways:
        made: dict[int, list[Job]] = {}
        for count in RUNNERS:
            key = count if way.fits_runners else 0
            started = time.perf_counter()
            if key not in made:
                made[key] = way.make(fleet, known, count)
            seconds = time.perf_counter() - started
            result = simulate(work, made[key], Machines(count, OVERHEAD, builds), shared_cache=way.shared_cache)
            yield _record(fleet, times, way, builds, count, result, best[count]) | {
                "longest_way": round(longest_way(work), 1),
                MADE_IN: round(seconds, 2),
            }


def _record(
    fleet: Fleet, times: Times, way: plans.Way, builds: int, runners: int, result: Result, best: float
) -> dict[str, Any]:
    return {
        "fleet": fleet.name,
        "times": times.name,
        "builds": builds,
        "way": way.name,
        "runners": runners,
        "makespan": round(result.makespan, 1),
        "ideal": round(best, 1),
        "ratio": round(result.makespan / best, 3),
        "jobs": result.jobs,
        "needs": result.edges,
        "executions": result.executions,
        "derivations": len(fleet.graph),
        "work": round(result.work, 1),
        "work_ratio": round(result.work / result.distinct, 3),
        "transfers": result.transfers,
    }


def shown_numbers(numbers: Sequence[int]) -> str:
    """`46`, or `60/124/189` where they differ."""
    return str(numbers[0]) if len(set(numbers)) == 1 else "/".join(str(number) for number in numbers)


def main(arguments: Sequence[str]) -> int:
    """Print a table as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.makespans", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fleet", default="", metavar="WORD", help="only fleets whose name holds this")
    parser.add_argument("--way", default="", metavar="WORD", help="only ways whose name holds this")
    options = parser.parse_args(arguments)
    shown = None
    rows: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    fleets = (fleet for fleet in map(_fleet, _cases(quick=options.quick)) if options.fleet in fleet.name)
    for one in (row for fleet in fleets for row in records(fleet, options.way, quick=options.quick)):
        title = f"{one['fleet']}, {one['times']}, {one['builds']} at once"
        if title != shown:
            print(f"\n{title} (longest way {one['longest_way']} s)")
            print(f"{'':45} jobs (2, 8, 32)  builds   work   makespan / ideal    transfers  s")
            shown = title
        row = rows.setdefault((title, one["way"]), [])
        row.append(one)
        if len(row) == len(RUNNERS):
            jobs = shown_numbers([r["jobs"] for r in row])
            ratios = "  ".join(f"{r['ratio']:5.2f}" for r in row)
            work = statistics.median(r["work_ratio"] for r in row)
            builds = statistics.median(r["executions"] for r in row) / one["derivations"]
            spent = sum(r[MADE_IN] for r in row)
            start = f"{one['way']:45} {jobs:15} {builds:6.2f} {work:6.2f}   {ratios}"
            print(f"{start} {row[-1]['transfers']:8}  {spent:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
