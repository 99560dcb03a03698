"""A source tree in the store as the memo sees it: its paths at once, its files' content when asked for.

The tree is read from the file system, never from git: what the evaluator sees counts. Paths are relative to the
tree's top, with `/` between names; bytes that are no UTF-8 are as in `os.fsdecode` (`surrogateescape`).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from pipelinegen.errors import ToolError
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.memo.model import Witness

FINGERPRINT_DIGITS = 32
"""Hexadecimal: 128 bits. Who can make two files of the same fingerprint can as well write what he wants."""

_READ_AT_ONCE = 1 << 20
"""Bytes of a file."""

_FILE, _FOLDER, _LINK, _OTHER = b"f", b"d", b"l", b"o"


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _type(entry: os.DirEntry[bytes]) -> bytes:
    if entry.is_symlink():
        return _LINK
    if entry.is_dir(follow_symlinks=False):
        return _FOLDER
    return _FILE if entry.is_file(follow_symlinks=False) else _OTHER


class _Scan:
    """One walk over a tree.

    Attributes:
        relevant: one line for each path that counts, in no order.
        entries: folder → its entries: the type in one byte, then the name.
        regular: the paths of all regular files, as text.
    """

    def __init__(self, top: bytes, ignored: Callable[[str], bool]) -> None:
        self._top = top
        self._ignored = ignored
        self.relevant: list[bytes] = []
        self.entries: dict[bytes, list[bytes]] = {}
        self.regular: set[str] = set()
        waiting = [b""]
        while waiting:
            waiting += self._read(waiting.pop())

    def _read(self, folder: bytes) -> list[bytes]:
        """Reads one folder. Returns the folders in it."""
        prefix = folder + b"/" if folder else b""
        entries = self.entries[folder] = []
        below: list[bytes] = []
        with os.scandir(self._top + b"/" + folder) as found:
            for entry in found:
                kind = _type(entry)
                path = prefix + entry.name
                entries.append(kind + entry.name)
                if kind == _FOLDER:
                    below.append(path)
                    continue
                text = _text(path)
                if kind == _FILE:
                    self.regular.add(text)
                # Where a link leads leaves no trace when it is read, not even in the fingerprint of its folder.
                if not self._ignored(text) or kind == _LINK:
                    self.relevant.append(kind + path + (_target(entry) if kind == _LINK else b""))
        # Any other folder is there when something in it is.
        if not entries and not self._ignored(_text(folder)):
            self.relevant.append(_FOLDER + folder)
        return below


def _target(entry: os.DirEntry[bytes]) -> bytes:
    """After a zero byte, which no name and no target holds."""
    return b"\0" + os.readlink(entry.path)  # noqa: PTH115 - pathlib knows no bytes


def witness_of(source: FlakeSource) -> Witness:
    """Which tree it is."""
    info = source.source_info
    # Without a hash Nix would have said nothing else of the tree; its store path is as good a name.
    return Witness(tree=str(info.get("narHash") or source.store_path), metadata=tuple(sorted(info)))


class Tree:
    """What is known of one source tree. Made by `scan`.

    Attributes:
        witness: which tree it is.
        paths: digest of all paths that count, their types, and the targets of symbolic links; not of exec bits.
        metadata: what Nix says of the source: name → JSON text.
    """

    def __init__(self, top: Path, witness: Witness, metadata: Mapping[str, str], scanned: _Scan) -> None:
        self._top = os.fsencode(top)
        self.witness = witness
        self.metadata = dict(metadata)
        self.paths = hashlib.sha256(b"\0\0".join(sorted(scanned.relevant))).hexdigest()
        self._entries = {_text(folder): entries for folder, entries in scanned.entries.items()}
        self._regular = scanned.regular
        self._files: dict[str, str | None] = {}
        self._folders: dict[str, str | None] = {}

    @classmethod
    def scan(cls, source: FlakeSource, ignored: Callable[[str], bool]) -> Tree:
        """Read the names of everything in the source tree; opens every folder and no file.

        Args:
            ignored: whether a path has been declared to be without effect. It is asked of what is no folder, and
                of empty folders; a folder that holds only ignored paths is ignored. Symbolic links count in any case.

        Raises:
            ToolError: the tree cannot be read.
        """
        info = source.source_info
        metadata = {name: json.dumps(info[name]) for name in sorted(info)}
        try:
            scanned = _Scan(os.fsencode(source.store_path), ignored)
        except OSError as error:
            raise ToolError(
                "cannot read the flake's source tree", where=source.store_path, why=error.strerror or str(error)
            ) from error
        return cls(Path(source.store_path), witness_of(source), metadata, scanned)

    def file(self, path: str) -> str | None:
        """The fingerprint of a regular file: `x:` or `-:` for its exec bit, and of its content's SHA-256 32 digits.

        Reads the file when it is first asked for. Null where there is no such file, where it is reached through a
        symbolic link, or where it cannot be read.
        """
        if path not in self._files:
            self._files[path] = self._read(path)
        return self._files[path]

    def folder(self, path: str) -> str | None:
        """The fingerprint of a folder: of the names and types of all its entries, ignored ones too.

        Args:
            path: "" for the top.

        Returns null where there is no such folder.
        """
        if path not in self._folders:
            entries = self._entries.get(path)
            self._folders[path] = None if entries is None else _digest(b"\0".join(sorted(entries)))
        return self._folders[path]

    def _read(self, path: str) -> str | None:
        if path not in self._regular:
            return None
        try:
            descriptor = os.open(self._top + b"/" + _bytes(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                state = os.fstat(descriptor)
                if not stat.S_ISREG(state.st_mode):
                    return None
                # The other way takes a large buffer for each file.
                small = state.st_size <= _READ_AT_ONCE
                digest = hashlib.sha256(file.readall()) if small else hashlib.file_digest(file, "sha256")
        except OSError:
            return None
        return ("x:" if state.st_mode & stat.S_IXUSR else "-:") + digest.hexdigest()[:FINGERPRINT_DIGITS]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:FINGERPRINT_DIGITS]
