"""Everything that is measured, in one command: `python -m benchmarks [--quick] [--out DIR] [--only PART] [--page]`.

Each part leaves `results/PART.json` with the machine that measured it; then `figures.md` and its pictures are made
from these files. Without `--out` they are those of this repository.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import build_job, incremental, inspection, machine, makespans, outputs, page, pushing, results, scale


def _inspection(*, quick: bool) -> dict[str, Any]:
    measured = inspection.measure(hosts=4 if quick else 12, repetitions=1 if quick else 3)
    return {key: value for key, value in measured.items() if key != "machine"}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "makespans": makespans.measure,
    "scale": scale.measure,
    "inspection": _inspection,
    "incremental": incremental.measure,
    "outputs": outputs.measure,
    "build_job": build_job.measure,
    "pushing": pushing.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, into a folder of its own")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results and page go")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--page", action="store_true", help="measure nothing: make the page from the results")
    options = parser.parse_args(arguments)
    folder = options.out or (Path(tempfile.mkdtemp(prefix="benchmarks-")) if options.quick else None)
    places = results.Places.of(folder)
    for part in () if options.page else options.only or PARTS:
        started = time.perf_counter()
        print(f"{part} …", end=" ", flush=True, file=sys.stderr)
        results.save(places, part, machine.describe(), PARTS[part](quick=options.quick))
        print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    for name, text in page.pages(results.load(places)).items():
        (places.page / name).write_text(text, "utf-8")
    print(places.page / page.NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
