"""The part of a snapshot that is read when somebody asks for it: its tables at once, each record when it is wanted.

With thousands of outputs and dozens of snapshots nobody could wait for all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping
from functools import cached_property

from pydantic import TypeAdapter, ValidationError

from pipelinegen.attrpath import AttrPath
from pipelinegen.inventory.rules import Visit
from pipelinegen.memo import bitmaps
from pipelinegen.memo.model import Key, Reads, Record, Result

Index = tuple[AttrPath, Visit, int, int, bool, bool, bool, bool]
"""Of one record: its key, the numbers of its read set and of its witnesses, and its flags in the order of `Record`."""

WITNESSES = TypeAdapter(list[tuple[str, ...]])
INDEX = TypeAdapter(list[Index])

Found = Callable[[bool], None]
"""Told once when somebody has looked into a snapshot's records: whether they could be read."""


class Body:
    """All of a snapshot but its head. Whatever is wrong with it is said to `found`, and makes it empty."""

    def __init__(self, text: bytes, found: Found) -> None:
        self._text = text
        self._found = found
        self._reads: dict[int, Reads] = {}
        self._broken: set[Key] = set()

    @cached_property
    def _lines(self) -> list[bytes]:
        return self._text.split(b"\n")

    @cached_property
    def tables(self) -> tuple[dict[str, str], dict[str, str]]:
        """Files and folders."""
        return self._read[:2]

    @cached_property
    def index(self) -> dict[Key, tuple[int, Index]]:
        """Key → number of its line, and what its record is besides the result."""
        return self._read[2]

    @cached_property
    def _read(self) -> tuple[dict[str, str], dict[str, str], dict[Key, tuple[int, Index]]]:
        try:
            read = self._parse()
        except (ValueError, TypeError, IndexError, RecursionError):
            self._found(False)
            return {}, {}, {}
        self._found(True)
        return read

    def _parse(self) -> tuple[dict[str, str], dict[str, str], dict[Key, tuple[int, Index]]]:
        lines = self._lines
        files, folders = _read_table(lines[0]), _read_table(lines[1])
        names, packed = json.loads(lines[2])
        if not all(isinstance(name, str) for name in names):
            raise ValueError("a name of metadata is no text")
        self._table = [*files, *folders, *names]
        self._ends = len(files), len(files) + len(folders)
        self._sets = bitmaps.unpack(packed, len(self._table))
        self._witnesses = WITNESSES.validate_json(lines[3])
        index = INDEX.validate_json(lines[4])
        if len(lines) != 5 + len(index):
            raise ValueError("as many results as keys are needed")
        for _, _, reads, witnesses, *_ in index:
            if not (0 <= reads < len(self._sets) and 0 <= witnesses < len(self._witnesses)):
                raise ValueError("a record names what is not there")
        return files, folders, {entry[:2]: (line, entry) for line, entry in enumerate(index, 5)}

    @property
    def count(self) -> int:
        """Of records, as far as is known."""
        return len(self.index) - len(self._broken)

    def record(self, key: Key) -> Record:
        """Raises KeyError: there is none, or it is none."""
        line, (_, _, reads, witnesses, *flags) = self.index[key]
        try:
            result = Result.model_validate_json(self._lines[line])
        except ValidationError as error:
            if not self._broken:
                self._found(False)
            self._broken.add(key)
            raise KeyError(key) from error
        return Record(key, result, self._reads_of(reads), self._witnesses[witnesses], *flags)

    def _reads_of(self, number: int) -> Reads:
        """Equal read sets are one object."""
        if number not in self._reads:
            bitmap = self._sets[number]
            chosen: list[str] = []
            for begin, end in bitmaps.runs(bitmap):
                chosen += self._table[begin:end]
            first, second = ((bitmap & (1 << end) - 1).bit_count() for end in self._ends)
            self._reads[number] = Reads(
                frozenset(chosen[:first]), frozenset(chosen[first:second]), frozenset(chosen[second:])
            )
        return self._reads[number]


def _read_table(line: bytes) -> dict[str, str]:
    # Not by pydantic, which takes no names that are no UTF-8.
    table = json.loads(line)
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError("a table has other values than text")
    return table


class Table(Mapping[str, str]):
    """A table that is made when it is first asked for something."""

    def __init__(self, make: Callable[[], dict[str, str]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> dict[str, str]:
        return self._make()

    def __getitem__(self, key: str) -> str:
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    # What `Mapping` has in their place is right, but too slow for thousands of sets of thousands of names.

    def keys(self) -> KeysView[str]:
        return self._made.keys()

    def items(self) -> ItemsView[str, str]:
        return self._made.items()


class Records(Mapping[Key, Record]):
    """Records that are read one by one. Going over all keys reads all: what cannot be read is not there."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._known: dict[Key, Record] = {}

    def __getitem__(self, key: Key) -> Record:
        record = self._known.get(key)
        if record is None:
            record = self._known[key] = self._body.record(key)
        return record

    def __iter__(self) -> Iterator[Key]:
        return (key for key in self._body.index if key in self)

    def __len__(self) -> int:
        return self._body.count
