"""Folders for Nix's own caches, one for each evaluator whose reading is recorded.

What one evaluator leaves in `$XDG_CACHE_HOME/nix` would spare the next one reading the same files (since Nix 2.20 it
remembers what a file or folder was copied to the store as). What was downloaded may be shared.

An evaluator must not begin with reading everything, either: others that are at work would seem to read it. From 2.20
on Nix hashes a fetched tree once, so the trees are fetched beforehand, and each evaluator begins with what Nix noted
of that.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelinegen import nix, process
from pipelinegen.errors import ToolError

_NOT_SHARED = ("fetcher-cache", "eval-cache")
"""Databases in which Nix looks up a source tree, or the value of an attribute."""

_FETCHING_MEMORY_MB = 1024


class CacheHomes:
    """A folder of such folders.

    Args:
        folder: theirs; temporary.
        seed: evaluates this expression once; what Nix notes meanwhile is in all of them.
    """

    def __init__(self, folder: Path, *, seed: str) -> None:
        self._folder = folder
        self._seed = self._empty("seed")
        nix.evaluate(
            seed,
            pure=True,
            allow_import_from_derivation=False,
            max_memory_mb=_FETCHING_MEMORY_MB,
            # Whatever is wrong, the evaluators say it.
            on_line=lambda _: None,
            on_idle=lambda: None,
            cache_home=self._seed,
        )

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A new one, for as long as an evaluator runs."""
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="evaluator-", ignore_cleanup_errors=True) as name:
            home = self._empty(name)
            for file in _files(self._seed / "nix"):
                shutil.copyfile(file, home / "nix" / file.name)
            yield home

    def _empty(self, name: str) -> Path:
        home = self._folder / name
        ours = home / "nix"
        try:
            ours.mkdir(parents=True, exist_ok=True)
            for entry in _shared(process.cache_home() / "nix"):
                (ours / entry.name).symlink_to(entry)
        except OSError as error:
            raise ToolError("cannot write a temporary folder", where=str(ours), why=error.strerror) from error
        return home


def _shared(folder: Path) -> Iterable[Path]:
    try:
        entries = [Path(entry.path) for entry in os.scandir(folder)]
    except OSError:
        return []  # Nix has cached nothing yet
    return [entry for entry in entries if not entry.name.startswith(_NOT_SHARED)]


def _files(folder: Path) -> Iterable[Path]:
    return [Path(entry.path) for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
