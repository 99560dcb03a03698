"""The repository's own flake, with the stand-in for nixpkgs as its input."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]

MACHINES = ("deploy-broken-off", "deploy-fleet", "deploy-outcomes", "deploy-refusals")
"""Checks that are virtual machines."""
EVALUATED = ("attic-server-evaluates", "runner-host-evaluates")
"""Checks that only evaluate."""


def nix(*arguments: object) -> str:
    done = subprocess.run([str(one) for one in arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def copied(folder: Path) -> tuple[str, ...]:
    """Arguments of `nix eval` for a copy of the flake in a folder."""
    top, stand_in = folder / "top", folder / "nixpkgs"
    stand_in.mkdir()
    shutil.copytree(ROOT / "nix" / "tests", stand_in / "tests")
    (stand_in / "flake.nix").write_text("{ outputs = { self }: import ./tests/stand-in/nixpkgs.nix; }")
    top.mkdir()
    for name in ("flake.nix", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, top)
    for name in ("nix", "pipelinegen"):
        shutil.copytree(ROOT / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
    return ("--no-write-lock-file", "--override-input", "nixpkgs", f"path:{stand_in}", f"path:{top}")


def evaluate(flake: tuple[str, ...], attribute: str, function: str) -> Any:
    """What a function of Nix makes of an output."""
    *options, top = flake
    return json.loads(nix("nix", "eval", "--json", *options, f"{top}#{attribute}", "--apply", function))
