"""Files that hold secrets for as long as a job lasts: nobody else can open them, and no artifact can hold them."""

from __future__ import annotations

import contextlib
import fcntl
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

_PREFIX = "pipelinegen-private-"


@contextlib.contextmanager
def private_folder(*near: Path) -> Iterator[Path]:
    """A folder that only this user can open, outside of the repositories of `near`, of the working folder and of the
    job (`CI_PROJECT_DIR`, of which alone artifacts are taken).

    Removed at the end, whatever happens (a signal while it is made or removed waits); only `kill -9` leaves it,
    for the next one to remove that is made in the same place by the same user.

    Raises:
        ToolError: there is no place for it.
    """
    with contextlib.ExitStack() as stack:
        with interrupts.held():
            folder, lock = _make({_top(one) for one in (*near, Path.cwd(), *_of_job())} - {Path("/")})
            stack.callback(os.close, lock)
            stack.callback(_remove, folder)
        yield folder


def _of_job() -> tuple[Path, ...]:
    project = process.environment().get("CI_PROJECT_DIR")
    return (Path(project),) if project else ()


def _make(repositories: set[Path]) -> tuple[Path, int]:
    """The folder, and a descriptor that is to be closed when it is gone."""
    wanted = process.environment().get("TMPDIR")
    for place in (wanted, *PLACES):
        # Nix separates files by colons, and a # begins a comment in its settings.
        if not place or not place.startswith("/") or re.search(r"[:#\s]", place):
            continue
        if any(Path(place).resolve().is_relative_to(top) for top in repositories):
            continue
        _remove_left_behind(Path(place))
        try:
            made = Path(tempfile.mkdtemp(prefix="pipelinegen-new-", dir=place))
        except OSError:
            continue  # not there, or not ours
        folder = made.with_name(made.name.replace("pipelinegen-new-", _PREFIX))
        try:
            lock = _locked(made)
        except OSError:
            made.rmdir()
            continue  # a network's file system without locks
        # Only under this name is it looked at by others, to whom an unlocked folder is one whose owner is dead.
        made.rename(folder)
        if _has_room(folder):
            return folder, lock
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)
    raise ToolError(
        "there is no place for the private files of this job",
        why=f"none of {', '.join(filter(None, (wanted, *PLACES)))} is writable and outside of the repository",
        hint="set TMPDIR to such a folder",
    )


def _locked(folder: Path) -> int:
    """Lock a folder until the descriptor is closed, which the kernel does for whoever dies.

    Raises:
        BlockingIOError: somebody else has locked it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_left_behind(place: Path) -> None:
    """Remove the folders of our user whose makers were killed.

    A lock tells the living from the dead where a process id does not: also between containers that share a folder.
    """
    try:
        found = [one for one in place.glob(f"{_PREFIX}*") if one.lstat().st_uid == os.geteuid()]
    except OSError:
        return
    for folder in found:
        with contextlib.suppress(OSError):  # locked, or somebody else was quicker
            lock = _locked(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


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
