"""What is remembered of evaluations here, and whether this machine can say what evaluation reads."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelinegen.inotify import Inotify
from pipelinegen.memo.last import Last, read_last
from pipelinegen.memo.store import MemoStore

WATCHES_FILE = Path("/proc/sys/fs/inotify/max_user_watches")
"""How many folders one user may watch at once (inotify(7))."""


@dataclass(frozen=True)
class MemoFacts:
    """The memo's folder.

    Attributes:
        snapshots: how many trees are remembered.
        size: bytes of all.
        trouble: why this user cannot write there; null where that is possible.
        last: how much was known at the last inspection; null where nobody kept it.
    """

    folder: Path
    snapshots: int = 0
    size: int = 0
    trouble: str | None = None
    last: Last | None = None


@dataclass(frozen=True)
class RecordingFacts:
    """What the kernel says of opened files.

    Attributes:
        linux: whether this is Linux.
        trouble: why it tells nothing; null where it does.
        watches: how many folders this user may watch; null where that is not known.
    """

    linux: bool
    trouble: str | None = None
    watches: int | None = None


def read_memo(folder: Path) -> MemoFacts:
    """Look into the memo's folder, without making it."""
    described = MemoStore(folder).describe()
    place = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    trouble = None if os.access(place, os.W_OK | os.X_OK) and place.is_dir() else f"{place} cannot be written to"
    return MemoFacts(folder, described.snapshots, described.bytes, trouble, read_last(folder))


def read_recording() -> RecordingFacts:
    """Watch a folder, open a file in it, and see whether that is told."""
    if not sys.platform.startswith("linux"):
        return RecordingFacts(linux=False)
    try:
        watches = int(WATCHES_FILE.read_text("ascii"))
    except (OSError, ValueError):
        watches = None
    try:
        seen = _sees_what_is_opened()
    except OSError as error:
        return RecordingFacts(linux=True, trouble=error.strerror or str(error), watches=watches)
    trouble = None if seen else "a file was opened, and the kernel did not tell"
    return RecordingFacts(linux=True, trouble=trouble, watches=watches)


def _sees_what_is_opened() -> bool:
    queue = Inotify()
    try:
        with tempfile.TemporaryDirectory(prefix="pipelinegen-doctor-") as name:
            file = Path(name, "opened")
            file.write_bytes(b"")
            queue.watch(os.fsencode(name))
            file.read_bytes()
            return any(event.name == b"opened" for event in queue.events())
    finally:
        queue.close()
