"""A real Nix with a store of its own, in every version that this machine has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

NIX_CONFIG = """
build-users-group =
sandbox = false
substituters =
experimental-features = nix-command flakes
max-jobs = 2
"""

MORE_NIX = "PIPELINEGEN_TEST_NIX"
"""Environment variable: folders with the programs of other Nix versions, separated by colons."""


def _nix_folders() -> list[Path | None]:
    on_path = shutil.which("nix")
    others = [Path(folder) for folder in os.environ.get(MORE_NIX, "").split(":") if folder]
    return [Path(on_path).parent if on_path else None, *others]


def _name(folder: Path | None) -> str:
    return "nix-on-path" if folder is None or folder == _nix_folders()[0] else folder.parent.name


ONE_NIX = pytest.mark.parametrize("nix_bin", _nix_folders()[:1], ids=_name, indirect=True)
"""For tests to which the version of Nix makes no difference."""


@pytest.fixture(params=_nix_folders(), ids=_name)
def nix_bin(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of one Nix, which is first on PATH, with an empty store and empty caches for this test."""
    folder: Path | None = request.param
    if folder is None:
        pytest.skip("there is no Nix here")
    root = tmp_path / "nix"
    root.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    registry = root / "registry.json"
    registry.write_text('{ "flakes": [], "version": 2 }')
    monkeypatch.setenv("NIX_CONFIG", f"{NIX_CONFIG}flake-registry = {registry}\n")
    monkeypatch.setenv("NIX_STORE_DIR", str(root / "store"))
    monkeypatch.setenv("NIX_STATE_DIR", str(root / "state"))
    monkeypatch.setenv("NIX_LOG_DIR", str(root / "log"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    monkeypatch.setenv("NIX_PATH", "")
    for name in ("NIX_REMOTE", "NIX_USER_CONF_FILES"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    # Nix makes store paths read-only, which pytest's own clean-up trips over.
    for path, _, _ in os.walk(root):
        Path(path).chmod(0o700)
