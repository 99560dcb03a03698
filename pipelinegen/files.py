"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipelinegen import interrupts
from pipelinegen.errors import ToolError


@contextlib.contextmanager
def atomic_writer(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Open `path` for writing under a temporary name beside it; rename on success, remove on failure.

    The parent folder is made where missing. A reader sees the old file or the whole new one, also after
    a crash or on a full disk.

    Raises:
        ToolError: the file cannot be written (permission, disk full).
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with interrupts.held():  # no file may exist that `temporary` does not name yet
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise ToolError(f"cannot write {path.name}", where=str(path), why=error.strerror or str(error)) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write `data` (text as UTF-8) to `path` in one step; see `atomic_writer`."""
    with atomic_writer(path, mode=mode) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def is_folder(path: Path) -> bool:
    """Whether there is a folder; what no file can be called is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        ToolError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ToolError(f"cannot remove {path.name}", where=str(path), why=error.strerror or str(error)) from error
