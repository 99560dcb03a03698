"""Files that hold secrets for as long as a job lasts: nobody else can open them, and no artifact can hold them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelinegen import interrupts, process
from pipelinegen.errors import ToolError

PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # folders of one's own are made there, mode 0700

ROOM_BYTES = 64 * 1024
"""More than tokens, keys and settings of one job together have."""


@contextlib.contextmanager
def private_folder(*near: Path) -> Iterator[Path]:
    """A folder that only this user can open, outside of the repositories of `near` and of the working folder.

    Removed at the end, whatever happens (a signal while it is made or removed waits); only `kill -9` leaves it.

    Raises:
        ToolError: there is no place for it.
    """
    with contextlib.ExitStack() as stack:
        with interrupts.held():
            folder = _make({_top(one) for one in (*near, Path.cwd())} - {Path("/")})
            stack.callback(_remove, folder)
        yield folder


def _make(repositories: set[Path]) -> Path:
    wanted = process.environment().get("TMPDIR")
    for place in (wanted, *PLACES):
        # Nix separates files by colons, and a # begins a comment in its settings.
        if not place or not place.startswith("/") or re.search(r"[:#\s]", place):
            continue
        if any(Path(place).resolve().is_relative_to(top) for top in repositories):
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix="pipelinegen-", dir=place))
        except OSError:
            continue  # not there, or not ours
        if _has_room(folder):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
    raise ToolError(
        "there is no place for the private files of this job",
        why=f"none of {', '.join(filter(None, (wanted, *PLACES)))} is writable and outside of the repository",
        hint="set TMPDIR to such a folder",
    )


def _has_room(folder: Path) -> bool:
    """Whether a file can be written there: on a full disk folders may still be made."""
    probe = folder / "probe"
    try:
        probe.write_bytes(bytes(ROOM_BYTES))
        probe.unlink()
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    with interrupts.held():
        shutil.rmtree(folder, ignore_errors=True)


def _top(folder: Path) -> Path:
    """The top of the work tree that a folder is in; without one, the folder itself."""
    folder = folder.resolve()
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)


def write_private(file: Path, text: str) -> Path:
    """Write a new file that only this user can read; its name."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as opened:  # noqa: PTH123  # the descriptor has the mode
        opened.write(text)
    return file
