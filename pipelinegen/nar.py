"""Store paths as archives in Nix's format (NAR), read piece by piece.

The format is that of Nix's manual, "Nix Archive (NAR) format"; the bytes are those of `nix-store --dump`. Doing
it here saves a process for each path, which for small paths takes longer than everything else.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pipelinegen.errors import StepFailedError

CHUNK_BYTES = 1 << 18


def _string(data: bytes) -> bytes:
    """A string as archives hold it: its length in eight bytes, itself, zeros up to a multiple of eight."""
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


def _strings(*parts: bytes) -> bytes:
    return b"".join(map(_string, parts))


_MAGIC = _strings(b"nix-archive-1")
_FILE = _strings(b"(", b"type", b"regular", b"contents")
_PROGRAM = _strings(b"(", b"type", b"regular", b"executable", b"", b"contents")
_LINK = _strings(b"(", b"type", b"symlink", b"target")
_FOLDER = _strings(b"(", b"type", b"directory")
_ENTRY = _strings(b"entry", b"(", b"name")
_NODE = _strings(b"node")
_END = _strings(b")")


def chunks(path: Path, *, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The archive of what is at `path` (a file, a link or a folder), in pieces of at most about `size` bytes.

    No more than about two pieces and the names of the folders that are open are in memory at once. The pieces
    are as large as they may be, however small the files are.

    Raises:
        StepFailedError: something cannot be read, changes meanwhile, or is no file, link or folder.
    """
    held: list[bytes] = []
    length = 0
    for piece in _pieces(os.fsencode(path), size):
        if length and length + len(piece) > size:
            yield b"".join(held)
            held, length = [], 0
        held.append(piece)
        length += len(piece)
    yield b"".join(held)


def sri_hash(path: Path) -> str:
    """The hash of what `chunks` gives, as lock files have it (`narHash`): `sha256-…=`."""
    digest = hashlib.sha256()
    for chunk in chunks(path):
        digest.update(chunk)
    return f"sha256-{base64.b64encode(digest.digest()).decode()}"


def _pieces(root: bytes, size: int) -> Iterator[bytes]:
    """The same in pieces as they arise, some of a few bytes."""
    yield _MAGIC
    # Folders may lie in each other more deeply than Python calls functions. The last one is being listed.
    open_folders: list[tuple[bytes, Iterator[bytes]]] = []
    path: bytes | None = root
    while path is not None:
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            yield _FOLDER
            open_folders.append((path, iter(_names(path))))
        else:
            yield from _leaf(path, mode, size)
            if open_folders:
                yield _END
        path = None
        while open_folders and path is None:
            folder, names = open_folders[-1]
            name = next(names, None)
            if name is not None:
                yield _ENTRY + _string(name) + _NODE
                path = folder + b"/" + name
            else:
                open_folders.pop()
                # Within another folder, that folder's entry ends with it.
                yield _END * 2 if open_folders else _END


def _leaf(path: bytes, mode: int, size: int) -> Iterator[bytes]:
    if stat.S_ISREG(mode):
        yield from _file(path, size)
    elif stat.S_ISLNK(mode):
        try:
            target = os.readlink(path)  # noqa: PTH115  # names are bytes, not always text
        except OSError as error:
            raise _unreadable(path, error) from error
        yield _LINK + _string(target) + _END
    else:
        raise StepFailedError(
            "a store path holds what no archive can", where=_shown(path), why="it is no file, link or folder"
        )


def _file(path: bytes, size: int) -> Iterator[bytes]:
    # Should it have become a pipe meanwhile, opening it must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise _changed(path)
        yield (_PROGRAM if before.st_mode & stat.S_IXUSR else _FILE) + before.st_size.to_bytes(8, "little")
        left = before.st_size
        while left:
            data = os.read(descriptor, min(left, size))
            if not data:
                raise _changed(path)
            left -= len(data)
            yield data
        if os.fstat(descriptor).st_size != before.st_size:
            raise _changed(path)
        yield bytes(-before.st_size % 8) + _END
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _mode(path: bytes) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError as error:
        raise _unreadable(path, error) from error


def _names(folder: bytes) -> list[bytes]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _unreadable(path: bytes, error: OSError) -> StepFailedError:
    return StepFailedError(
        "a store path cannot be read", where=_shown(path), why=error.strerror or type(error).__name__
    )


def _changed(path: bytes) -> StepFailedError:
    return StepFailedError(
        "a store path changed while it was read", where=_shown(path), hint="nix-store --verify-path says more"
    )
