"""How planning grows: from an inventory and its graph to verified YAML, and beside gcip on the same jobs.

    python -m benchmarks.scale [--quick]

Each measurement has a process of its own, so that its peak of memory is its own. Reading the inventory and the
graph from Nix is not part of it: here they are made, and time and memory before and after are told apart.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import graphs, machine
from pipelinegen.config import Config
from pipelinegen.inventory.model import FlakeSource, Inventory
from pipelinegen.pipeline.children import make_files
from pipelinegen.pipeline.compile import FROM_PARENT, Surroundings
from pipelinegen.pipeline.emit import to_yaml
from pipelinegen.pipeline.limits import Limits
from pipelinegen.pipeline.model import Artifacts, Job, Need, Pipeline, Reports
from pipelinegen.pipeline.verify import require_valid
from pipelinegen.testing import Recording, plan_recording

OUTPUTS = (1_000, 3_000, 10_000)
JOBS = (100, 300, 1_000)
REPETITIONS = 3
CONFIG = Config.model_validate({"gitlab": {"max_jobs": 1_000_000}})

STEPS = {
    "walk": ("pipelinegen.plan.to_build", "find"),
    "units": ("pipelinegen.plan.fit", "make_units"),
    "tasks": ("pipelinegen.plan.fit", "make_tasks"),
    "compile": ("pipelinegen.pipeline.children", "compile_tasks"),
    "verify": ("pipelinegen.pipeline.children", "verify"),
    "emit": ("pipelinegen.pipeline.children", "to_yaml"),
}
"""Step → where the function that does it is called by its name. What is left is neither of them."""


def measure(*, quick: bool = False) -> dict[str, Any]:
    """`growth`: a record per number of outputs; `gcip`: per number of jobs, or why there is none."""
    outputs = OUTPUTS[:2] if quick else OUTPUTS
    repetitions = 1 if quick else REPETITIONS
    return {"growth": [_growth(number, repetitions) for number in outputs], "gcip": _beside_gcip(quick=quick)}


def _growth(outputs: int, repetitions: int) -> dict[str, Any]:
    runs = [_fresh("plan", str(outputs)) for _ in range(repetitions)]
    steps = {step: machine.median(run["steps"][step] for run in runs) for step in STEPS}
    return {
        **runs[0],
        "seconds": machine.median(run["seconds"] for run in runs),
        "core_seconds": machine.median(run["core_seconds"] for run in runs),
        "input_mib": machine.median((run["input_mib"] for run in runs), 1),
        "peak_mib": machine.median((run["peak_mib"] for run in runs), 1),
        "steps": steps,
    }


def _fresh(*arguments: str) -> Any:
    usage = machine.run([sys.executable, "-m", "benchmarks.scale", *arguments], cwd=machine.ROOT)
    return json.loads(usage.stdout)


class Stopwatch:
    """Adds up the seconds of a core inside named functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        @functools.wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[step] = self.seconds.get(step, 0.0) + time.process_time() - started

        return watched

    def watch(self) -> None:
        """Put itself around each of `STEPS`."""
        for step, (module_name, attribute) in STEPS.items():
            module = importlib.import_module(module_name)
            setattr(module, attribute, self.wrap(step, getattr(module, attribute)))
            self.seconds[step] = 0.0


def _recording(outputs: int) -> Recording:
    fleet = graphs.flat(outputs)
    nowhere = FlakeSource(reference=".", store_path="")
    inventory = Inventory.model_construct(
        source=nowhere, outputs=fleet.outputs, failures=(), built_during_evaluation=()
    )
    return Recording.model_construct(inventory=inventory, derivations=tuple(fleet.graph.values()))


def _plan(outputs: int) -> dict[str, Any]:
    """In this process: plan, compile, verify and write; what it took."""
    gc.set_threshold(200_000, 30, 30)  # as the command line does
    recording = _recording(outputs)
    gc.collect()
    before = machine.own_peak_mib()
    watch = Stopwatch()
    watch.watch()
    started, cpu = time.perf_counter(), time.process_time()
    planned = plan_recording(recording, config=CONFIG)
    files = make_files(planned, CONFIG, Surroundings())
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "outputs": outputs,
        "derivations": len(recording.derivations),
        "units": len(planned.work.units),
        "jobs": sum(len(file.pipeline.jobs) for file in files.parts),
        "pipelines": len(files.parts),
        "yaml_kib": round(sum(len(file.text.encode()) for file in files.files) / 1024),
        "seconds": round(seconds, 3),
        "core_seconds": round(cpu, 3),
        "steps": {step: round(spent, 3) for step, spent in watch.seconds.items()},
        "input_mib": round(before, 1),
        "peak_mib": round(machine.own_peak_mib(), 1),
    }


def _beside_gcip(*, quick: bool) -> dict[str, Any]:
    """A record per number of jobs; or `missing`, why there is none."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            python = _with_gcip(folder)
        except RuntimeError:  # what pip says may name the index, which is nobody's business
            return {"missing": "it could not be installed here"}
        return {
            "version": _gcip_version(python),
            "rows": [_same_jobs(n, python, folder) for n in JOBS[: 2 if quick else None]],
        }


def _with_gcip(folder: Path) -> Path:
    """An environment that is thrown away, with gcip from the package index."""
    machine.run([sys.executable, "-m", "venv", folder / "venv"])
    python = folder / "venv" / "bin" / "python"
    machine.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "gcip"])
    return python


def _gcip_version(python: Path) -> str:
    return machine.run([python, "-c", "import importlib.metadata as m; print(m.version('gcip'))"]).stdout.strip()


def _same_jobs(jobs: int, python: Path, folder: Path) -> dict[str, Any]:
    """The same jobs made by both; needs of a job are those of a real plan, as far as its jobs are among them."""
    described = _described(jobs)
    file = folder / f"jobs-{jobs}.json"
    file.write_text(json.dumps(described), "utf-8")
    theirs = json.loads(
        machine.run([python, Path(__file__).with_name("gcip_jobs.py"), file, folder / "pipeline.yml"]).stdout
    )
    runs = [_fresh("jobs", str(file)) for _ in range(REPETITIONS)]
    ours = {
        "seconds": machine.median(run["seconds"] for run in runs),
        "peak_mib": machine.median((run["peak_mib"] for run in runs), 1),
    }
    return {"jobs": jobs, "needs": sum(len(one["needs"]) for one in described), "gcip": theirs, "pipelinegen": ours}


def _described(jobs: int) -> list[dict[str, Any]]:
    """So many jobs: groups of ten that need one shared job."""
    made: list[dict[str, Any]] = []
    for number in range(jobs):
        shared = number - number % 10
        name = f"build shared library{number // 10}" if number == shared else f"build packages.package{number:05}"
        made.append(
            {
                "name": name,
                "stage": "build",
                "script": [f"pipelinegen run build --class protected --junit junit.xml -- {name[6:]}"],
                "needs": [] if number == shared else [made[shared]["name"]],
                "tags": ["nix"],
                "timeout": "1 hour",
            }
        )
    return made


def _make_described(file: Path) -> dict[str, Any]:
    """In this process: the described jobs as a verified file; seconds of a core, as for gcip."""
    described = json.loads(file.read_text("utf-8"))
    started = time.process_time()
    jobs = tuple(
        Job(
            name=one["name"],
            stage=one["stage"],
            script=tuple(one["script"]),
            tags=tuple(one["tags"]),
            timeout=one["timeout"],
            needs=(*(Need(job=name) for name in one["needs"]), FROM_PARENT),
            artifacts=Artifacts(reports=Reports(junit=("junit.xml",)), when="always", expire_in="1 week"),
        )
        for one in described
    )
    pipeline = Pipeline(stages=("build",), jobs=jobs)
    text = to_yaml(pipeline)
    require_valid(pipeline, Limits(max_jobs=len(jobs)), CONFIG.gitlab.version, yaml_bytes=len(text.encode()))
    seconds = time.process_time() - started
    return {"seconds": round(seconds, 3), "peak_mib": round(machine.own_peak_mib(), 1)}


def main(arguments: Sequence[str]) -> int:
    """Measure; or, as the process that is measured, do the one thing named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("part", nargs="*", metavar="plan NUMBER | jobs FILE")
    options = parser.parse_args(arguments)
    match options.part:
        case ["plan", number]:
            answer = _plan(int(number))
        case ["jobs", file]:
            answer = _make_described(Path(file))
        case _:
            answer = measure(quick=options.quick)
    print(json.dumps(answer, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
