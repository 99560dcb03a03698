"""Which derivations must be built: a walk from the targets down that stops at what caches hold. Pure.

`nix-store --realise --dry-run` would not do as the oracle: it always lists derivations with
`allowSubstitutes = false` (every NixOS system is one), counts the local store, ignores signatures, says
nothing of a refused cache, and calls a derivation missing for an output that nobody uses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pipelinegen.cache.model import Availability
from pipelinegen.inventory.model import Derivation, Graph

Load = Callable[[Iterable[str]], Mapping[str, Derivation]]
"""Reads derivations by path."""

Ask = Callable[[Iterable[str]], Availability]
"""Asks the trusted caches for store paths; what they said of these."""


@dataclass
class ToBuild:
    """The part of the graph that must be built, and what it stands on.

    Attributes:
        graph: every derivation that was looked at (built and available ones).
        builds: derivation path → output names that somebody uses, for what must be built.
    """

    graph: Graph = field(default_factory=dict)
    builds: dict[str, set[str]] = field(default_factory=dict)


def find(targets: Mapping[str, Collection[str]], load: Load, ask: Ask) -> ToBuild:
    """Walk down from `targets` (derivation path → wanted output names), level by level.

    A derivation must be built when an output that somebody names is not known to be in a trusted cache
    (absent, unknown to a cache that did not answer, or without a path before it is built); only then are
    its inputs looked at.
    """
    result = ToBuild()
    named: dict[str, set[str]] = {}
    level: dict[str, set[str]] = {drv: set(outputs) for drv, outputs in targets.items()}
    while level:
        result.graph.update(load([drv for drv in level if drv not in result.graph]))
        fresh: dict[str, set[str]] = {}
        for drv, outputs in level.items():
            known = named.setdefault(drv, set())
            if drv in result.builds:
                result.builds[drv] |= outputs
            elif outputs - known:
                fresh[drv] = known | outputs
            known |= outputs
        level = _inputs_of(_missing(fresh, result, ask), result)
    return result


def _missing(fresh: Mapping[str, set[str]], result: ToBuild, ask: Ask) -> list[str]:
    graph = result.graph
    paths = {drv: [graph[drv].outputs.get(name) for name in sorted(outputs)] for drv, outputs in fresh.items()}
    availability = ask([path for some in paths.values() for path in some if path is not None])
    missing = [
        drv for drv, some in paths.items() if any(path is None or availability.where(path) is None for path in some)
    ]
    for drv in missing:
        result.builds[drv] = set(fresh[drv])
    return missing


def _inputs_of(drvs: Iterable[str], result: ToBuild) -> dict[str, set[str]]:
    level: dict[str, set[str]] = {}
    for drv in drvs:
        for input_drv, outputs in result.graph[drv].inputs.items():
            level.setdefault(input_drv, set()).update(outputs)
    return level
