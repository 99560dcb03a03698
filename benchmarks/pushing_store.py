"""A Nix store of its own with paths that nothing built: quick to make, however many they are.

They are registered as if they had been built, with what they refer to, and are not named by their content: a cache
that serves them must sign them. That their hashes are those of their archives, Nix finds when it verifies them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import nar, path_info

BRANCHES = 8
"""A path refers to so many others, which is what a path of a system does."""

NIX_CONFIG = """
build-users-group =
sandbox = false
substituters =
experimental-features = nix-command flakes
"""


@dataclass(frozen=True)
class Store:
    """The store in `folder`, with the Nix that is on PATH."""

    folder: Path

    @property
    def directory(self) -> Path:
        """Where its paths are."""
        return self.folder / "store"

    def environment(self, memory: Path) -> dict[str, str]:
        """Variables of a process that uses it; what caches said is kept in `memory`."""
        registry = self.folder / "registry.json"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITLAB", "NIX_"))}
        return kept | {
            "NIX_CONFIG": f"{NIX_CONFIG}flake-registry = {registry}\n",
            "NIX_STORE_DIR": str(self.directory),
            "NIX_STATE_DIR": str(self.folder / "state"),
            "NIX_LOG_DIR": str(self.folder / "log"),
            "NIX_PATH": "",
            "XDG_CACHE_HOME": str(memory),
        }

    def add_tree(self, name: str, number: int, size: int) -> list[str]:
        """So many files of about `size` bytes, each of which refers to the next few; all hang on the first one.

        Args:
            name: other names give other paths with other contents; the same ones the same, wherever the store is.

        Returns:
            Their paths, the root first.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        paths = [self.path(f"{name}-{place}") for place in range(number)]
        for place, path in enumerate(paths):
            words = (hashlib.sha256(f"{name}/{place}/{line}".encode()).hexdigest() for line in range(size // 65))
            Path(path).write_text("\n".join(words) + "\n", "utf-8")
        references = [paths[BRANCHES * place + 1 :][:BRANCHES] for place in range(number)]
        self._register(paths, references)
        return paths

    def add_sparse(self, size: int) -> str:
        """A file of `size` zeros, which takes no room here."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.path(f"sparse-{size}")
        with Path(path).open("wb") as file:
            file.truncate(size)
        self._register([path], [[]])
        return path

    def path(self, name: str) -> str:
        """What a path of this name is called, whether it is there or not."""
        digest = hashlib.sha256(name.encode()).digest()[:20]
        return f"{self.directory}/{path_info.to_base32(digest)}-{name}"

    def _register(self, paths: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        lines: list[str] = []
        for path, others in zip(paths, references, strict=True):
            digest, size = hashlib.sha256(), 0
            for chunk in nar.chunks(Path(path)):
                digest.update(chunk)
                size += len(chunk)
            lines += [path, digest.hexdigest(), str(size), "", str(len(others)), *sorted(others)]
        (self.folder / "registry.json").write_text('{ "flakes": [], "version": 2 }', "utf-8")
        subprocess.run(
            ["nix-store", "--load-db"],
            input="\n".join(lines) + "\n",
            text=True,
            check=True,
            env=self.environment(self.folder / "cache"),
        )

    def remove(self) -> None:
        """Nix makes paths read-only, which those who are not root trip over."""
        for folder, _, _ in os.walk(self.folder):
            Path(folder).chmod(0o700)
        shutil.rmtree(self.folder, ignore_errors=True)
