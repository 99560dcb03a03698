"""Git without this machine's settings; inventories by one call."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.config import Config, Evaluation
from pipelinegen.inventory.model import Inventory
from pipelinegen.inventory.read import read_inventory, read_source
from tests.gitrepo import ISOLATED

DRV = """
  drv = name: more: derivation ({
    inherit name;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" "echo ${name} > $out" ];
  } // more);
"""
"""Nix: `drv "name" { more attributes }`."""


@pytest.fixture(autouse=True)
def _isolated_git(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nix runs git itself; it takes submodules from folders only where that is allowed.
    settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    for name, value in (ISOLATED | settings).items():
        monkeypatch.setenv(name, value)


Take = Callable[..., Inventory]


@pytest.fixture
def take(nix_bin: Path, tmp_path: Path) -> Take:
    """`take(outputs, files=…, config=…, timeout=…)`: the inventory of a flake made of that.

    `outputs` is what the flake's outputs function returns; it sees `drv`, `inputs` and `self`. `files` are
    further files; other keywords are settings of the evaluation.
    """

    def take(
        outputs: str, *, files: dict[str, str] | None = None, config: Config | None = None, **evaluation: Any
    ) -> Inventory:
        folder = write_flake(tmp_path / "flake", outputs, files=files)
        settings = config or Config()
        if evaluation:
            settings = settings.model_copy(update={"evaluation": Evaluation(**evaluation)})
        source = read_source(f"path:{folder}", cwd=tmp_path, config=settings)
        return read_inventory(source, settings)

    return take


def write_flake(folder: Path, outputs: str, *, inputs: str = "", files: dict[str, str] | None = None) -> Path:
    """A folder with a flake and other files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"flake.nix": flake_text(outputs, inputs), **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def flake_text(outputs: str, inputs: str = "") -> str:
    """The text of a flake.nix."""
    return f"{{\n  {inputs}\n  outputs = inputs@{{ self, ... }}: let {DRV} in {outputs};\n}}\n"


def nix_eval(reference: str, attribute: str, *, cwd: Path, options: tuple[str, ...] = ()) -> str:
    """What Nix itself says: `nix eval --raw REFERENCE#ATTRIBUTE`."""
    command = ["nix", "eval", "--raw", "--no-write-lock-file", *options, f"{reference}#{attribute}"]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
