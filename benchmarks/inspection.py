"""Inspecting a fleet with one and two evaluators, beside one plain `nix eval` over the same derivation paths.

    python -m benchmarks.inspection [--hosts N] [--repetitions N] [--json FILE]

The flake is `evaluation.nix`: hosts without inputs whose options take real work to merge, and little that they
share. Every run has a new, empty store and no evaluation cache. The ways are measured in turn, after a round that
is not counted: `nix eval` of all derivation paths; our inventory with one and two evaluators, as a process of its
own; and `pipelinegen preview --offline`, whose own share is the time during which no Nix process runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.empty_store import EmptyStore

HOSTS = 20
MODULES = 340
OPTIONS = 340
UNITS = 30
REPETITIONS = 5
WORKERS = (1, 2)

PLAIN = "hosts: builtins.mapAttrs (_: host: host.config.system.build.toplevel.drvPath) hosts"

INSPECT = """
import json, sys
from pathlib import Path
from pipelinegen.config import Config, Evaluation
from pipelinegen.inventory.read import read_inventory, read_source
config = Config(evaluation=Evaluation(workers=int(sys.argv[1])))
inventory = read_inventory(read_source(".", cwd=Path.cwd(), config=config), config)
print(json.dumps({output.path[-1]: output.drv_path for output in inventory.outputs}))
"""

NOTED = """#!/bin/sh
echo "$$ $(date +%s.%N)" >> {log}
exec {program} "$@"
"""
"""Stands before a Nix program and notes its process number and when it began."""

LOOK_SECONDS = 0.01


class Watch(threading.Thread):
    """Sees when the processes that are noted in a file end.

    Attributes:
        spans: when each began and ended, in seconds since the epoch.
    """

    def __init__(self, log: Path) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._over = threading.Event()
        self.spans: list[tuple[float, float]] = []

    def run(self) -> None:
        running: dict[str, float] = {}
        known = 0
        while not self._over.wait(LOOK_SECONDS):
            lines = self._log.read_text("utf-8").splitlines()
            running |= {pid: float(began) for pid, began in map(str.split, lines[known:])}
            known = len(lines)
            for pid in [pid for pid in running if not _alive(pid)]:
                self.spans.append((running.pop(pid), time.time()))

    def end(self) -> None:
        """Stop watching; all processes have ended."""
        time.sleep(5 * LOOK_SECONDS)
        self._over.set()
        self.join()


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Bench:
    """A flake in a repository, and stores that are thrown away."""

    def __init__(self, folder: Path, hosts: int) -> None:
        self.folder = folder
        self.flake = folder / "flake"
        self.store = EmptyStore(folder)
        self.log = folder / "nix-ran"
        self._make_flake(hosts)
        self.noted_path = self._noted_programs()

    def _make_flake(self, hosts: int) -> None:
        self.flake.mkdir()
        text = Path(__file__).with_name("evaluation.nix").read_text("utf-8")
        # Hosts of a fleet share most of their derivations; few are a host's own.
        for word, number in (("HOSTS", hosts), ("MODULES", MODULES), ("OPTIONS", OPTIONS)):
            text = text.replace(word, str(number))
        text = text.replace("units = 300;", f"units = {UNITS};")
        (self.flake / "flake.nix").write_text(text, "utf-8")
        for words in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b"],
        ):
            subprocess.run(["git", *words], cwd=self.flake, check=True)

    def _noted_programs(self) -> str:
        programs = self.folder / "programs"
        programs.mkdir()
        for name in ("nix", "nix-instantiate", "nix-store"):
            real = shutil.which(name)
            if real is None:
                raise RuntimeError(f"{name} is not installed")
            (programs / name).write_text(NOTED.format(program=real, log=self.log), "utf-8")
            (programs / name).chmod(0o755)
        return f"{programs}{os.pathsep}{self.store.env['PATH']}"

    def run(self, *command: str, **more: str) -> tuple[str, dict[str, float]]:
        """See `EmptyStore.run`."""
        return self.store.run(*command, cwd=self.flake, env=more)

    def plain(self) -> tuple[str, dict[str, float]]:
        """One process of Nix."""
        return self.run("nix", "eval", "--json", ".#nixosConfigurations", "--apply", PLAIN)

    def inspect(self, workers: int) -> tuple[str, dict[str, float]]:
        """Our inventory."""
        return self.run(sys.executable, "-c", INSPECT, str(workers))

    def preview(self) -> dict[str, float]:
        """All of `preview`, with the share of it that is ours."""
        self.log.write_text("", "utf-8")
        watch = Watch(self.log)
        watch.start()
        _, used = self.run(sys.executable, "-m", "pipelinegen", "--quiet", "preview", "--offline", PATH=self.noted_path)
        watch.end()
        return {**used, "own_seconds": used["seconds"] - _covered(sorted(watch.spans))}


def _covered(spans: Sequence[tuple[float, ...]]) -> float:
    """The seconds during which at least one of them lasts."""
    total, reached = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def measure(*, hosts: int = HOSTS, repetitions: int = REPETITIONS) -> dict[str, Any]:
    """Medians of all ways, and ratios, each of them taken within one round.

    Raises:
        RuntimeError: a way failed, or found other derivations than `nix eval`.
    """
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory(prefix="inspection-") as scratch:
        bench = Bench(Path(scratch), hosts)
        for _ in range(repetitions + 1):
            answer, used = bench.plain()
            found = {"nix eval": used}
            for workers in WORKERS:
                other, found[f"workers = {workers}"] = bench.inspect(workers)
                if json.loads(other) != json.loads(answer):
                    raise RuntimeError("the inventory has other derivations than nix eval")
            found["preview"] = bench.preview()
            rounds.append(found)
        bench.store.remove()
    rounds = rounds[1:]
    ways = {
        way: {value: machine.median(one[way][value] for one in rounds) for value in rounds[0][way]} for way in rounds[0]
    }
    ratios = {
        f"workers = {workers}": machine.median(
            one[f"workers = {workers}"]["seconds"] / one["nix eval"]["seconds"] for one in rounds
        )
        for workers in WORKERS
    }
    own = machine.median(one["preview"]["own_seconds"] / one["preview"]["seconds"] for one in rounds)
    return {
        "machine": machine.describe(),
        "hosts": hosts,
        "repetitions": repetitions,
        "ways": ways,
        "ratios": ratios,
        "own_share": own,
    }


def table(result: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines = [f"{'':<12} {'seconds':>8} {'of nix eval':>12} {'core seconds':>13}"]
    for way, used in result["ways"].items():
        ratio = {"nix eval": 1.0, **result["ratios"]}.get(way)
        shown = "" if ratio is None else f"{ratio:.2f}"
        lines.append(f"{way:<12} {used['seconds']:>8.2f} {shown:>12} {used['cpu_seconds']:>13.2f}")
    own = result["ways"]["preview"]["own_seconds"]
    lines.append(f"preview's own share: {own:.2f} s, {100 * result['own_share']:.0f} %")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    result = measure(hosts=arguments.hosts, repetitions=arguments.repetitions)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
