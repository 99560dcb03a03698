"""What a build job costs before it builds: importing the export, beside evaluating the flake in the job.

    python -m benchmarks.build_job [--quick]

Real Nix, with a store of its own that is new for every run. It holds the outputs of everything but the host's own
derivation, as if they had been fetched, and no derivation: the job builds exactly one, which takes no time. One way
is `pipelinegen run build` with the folder that `pipelinegen generate` wrote, the other is `nix build` of the same
output with an empty evaluation cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.machine import Usage

HOSTS = 2
HOST = "host0"
TARGET = f"nixosConfigurations.{HOST}"
OUTPUT = f".#{TARGET}.config.system.build.toplevel"
REPETITIONS = 5

NIX_CONFIG = """
build-users-group =
sandbox = false
substituters =
experimental-features = nix-command flakes
"""


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Medians of seconds and MiB of both ways, measured in turn; or `missing`, why there are none."""
    if shutil.which("nix") is None:
        return {"missing": "there is no Nix here"}
    with tempfile.TemporaryDirectory() as name:
        try:
            bench = _Bench(Path(name), modules=600 if quick else 1500, options=60 if quick else 150)
            return bench.measure(1 if quick else REPETITIONS)
        finally:
            _make_writable(Path(name))


class _Bench:
    """A flake, the folder that was generated of it, and stores that hold what is to be there."""

    def __init__(self, folder: Path, *, modules: int, options: int) -> None:
        self.folder = folder
        self.nix = folder / "nix"
        self.template = folder / "template"
        self.flake = folder / "flake"
        self.handoff = folder / "handoff"
        self._make_flake(modules, options)
        self.env = self._environment()
        self._prepare()

    def _make_flake(self, modules: int, options: int) -> None:
        self.flake.mkdir()
        text = Path(__file__).with_name("evaluation.nix").read_text("utf-8")
        for word, number in (("HOSTS", HOSTS), ("MODULES", modules), ("OPTIONS", options)):
            text = text.replace(word, str(number))
        (self.flake / "flake.nix").write_text(text, "utf-8")
        for words in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b"],
        ):
            subprocess.run(["git", *words], cwd=self.flake, check=True)

    def _environment(self) -> dict[str, str]:
        registry = self.folder / "registry.json"
        registry.write_text('{ "flakes": [], "version": 2 }', "utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITLAB", "NIX_"))}
        return kept | {
            "NIX_CONFIG": f"{NIX_CONFIG}flake-registry = {registry}\n",
            "NIX_STORE_DIR": str(self.nix / "store"),
            "NIX_STATE_DIR": str(self.nix / "state"),
            "NIX_LOG_DIR": str(self.nix / "log"),
            "NIX_PATH": "",
            "XDG_CACHE_HOME": str(self.nix / "cache"),
            "PYTHONPATH": str(machine.ROOT),
        }

    def _prepare(self) -> None:
        """Generate and build everything once; keep the outputs and nothing else for the stores of the jobs."""
        self.pipelinegen("generate", "--offline", "-o", str(self.handoff))
        work = json.loads((self.handoff / "work.json").read_text("utf-8"))
        unit = next(unit for unit in work["units"] if TARGET in unit["targets"] and len(unit["targets"]) == 1)
        self.unit = unit["job"].removeprefix("build ")
        self.run("nix", "build", "--no-link", OUTPUT)
        system = self.run("nix", "eval", "--raw", OUTPUT).stdout
        references = self.run("nix-store", "--query", "--requisites", system).stdout.split()
        exported = self.folder / "outputs"
        with exported.open("wb") as file:
            paths = [path for path in references if path != system]
            subprocess.run(["nix-store", "--export", *paths], stdout=file, env=self.env, check=True)
        self.derivations = len(self.run("nix-store", "--query", "--requisites", f"{self.drv()}").stdout.split())
        _remove(self.nix)
        with exported.open("rb") as file:
            subprocess.run(["nix-store", "--import"], stdin=file, env=self.env, check=True, stdout=subprocess.DEVNULL)
        shutil.move(self.nix, self.template)

    def drv(self) -> str:
        """The host's derivation."""
        return self.run("nix", "eval", "--raw", f"{OUTPUT}.drvPath").stdout

    def run(self, *command: str) -> Usage:
        """Run in the flake's folder."""
        return machine.run(command, cwd=self.flake, env=self.env)

    def pipelinegen(self, *arguments: str) -> Usage:
        """Run this very pipelinegen."""
        return self.run(sys.executable, "-m", "pipelinegen", "--quiet", *arguments)

    def measure(self, repetitions: int) -> dict[str, Any]:
        """Each way in a new store, in turn; the first round is not counted."""
        rounds = [self._round() for _ in range(repetitions + 1)][1:]
        ways = {way: _medians([one[way] for one in rounds]) for way in rounds[0]}
        fewer = [one["evaluate"].seconds / one["import"].seconds for one in rounds]
        export = sum(file.stat().st_size for file in self.handoff.glob("*.export.*"))
        return {
            "derivations": self.derivations,
            "export_kib": round(export / 1024, 1),
            "ways": ways,
            "speedup": machine.median(fewer, 2),
        }

    def _round(self) -> dict[str, Usage]:
        found = {}
        self._new_store()
        found["import"] = self.pipelinegen("run", "build", "--handoff", str(self.handoff), "--", self.unit)
        self._new_store()
        found["evaluate"] = self.run("nix", "build", "--no-link", OUTPUT)
        return found

    def _new_store(self) -> None:
        _remove(self.nix)
        shutil.copytree(self.template, self.nix, symlinks=True)


def _medians(usages: Sequence[Usage]) -> Mapping[str, float]:
    return {
        "seconds": machine.median(usage.seconds for usage in usages),
        "largest_mib": machine.median((usage.largest_mib for usage in usages), 1),
        "together_mib": machine.median((usage.together_mib for usage in usages), 1),
    }


def _remove(folder: Path) -> None:
    _make_writable(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _make_writable(folder: Path) -> None:
    """Nix makes store paths read-only, which those who are not root trip over."""
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o700)


def main(arguments: Sequence[str]) -> int:
    """Print the measurement as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build_job", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(measure(quick=parser.parse_args(arguments).quick), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
