"""Folders for Nix's own caches, one for each evaluator whose reading is recorded.

What one evaluator leaves in `$XDG_CACHE_HOME/nix` would spare the next one reading the same files (since Nix 2.20 it
remembers what a file or folder was copied to the store as). What was downloaded may be shared.

An evaluator must not begin with reading everything, either: others that are at work would seem to read it. From 2.20
on Nix hashes each fetched tree once, the flake's own and its inputs'. So all that is here is fetched beforehand, and
each evaluator begins with what Nix noted of that, which is also kept for the next run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelinegen import nix, process
from pipelinegen.errors import ToolError
from pipelinegen.files import write_atomic

_NOT_SHARED = ("fetcher-cache", "eval-cache")
"""Databases in which Nix looks up a source tree, or the value of an attribute."""

_MOST_KEPT_BYTES = 4 * 1024 * 1024
"""Of one file: fetched trees come and go, and what Nix notes of them stays."""

_FETCHING_MEMORY_MB = 1024


class CacheHomes:
    """A folder of such folders.

    Args:
        folder: theirs; temporary.
        seed: evaluates this expression once, which fetches trees and does nothing else; what Nix notes meanwhile is
            in all of them.
        kept: where that is kept for the next run; null keeps nothing.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, seed: str, kept: Path | None = None) -> None:
        self._folder = folder
        self._seed = self._empty("seed")
        if kept is not None:
            _copy(kept, self._seed / "nix")
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
        if kept is not None:
            _keep(self._seed / "nix", kept)

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A new one, for as long as an evaluator runs.

        Raises:
            ToolError: it cannot be written.
        """
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="home-", ignore_cleanup_errors=True) as name:
            try:
                home = self._empty(name)
                _copy(self._seed / "nix", home / "nix")
            except OSError as error:
                raise ToolError(
                    "cannot write a temporary folder",
                    where=str(self._folder),
                    why=error.strerror,
                    hint="make room, name another folder by TMPDIR, or use --no-memo, which needs none",
                ) from error
            yield home

    def _empty(self, name: str) -> Path:
        home = self._folder / name
        (home / "nix").mkdir(parents=True, exist_ok=True)
        for entry in _entries(process.nix_cache_home()):
            if not entry.name.startswith(_NOT_SHARED):
                (home / "nix" / entry.name).symlink_to(entry)
        # Of the git that Nix runs: the socket of its credential cache.
        for entry in _entries(process.cache_home()):
            if entry.name == "git":
                (home / entry.name).symlink_to(entry)
        return home


def _entries(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder.resolve())]
    except OSError:
        return []  # nothing has been cached yet


def _databases(folder: Path) -> Iterable[Path]:
    return [file for file in _entries(folder) if file.suffix == ".sqlite" and not file.is_symlink()]


def _copy(source: Path, target: Path) -> None:
    for file in _databases(source):
        shutil.copyfile(file, target / file.name)


def _keep(source: Path, target: Path) -> None:
    """What cannot be kept is found out again."""
    with contextlib.suppress(OSError, ToolError):
        for file in _databases(source):
            old = target / file.name
            if file.stat().st_size > _MOST_KEPT_BYTES:
                old.unlink(missing_ok=True)
            elif not old.exists() or old.read_bytes() != file.read_bytes():
                write_atomic(old, file.read_bytes())
