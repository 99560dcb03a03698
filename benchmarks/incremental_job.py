"""One inspection of the flake in the working folder, in a process of its own.

    python -m benchmarks.incremental_job CACHES [EXCLUDED …]

`CACHES` is the folder that the memo lies in, empty for evaluating everything. What was found, and where the time went,
is printed as a JSON object: see `Found`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

from pipelinegen.config import Config
from pipelinegen.inventory.model import Inventory
from pipelinegen.inventory.read import read_inventory, read_source
from pipelinegen.memo.inspect import inspect, open_memo


class Found(TypedDict):
    """What one inspection gave.

    Attributes:
        derivations: host → path of its derivation.
        evaluated: how many hosts were evaluated.
        not_recorded: why nothing could be recorded; null where it could, or was not to be.
        steps: seconds that Nix needs to tell of the flake, that opening the memo takes, and all that remains.
    """

    derivations: dict[str, str | None]
    evaluated: int
    not_recorded: str | None
    steps: dict[str, float]


def main(arguments: Sequence[str]) -> None:
    """Inspect, and print what was found."""
    folder, *excluded = arguments
    config = Config(exclude=tuple(excluded))
    times = [time.perf_counter()]
    source = read_source(".", cwd=Path.cwd(), config=config)
    times.append(time.perf_counter())
    memo = open_memo(Path(folder), source, config) if folder else None
    times.append(time.perf_counter())
    not_recorded = None
    if memo is None:
        inventory = read_inventory(source, config)
        evaluated = len(inventory.outputs)
    else:
        inspection = inspect(source, config, memo)
        inventory, not_recorded = inspection.inventory, inspection.not_recorded
        evaluated = sum(not inspection.known(output.path) for output in inventory.outputs)
    times.append(time.perf_counter())
    steps = [later - earlier for earlier, later in pairwise(times)]
    found = Found(
        derivations=_derivations(inventory),
        evaluated=evaluated,
        not_recorded=not_recorded,
        steps=dict(zip(("source", "memo", "inspect"), steps, strict=True)),
    )
    print(json.dumps(found))


def _derivations(inventory: Inventory) -> dict[str, str | None]:
    if inventory.failures:
        raise SystemExit(f"{len(inventory.failures)} hosts failed: {inventory.failures[0].message}")
    return {output.path[-1]: output.drv_path for output in inventory.outputs}


if __name__ == "__main__":
    main(sys.argv[1:])
