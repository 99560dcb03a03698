"""Evaluating the modules of `nix/` with real Nix: with the stand-in for NixOS, and with NixOS's own modules."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
NIX = ROOT / "nix"

REAL_NIXOS = "PIPELINEGEN_NIXOS"
"""Environment variable: a folder laid out as nixpkgs is, with its `lib` and the modules that ours touch."""
REAL_OPNIX = "PIPELINEGEN_OPNIX"
"""Environment variable: a folder with the source of OpNix."""


UNIVERSES = ["stand-in", "real"] if os.environ.get(REAL_NIXOS) else ["stand-in"]
"""In which NixOS modules are tested. Of the one that is not here, `test_real_nixos.py` alone says so."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation gave.

    Attributes:
        value: what was wanted of it.
        failed: messages of the assertions that do not hold.
        warnings: as NixOS would print them.
    """

    value: Any
    failed: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class Nixos:
    """A NixOS that modules are evaluated in.

    Attributes:
        name: `stand-in` or `real`.
        expression: of Nix, giving `{ lib; pkgs; modules; }`.
        programs: the folder of Nix's programs.
    """

    name: str
    expression: str
    programs: Path

    def evaluate(self, module: str, settings: str = "{ }", wanted: str = "null") -> Evaluated:
        """Evaluate a module of `nix/` with settings.

        Args:
            module: a folder of `nix/`, such as `attic-server`.
            settings: Nix: a module. `lib`, `pkgs` and `config` are in scope.
            wanted: Nix: what is wanted. `config`, `options`, `pkgs` and `lib` are in scope.

        Raises:
            EvaluationError: it does not evaluate; the text has what Nix said.
        """
        return Evaluated(**self.run(module, settings, wanted))

    def run(self, module: str, settings: str, wanted: str) -> Any:
        """As `evaluate`, the plain record."""
        text = f"""import {NIX}/tests/evaluate.nix {{
          nixos = {self.expression};
          modules = [ {NIX / module} ({{ lib, pkgs, config, ... }}: {settings}) ];
          wanted = {{ config, options, pkgs, lib }}: {wanted};
        }}"""
        return evaluate(self.programs, text)


class EvaluationError(Exception):
    """Nix refused an expression."""


def evaluate(programs: Path, expression: str) -> Any:
    """The value of an expression.

    Raises:
        EvaluationError: it has none; the text has what Nix said.
    """
    command = (programs / "nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EvaluationError(done.stderr)
    return json.loads(done.stdout)


def stand_in(programs: Path) -> Nixos:
    """The NixOS that the repository brings along."""
    return Nixos("stand-in", f"import {NIX}/tests/stand-in", programs)


def real(programs: Path) -> Nixos | None:
    """NixOS's own modules; null where there are none."""
    folder = os.environ.get(REAL_NIXOS)
    if not folder:
        return None
    opnix = os.environ.get(REAL_OPNIX)
    arguments = f"folder = {Path(folder).resolve()}; opnix = {Path(opnix).resolve() if opnix else 'null'};"
    return Nixos("real", f"import {NIX}/tests/real.nix {{ {arguments} }}", programs)
