"""Inventories of base commits, kept between runs. A missing or broken entry costs only time.

Whoever can write the folder decides what counts as unchanged: folders of pipelines of protected and of
unprotected refs must be two.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import zlib
from pathlib import Path

from pydantic import ValidationError

from pipelinegen import __version__
from pipelinegen.errors import ToolError
from pipelinegen.files import write_atomic
from pipelinegen.inventory.model import Inventory
from pipelinegen.values import Value

KEPT_ENTRIES = 50
MAX_BYTES = 512 * 1024 * 1024
"""Of one inventory as JSON; what is larger is cut off, and so refused: a compression bomb, not ours."""

SUFFIX = ".inventory.json.gz"
_TEMPORARY_SECONDS = 24 * 3600
"""Nobody writes one entry for a day: what is older was left by a writer that was killed."""


class Key(Value):
    """All that an inventory depends on.

    Attributes:
        commit: full id of the commit (a tree id is not enough: outputs may use `self.rev`).
        subdirectory: folder of `flake.nix` inside the repository, "" for the top.
        nix_version: such as `2.26.3`.
        options: `values.digest` of everything else that alters evaluation.
        generator_version: of pipelinegen.
    """

    commit: str
    subdirectory: str
    nix_version: str
    options: str
    generator_version: str = __version__


class _Entry(Value):
    """What is in a file. The key is there in full, so that a renamed file is not believed."""

    key: Key
    inventory: Inventory


class BaseCache:
    """A folder of inventories. Any number of processes may use it at once.

    Args:
        folder: made when first written to.
        kept: how many entries to keep; those used last stay.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT_ENTRIES) -> None:
        self.folder = folder
        self.kept = kept

    def get(self, key: Key) -> Inventory | None:
        """The inventory of `key`; null when there is none that can be believed. Never raises.

        An entry that is torn, foreign or of another format is removed.
        """
        file = self._file(key)
        try:
            with gzip.open(file) as stream:
                entry = _Entry.model_validate_json(stream.read(MAX_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, EOFError, zlib.error, ValidationError):
            entry = None
        if entry is None or entry.key != key:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # used now: pruning takes the others first
        return entry.inventory

    def put(self, key: Key, inventory: Inventory) -> str | None:
        """Keep `inventory`. Returns why that was not possible, if so; the cache is then as before."""
        try:
            text = _Entry(key=key, inventory=inventory).model_dump_json()
            # A fixed time in the header: the same inventory gives the same bytes.
            write_atomic(self._file(key), gzip.compress(text.encode(), compresslevel=6, mtime=0))
        except (ToolError, ValueError) as error:
            return f"the base evaluation was not kept: {error}"
        self._prune()
        return None

    def _file(self, key: Key) -> Path:
        return self.folder / (hashlib.sha256(key.model_dump_json().encode()).hexdigest() + SUFFIX)

    def _prune(self) -> None:
        entries: list[tuple[float, Path]] = []
        temporary: list[tuple[float, Path]] = []
        with contextlib.suppress(OSError):
            for file in self.folder.iterdir():
                # Another process may remove it between any two lines.
                with contextlib.suppress(OSError):
                    if file.name.endswith(SUFFIX):
                        entries.append((file.stat().st_mtime, file))
                    elif file.name.startswith(".") and SUFFIX in file.name:
                        temporary.append((file.stat().st_mtime, file))
        entries.sort(reverse=True)
        newest = entries[0][0] if entries else 0.0
        leftover = [entry for entry in temporary if entry[0] < newest - _TEMPORARY_SECONDS]
        for _, file in [*entries[self.kept :], *leftover]:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
