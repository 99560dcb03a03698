"""Snapshots, kept between runs. A missing or broken one costs only time.

Any number of processes may use a folder at once: a snapshot is one file, named by its world and its tree, that
appears whole or not at all. Whoever can write the folder decides what counts as known: folders of pipelines of
protected and of unprotected refs must be two.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelinegen.errors import ToolError
from pipelinegen.files import remove, write_atomic
from pipelinegen.memo import codec
from pipelinegen.memo.model import Snapshot, Witness, World
from pipelinegen.values import Value

KEPT_SNAPSHOTS = 50
MAX_BYTES = 64 * 1024 * 1024
"""Of all snapshots together, as files."""

SUFFIX = ".memo.json.gz"
_TEMPORARY_SECONDS = 24 * 3600
"""Nobody writes one snapshot for a day: what is older was left by a writer that was killed."""


@dataclass(frozen=True)
class StoreState:
    """What a folder of snapshots holds.

    Attributes:
        snapshots: how many, of all worlds.
        bytes: of their files.
        newest: when one was last written or used, in seconds since 1970; null where there is none.
        trouble: why the folder cannot be read, if so.
    """

    snapshots: int
    bytes: int
    newest: float | None
    trouble: str | None = None


@dataclass(frozen=True, order=True)
class _File:
    """A file of the folder; the order is by age, oldest first, modified in nanoseconds since 1970."""

    modified: int
    path: Path
    size: int


def export(snapshot: Snapshot) -> bytes:
    """The snapshot as bytes that travel; the same one gives the same bytes.

    Raises:
        ValueError: it contradicts itself, or is too large.
    """
    return codec.encode(snapshot)


def import_(data: bytes) -> Snapshot | None:
    """The snapshot that `export` made these bytes of, read to its end; null where anything in it is wrong."""
    wrong: list[bool] = []
    try:
        snapshot = codec.decode(data, lambda sound: None if sound else wrong.append(True))
    except ValueError:
        return None
    set(snapshot.records)
    return None if wrong else snapshot


class MemoStore:
    """A folder of snapshots. Any number of processes may use it at once.

    Args:
        folder: made when first written to.
        kept: how many snapshots to keep; those used last stay.
        max_bytes: what their files may take together.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT_SNAPSHOTS, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self.kept = kept
        self.max_bytes = max_bytes

    def snapshots(self, world: World, first: Witness) -> Iterator[Snapshot]:
        """The snapshots of a world: that of the tree `first`, then the others, those used last before the rest.

        Each is read when it is asked for, its records when they are. One that somebody looks into counts as used.
        What is torn, foreign or of another format is removed. Never raises.
        """
        now = time.time_ns()
        prefix = _digest(world) + "-"
        exact = self._place(world, first)
        files: list[_File] = []
        with contextlib.suppress(OSError):
            files = [file for file in self._listed() if file.path.name.startswith(prefix)]
        files.sort(key=lambda file: file.path != exact)
        for age, file in enumerate(files):
            # One after the other even where all are used: looking through them must not turn their order round.
            snapshot = self._load(file, world, now - age * 1000)
            if snapshot is not None:
                yield snapshot

    def save(self, snapshot: Snapshot) -> str | None:
        """Keep `snapshot` instead of what was kept of its tree.

        Returns why that was not possible, if so; the folder is then as before. Never raises.
        """
        place = self._place(snapshot.world, snapshot.tree)
        try:
            data = export(snapshot)
            if len(data) > self.max_bytes:
                return f"the evaluation was not remembered: it takes {len(data)} bytes, more than {self.max_bytes}"
            write_atomic(place, data)
        except ToolError as error:
            return f"the evaluation was not remembered: {error}" + (f" ({error.why})" if error.why else "")
        except ValueError as error:
            return f"the evaluation was not remembered: {error}"
        self._prune(place)
        return None

    def drop(self, world: World | None = None) -> int:
        """Remove all snapshots of a world, or of all. Returns how many there were.

        Raises:
            ToolError: one cannot be removed; the others are. What is wrong would be used again.
        """
        prefix = "" if world is None else _digest(world) + "-"
        trouble: ToolError | None = None
        removed = 0
        try:
            files = self._listed()
        except FileNotFoundError:
            return 0
        except OSError as error:
            why = error.strerror or str(error)
            raise ToolError("cannot drop what is remembered", where=str(self.folder), why=why) from error
        for file in files:
            if not file.path.name.startswith(prefix):
                continue
            try:
                remove(file.path)
                removed += 1
            except ToolError as error:
                trouble = error
        if trouble is not None:
            raise trouble
        return removed

    def describe(self) -> StoreState:
        """What is there. Never raises."""
        try:
            files = self._listed()
        except FileNotFoundError:
            return StoreState(0, 0, None)
        except OSError as error:
            return StoreState(0, 0, None, error.strerror or str(error))
        newest = files[0].modified / 1e9 if files else None
        return StoreState(len(files), sum(file.size for file in files), newest)

    def _place(self, world: World, tree: Witness) -> Path:
        return self.folder / f"{_digest(world)}-{_digest(tree)}{SUFFIX}"

    def _load(self, file: _File, world: World, used: int) -> Snapshot | None:
        def found(sound: bool) -> None:
            with contextlib.suppress(OSError):
                if sound:
                    os.utime(file.path, ns=(used, used))
                else:
                    file.path.unlink(missing_ok=True)

        snapshot: Snapshot | None = None
        if file.size <= self.max_bytes:
            try:
                snapshot = codec.decode(file.path.read_bytes(), found)
            except OSError:
                return None  # removed meanwhile, or not ours to read
            except ValueError:
                snapshot = None
        if snapshot is None or snapshot.world != world or file.path != self._place(world, snapshot.tree):
            found(False)
            return None
        return snapshot

    def _listed(self, *, temporary: bool = False) -> list[_File]:
        """The snapshots in the folder, newest first; or what writers have not finished.

        Raises:
            OSError: the folder cannot be read.
        """
        found: list[_File] = []
        for path in self.folder.iterdir():
            ours = path.name.startswith(".") and SUFFIX in path.name if temporary else path.name.endswith(SUFFIX)
            # Another process may remove it between any two lines.
            with contextlib.suppress(OSError):
                if ours and stat.S_ISREG((state := path.lstat()).st_mode):
                    found.append(_File(state.st_mtime_ns, path, state.st_size))
        return sorted(found, reverse=True)

    def _prune(self, saved: Path) -> None:
        """Removes what is too much; never what was just saved, whatever the clock of another machine says."""
        with contextlib.suppress(OSError):
            files = sorted(self._listed(), key=lambda file: file.path != saved)
            total = 0
            superfluous: list[_File] = []
            for number, file in enumerate(files):
                total += file.size
                if number >= self.kept or total > self.max_bytes:
                    superfluous.append(file)
            day_ago = files[0].modified - _TEMPORARY_SECONDS * 10**9 if files else 0
            superfluous += [file for file in self._listed(temporary=True) if file.modified < day_ago]
            for file in superfluous:
                with contextlib.suppress(OSError):
                    file.path.unlink(missing_ok=True)


def _digest(value: Value) -> str:
    # Not as pydantic writes it, which fails at text that is no Unicode: a subdirectory may be called anything.
    text = json.dumps(value.model_dump(), ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
