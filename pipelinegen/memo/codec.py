"""Snapshots as bytes: lines of JSON in gzip. Read sets are bitmaps over the snapshot's own tables, equal ones once.

The lines: head (`_Head`), files, folders, read sets (packed by `bitmaps`, over files, folders and names of metadata
one after the other), lists of witnesses, the keys of records (each an `Index`), and then one line for each with its
result. Whoever reads a snapshot pays for what he looks at; see `late`.
"""

from __future__ import annotations

import gzip
import json
import zlib

from pipelinegen.memo import bitmaps
from pipelinegen.memo.late import INDEX, WITNESSES, Body, Found, Index, Records, Table
from pipelinegen.memo.model import FORMAT, Reads, Snapshot, Witness, World
from pipelinegen.values import Value

MAX_PLAIN_BYTES = 256 * 1024 * 1024
"""Of one snapshot without compression. What is larger is refused: a compression bomb, not ours."""

_WINDOW_OF_GZIP = 31
"""For zlib: the largest window, with gzip's header and trailer (zlib's manual, `inflateInit2`)."""


class _Head(Value):
    """All of a snapshot that is read at once. The world is there in full, so that a renamed file is not believed."""

    world: World
    tree: Witness
    paths: str
    metadata: dict[str, str]


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot as bytes; the same one gives the same bytes.

    Raises:
        ValueError: it contradicts itself (a record reads what is in no table), or is too large to be read again.
    """
    files, folders = sorted(snapshot.files), sorted(snapshot.folders)
    records = [snapshot.records[key] for key in sorted(snapshot.records)]
    names = sorted({name for record in records for name in record.reads.metadata})
    places = _Places(files, folders, names)
    witnesses: dict[tuple[str, ...], int] = {}
    index: list[Index] = [
        (
            *record.key,
            places.number(record.reads),
            witnesses.setdefault(record.witnesses, len(witnesses)),
            record.coupled,
            record.backwards,
            record.reads_metadata,
            record.builds,
        )
        for record in records
    ]
    head = _Head(
        world=snapshot.world,
        tree=snapshot.tree,
        paths=snapshot.paths,
        metadata={name: snapshot.metadata[name] for name in sorted(snapshot.metadata)},
    )
    lines = [
        head.model_dump_json().encode(),
        _json({path: snapshot.files[path] for path in files}),
        _json({path: snapshot.folders[path] for path in folders}),
        _json([names, places.packed]),
        WITNESSES.dump_json(list(witnesses)),
        INDEX.dump_json(index),
        *(record.result.model_dump_json(exclude_defaults=True).encode() for record in records),
    ]
    plain = b"\n".join(lines)
    if len(plain) > MAX_PLAIN_BYTES:
        raise ValueError(f"it takes {len(plain)} bytes, more than {MAX_PLAIN_BYTES}")
    # A fixed time in the header: the same snapshot gives the same bytes.
    return gzip.compress(plain, compresslevel=6, mtime=0)


def decode(data: bytes, found: Found = lambda _: None) -> Snapshot:
    """The snapshot that these bytes are. Its tables and records are read when somebody asks for them.

    A snapshot whose tables turn out to be no tables has no records; a record that is none is not there.

    Raises:
        ValueError: they are torn, damaged, too large, or of another format.
    """
    unpacker = zlib.decompressobj(_WINDOW_OF_GZIP)
    try:
        plain = unpacker.decompress(data, MAX_PLAIN_BYTES)
    except zlib.error as error:
        raise ValueError("no sound gzip") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("not one whole gzip member of a permitted size")
    first, _, rest = plain.partition(b"\n")
    head = _Head.model_validate_json(first)
    if head.world.format != FORMAT:
        raise ValueError("another format")
    body = Body(rest, found)
    return Snapshot(
        world=head.world,
        tree=head.tree,
        paths=head.paths,
        files=Table(lambda: body.tables[0]),
        folders=Table(lambda: body.tables[1]),
        metadata=head.metadata,
        records=Records(body),
    )


def _json(value: object) -> bytes:
    """In ASCII: names in a file system may be no UTF-8."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


class _Places:
    """Gives read sets their numbers, and packs them."""

    def __init__(self, files: list[str], folders: list[str], names: list[str]) -> None:
        self._files = {path: place for place, path in enumerate(files)}
        self._folders = {path: place for place, path in enumerate(folders, len(files))}
        self._names = {name: place for place, name in enumerate(names, len(files) + len(folders))}
        self._known: dict[Reads, int] = {}
        self._same: dict[int, int] = {}
        self._before = Reads()
        self.packed: list[bitmaps.Packed] = []

    def number(self, reads: Reads) -> int:
        # Thousands of records may share one object; comparing large sets by content takes its time.
        known = self._same.get(id(reads))
        if known is None:
            known = self._same[id(reads)] = self._known.setdefault(reads, len(self.packed))
            if known == len(self.packed):
                self.packed.append(bitmaps.pack(self._difference(reads)))
                self._before = reads
        return known

    def _difference(self, reads: Reads) -> list[int]:
        before = self._before
        try:
            return sorted(
                [
                    *(self._files[path] for path in reads.files ^ before.files),
                    *(self._folders[path] for path in reads.folders ^ before.folders),
                    *(self._names[name] for name in reads.metadata ^ before.metadata),
                ]
            )
        except KeyError as error:
            raise ValueError(f"a record reads {error.args[0]!r}, of which the snapshot says nothing") from error
