"""Processes that are measured, each in a new, empty store of Nix, or in one that is always the same."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks import machine

NIX_CONFIG = """
build-users-group =
sandbox = false
substituters =
experimental-features = nix-command flakes
eval-cache = false
"""


class EmptyStore:
    """A store that is thrown away before every run. There is no evaluation cache.

    Args:
        folder: where it is made.

    Attributes:
        env: of what runs in it: nothing of GitLab's, nothing of the machine's Nix.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / "nix"
        registry = folder / "registry.json"
        registry.write_text('{ "flakes": [], "version": 2 }', "utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITLAB", "NIX_"))}
        self.env = kept | {
            "NIX_CONFIG": f"{NIX_CONFIG}flake-registry = {registry}\n",
            "NIX_STORE_DIR": str(self._place / "store"),
            "NIX_STATE_DIR": str(self._place / "state"),
            "NIX_LOG_DIR": str(self._place / "log"),
            "NIX_PATH": "",
            "XDG_CACHE_HOME": str(self._place / "cache"),
            "PYTHONPATH": str(machine.ROOT),
        }

    def run(
        self, *command: str, cwd: Path, kept: Path | None = None, env: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[str, dict[str, float]]:
        """A command's stdout, and the `seconds` and `cpu_seconds` that it took of the clock and of the cores.

        Args:
            cwd: where it runs.
            kept: what `keep` left is what is in the store; by default nothing is.
            env: what its environment has besides.

        Raises:
            RuntimeError: it failed, with the end of what it said.
        """
        self.remove()
        if kept is not None:
            shutil.copytree(kept, self._place, symlinks=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        # Nobody looks at its memory meanwhile: that takes a core of its own.
        done = subprocess.run(command, cwd=cwd, env={**self.env, **env}, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout, {"seconds": seconds, "cpu_seconds": cpu}

    def keep(self, folder: Path) -> None:
        """Copy what the last run left to a folder, in the place of what may be there."""
        remove(folder)
        shutil.copytree(self._place, folder, symlinks=True)

    def remove(self) -> None:
        """Throw it away."""
        remove(self._place)


def remove(folder: Path) -> None:
    """Remove what `EmptyStore.keep` made."""
    if folder.exists():
        # Nix makes store paths read-only.
        for path, _, _ in os.walk(folder):
            Path(path).chmod(0o700)
        shutil.rmtree(folder)
