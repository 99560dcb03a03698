"""What the server holds: caches, objects in them, and NARs that all caches share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.attic_server.keys import Keypair
from tests.attic_server.names import to_base32

PIECE = 256 * 1024
"""Bytes read or written at once."""


class Clock:
    """The server's time: the machine's, moved forwards at will."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        """Let time pass: tokens expire, objects grow old."""
        self.offset += seconds


class Damage(StrEnum):
    """How a NAR that the server believes to have cannot be had."""

    TRUNCATED = "truncated"
    """200, and a clean end too early."""
    ABORTED = "aborted"
    """200, and the connection breaks in the middle: a chunk is gone from the storage."""
    CORRUPT = "corrupt"
    """200, one byte is another."""
    MISSING = "missing"
    """404 although the narinfo is there."""
    INCOMPLETE = "incomplete"
    """503 IncompleteNar: a chunk is gone from the database. The only damage that another upload mends."""


@dataclass(frozen=True)
class NarInfo:
    """What a client says of a path."""

    cache: str
    store_path_hash: str
    store_path: str
    references: tuple[str, ...]
    nar_hash: str
    """64 hex digits."""
    nar_size: int
    deriver: str | None = None
    ca: str | None = None
    sigs: tuple[str, ...] = ()
    """Kept, never served."""


@dataclass
class Nar:
    """The content of a path; as stored, thus compressed if the server compresses."""

    hash: str
    size: int
    content: bytes | Path
    stored_size: int
    compression: str
    damage: Damage | None = None

    def read(self) -> Iterator[bytes]:
        """What is served, in pieces, with the damage that it has."""
        left = self.stored_size
        if self.damage in {Damage.TRUNCATED, Damage.ABORTED}:
            left //= 2
        corrupt = self.damage is Damage.CORRUPT
        for piece in self._pieces():
            sent = piece[:left]
            left -= len(sent)
            if corrupt:
                middle = len(sent) // 2
                sent = sent[:middle] + bytes([sent[middle] ^ 1]) + sent[middle + 1 :]
                corrupt = False
            if sent:
                yield sent

    def _pieces(self) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            for start in range(0, len(self.content), PIECE):
                yield self.content[start : start + PIECE]
            return
        with self.content.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


@dataclass
class StoredObject:
    """A path in a cache."""

    info: NarInfo
    created_at: float
    created_by: str | None
    last_accessed_at: float | None = None
    signature: tuple[Keypair, str] | None = None
    """The last signature, so that thousands of narinfos are quick."""


@dataclass
class Cache:
    """One binary cache."""

    name: str
    keypair: Keypair
    public: bool = False
    store_dir: str = "/nix/store"
    priority: int = 41
    upstream_keys: list[str] = field(default_factory=lambda: ["cache.nixos.org-1"])
    retention: int | None = None
    """Seconds; 0 keeps for ever, None is the server's default."""
    deleted: bool = False
    objects: dict[str, StoredObject] = field(default_factory=dict)

    def narinfo(self, stored: StoredObject, compression: str) -> str:
        """The signed text, fields in Attic's order."""
        info = stored.info
        if stored.signature is None or stored.signature[0] is not self.keypair:
            folder = info.store_path.rpartition("/")[0]
            references = ",".join(f"{folder}/{name}" for name in info.references)
            base32 = to_base32(bytes.fromhex(info.nar_hash))
            fingerprint = f"1;{info.store_path};sha256:{base32};{info.nar_size};{references}"
            stored.signature = (self.keypair, self.keypair.sign(fingerprint))
        lines = [
            f"StorePath: {info.store_path}",
            f"URL: nar/{info.store_path_hash}.nar",
            f"Compression: {compression}",
            f"NarHash: sha256:{info.nar_hash}",
            f"NarSize: {info.nar_size}",
            f"References: {' '.join(info.references)}",
            *([f"Deriver: {info.deriver}"] if info.deriver is not None else []),
            f"Sig: {stored.signature[1]}",
            *([f"CA: {info.ca}"] if info.ca is not None else []),
        ]
        return "\n".join(lines) + "\n"


class State:
    """All that is held; changes happen under `lock`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        self.lock = threading.RLock()
        self.caches: dict[str, Cache] = {}
        self.nars: dict[str, Nar] = {}
        self._files = 0

    def find_cache(self, name: str) -> Cache | None:
        """A cache that was not deleted."""
        cache = self.caches.get(name)
        return None if cache is None or cache.deleted else cache

    def new_file(self) -> Path:
        """Where the next large NAR goes."""
        with self.lock:
            self._files += 1
            return self.folder / f"{self._files}.chunk"

    def store(self, cache: Cache, info: NarInfo, nar: Nar | None, by: str | None) -> None:
        """A path is known from now on; one that was known is replaced, and is new again."""
        with self.lock:
            if nar is not None:
                before = self.nars.get(nar.hash)
                self.nars[nar.hash] = nar
                if before is not None and isinstance(before.content, Path):
                    before.content.unlink(missing_ok=True)  # two sent it at once; who reads it still has it open
            cache.objects[info.store_path_hash] = StoredObject(info, self.clock.now(), by)

    def collect(self, default_retention: int = 0) -> list[str]:
        """Attic's garbage collection: path by path, by age of creation and of the last download of the NAR.

        Args:
            default_retention: seconds for caches that have none of their own; 0 keeps for ever.

        Returns:
            The store paths that are gone, sorted.
        """
        gone: list[str] = []
        with self.lock:
            for cache in self.caches.values():
                period = default_retention if cache.retention is None else cache.retention
                if not period:
                    continue
                cutoff = self.clock.now() - period
                old = [
                    key
                    for key, stored in cache.objects.items()
                    if stored.created_at < cutoff and (stored.last_accessed_at or 0) < cutoff
                ]
                gone += [cache.objects.pop(key).info.store_path for key in old]
        self.reap()
        return sorted(gone)

    def reap(self) -> None:
        """Drop the NARs that no path has."""
        with self.lock:
            used = {stored.info.nar_hash for cache in self.caches.values() for stored in cache.objects.values()}
            for key in [key for key in self.nars if key not in used]:
                content = self.nars.pop(key).content
                if isinstance(content, Path):
                    content.unlink(missing_ok=True)
