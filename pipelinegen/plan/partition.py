"""Which derivation is built by which job: groups by the exact set of targets that need them. Pure.

A dependency is needed by every target that needs its dependent, so its set of targets includes the
dependent's. Hence an edge between two groups always points to the larger set, groups cannot form a cycle,
every derivation is in exactly one group, and a group holds at most one target's own derivation.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipelinegen.inventory.model import Graph
from pipelinegen.plan.situation import ANY_SYSTEM
from pipelinegen.plan.to_build import ToBuild


@dataclass(frozen=True)
class Group:
    """Derivations that one job builds.

    Attributes:
        target_drvs: the targets' derivations that need this group, sorted.
        drvs: what it builds, dependencies first.
        system: where it builds.
        features: what the machine must offer, sorted.
        depends_on: indexes (into the list of groups) of the groups whose outputs it uses, sorted; what
            another dependency already waits for is left out.
    """

    target_drvs: tuple[str, ...]
    drvs: tuple[str, ...]
    system: str
    features: tuple[str, ...]
    depends_on: tuple[int, ...]


def partition(to_build: ToBuild, target_drvs: Iterable[str]) -> list[Group]:
    """Group what is to be built; groups come in an order in which dependencies precede dependents."""
    order = _dependencies_first(to_build)
    targets = [drv for drv in sorted(set(target_drvs)) if drv in to_build.builds]
    dependents = _dependent_targets(to_build, order, targets)
    systems = _systems(to_build.graph, order)
    keys = _group_keys(to_build, order, dependents, systems)
    members: dict[tuple[int, str, int], list[str]] = {}
    for drv in order:
        members.setdefault(keys[drv], []).append(drv)
    # The first member's place in the order keeps dependencies before dependents only among members, so
    # the groups are ordered once more among themselves.
    edges = {key: _edges(to_build, drvs, keys) for key, drvs in members.items()}
    group_order = _stable_order(edges)
    index = {key: number for number, key in enumerate(group_order)}
    reduced = _without_transitive(group_order, edges)
    return [
        Group(
            target_drvs=tuple(targets[bit] for bit in _bits(key[0])),
            drvs=tuple(members[key]),
            system=key[1],
            features=tuple(sorted({f for drv in members[key] for f in to_build.graph[drv].features})),
            depends_on=tuple(sorted(index[other] for other in reduced[key])),
        )
        for key in group_order
    ]


_Key = tuple[int, str, int]
_T = TypeVar("_T", str, tuple[int, str, int])


def _dependencies_first(to_build: ToBuild) -> list[str]:
    return _stable_order(
        {drv: {dep for dep in to_build.graph[drv].inputs if dep in to_build.builds} for drv in to_build.builds}
    )


def _stable_order(edges: Mapping[_T, set[_T]]) -> list[_T]:
    """Dependencies first; what is ready at the same time is sorted, so the order never depends on hashes."""
    sorter: graphlib.TopologicalSorter[_T] = graphlib.TopologicalSorter(edges)
    sorter.prepare()
    order: list[_T] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return order


def _dependent_targets(to_build: ToBuild, order: list[str], targets: list[str]) -> dict[str, int]:
    """Derivation → bit set of the targets that need it."""
    bits = dict.fromkeys(order, 0)
    for bit, drv in enumerate(targets):
        bits[drv] |= 1 << bit
    for drv in reversed(order):
        for dep in to_build.graph[drv].inputs:
            if dep in bits:
                bits[dep] |= bits[drv]
    return bits


def _bits(number: int) -> Iterator[int]:
    """The positions of the bits that are set, lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def _systems(graph: Graph, order: list[str]) -> dict[str, str]:
    """Where each derivation builds; a download takes the system of something that uses it."""
    systems = {drv: graph[drv].system for drv in order}
    for drv in reversed(order):
        for dep in graph[drv].inputs:
            if systems.get(dep) == ANY_SYSTEM:
                systems[dep] = systems[drv]
    return systems


def _group_keys(
    to_build: ToBuild, order: list[str], dependents: Mapping[str, int], systems: Mapping[str, str]
) -> dict[str, _Key]:
    """A group is one set of targets, one system, and one step of a chain that crosses systems.

    Without the step, `x86 → arm → x86` with one set of targets would make two groups that need each other.
    """
    steps: dict[str, int] = {}
    for drv in order:
        step = 0
        for dep in to_build.graph[drv].inputs:
            if dep in steps and dependents[dep] == dependents[drv]:
                step = max(step, steps[dep] + (systems[dep] != systems[drv]))
        steps[drv] = step
    return {drv: (dependents[drv], systems[drv], steps[drv]) for drv in order}


def _edges(to_build: ToBuild, drvs: Iterable[str], keys: Mapping[str, _Key]) -> set[_Key]:
    own = {keys[drv] for drv in drvs}
    return {keys[dep] for drv in drvs for dep in to_build.graph[drv].inputs if dep in keys} - own


def _without_transitive(order: list[_Key], edges: Mapping[_Key, set[_Key]]) -> dict[_Key, set[_Key]]:
    """Leave out an edge that a longer way implies: `needs` stay few, and mean the same."""
    reach: dict[_Key, int] = {}
    number = {key: position for position, key in enumerate(order)}
    reduced: dict[_Key, set[_Key]] = {}
    for key in order:
        direct = sorted(edges[key], key=number.__getitem__, reverse=True)
        kept: set[_Key] = set()
        seen = 0
        for other in direct:
            if not seen >> number[other] & 1:
                kept.add(other)
                seen |= reach[other]
        reduced[key] = kept
        reach[key] = seen | 1 << number[key]
    return reduced
