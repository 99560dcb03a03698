"""Snapshots as bytes: what comes back, what is refused, what is read when."""

from __future__ import annotations

import dataclasses
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.memo import codec
from pipelinegen.memo.model import Key, Reads, Record, Result, Snapshot
from tests.unit.memo.snapshots import SEEN_AT, fleet, reads, record, result, snapshot

HOSTILE = 'a\n"b\\ \udcff\udc80 \x01 🦊'
"""A file may be called like that; the escaped bytes are no UTF-8."""

FULL = snapshot(
    record('packages."a.b\n🦊"', reads("flake.nix", HOSTILE, "a", folders=["", HOSTILE], metadata=["rev", "own"])),
    record("packages.b", reads("flake.nix", "a", "b"), "sha256-1", "sha256-2"),
    record("packages.c", reads()),
    Record((("packages",), "set"), Result(names=()), reads("flake.nix"), (SEEN_AT,)),
    Record((("checks",), "set"), Result(strange=True), reads("flake.nix"), (SEEN_AT,), coupled=True),
    Record((("checks",), "item"), Result(), reads("flake.nix"), (SEEN_AT,), backwards=True),
    Record((("formatter",), "item"), Result(), reads("flake.nix"), (SEEN_AT,), reads_metadata=True),
    Record((("hydraJobs",), "item"), Result(), reads(), (SEEN_AT,), builds=True),
)


def parts(of: Snapshot = FULL) -> list[Any]:
    """The lines of a snapshot, parsed."""
    return [json.loads(line) for line in gzip.decompress(codec.encode(of)).split(b"\n")]


def joined(lines: list[Any]) -> bytes:
    return gzip.compress("\n".join(json.dumps(line) for line in lines).encode())


def test_what_was_encoded_comes_back() -> None:
    assert codec.decode(codec.encode(FULL)) == FULL


def test_a_snapshot_of_nothing_comes_back() -> None:
    assert codec.decode(codec.encode(snapshot())) == snapshot()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Record) if field.name != "key"])
def test_no_part_of_a_record_is_lost(name: str) -> None:
    plain = record("packages.x", reads("a"))
    other: dict[str, object] = {
        "result": result("packages.x", "2"),
        "reads": reads("a", "b"),
        "witnesses": ("sha256-1", "sha256-2"),
    }
    changed = dataclasses.replace(plain, **{name: other.get(name, True)})  # type: ignore[arg-type]
    assert changed != plain
    assert codec.decode(codec.encode(snapshot(changed))).records[plain.key] == changed


NAMES = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), min_size=1)
SETS = st.frozensets(NAMES, max_size=6)


@given(st.lists(st.builds(Reads, SETS, SETS, SETS), max_size=6))
def test_any_read_sets_come_back(sets: list[Reads]) -> None:
    written = snapshot(*(record(f"packages.p{number}", one) for number, one in enumerate(sets)))
    assert codec.decode(codec.encode(written)) == written


def test_the_order_of_what_is_written_makes_no_difference() -> None:
    turned = dataclasses.replace(
        FULL,
        files=dict(reversed([*FULL.files.items()])),
        folders=dict(reversed([*FULL.folders.items()])),
        metadata=dict(reversed([*FULL.metadata.items()])),
        records=dict(reversed([*FULL.records.items()])),
    )
    assert list(turned.files) != list(FULL.files)
    assert codec.encode(turned) == codec.encode(FULL)


def test_the_same_snapshot_gives_the_same_bytes() -> None:
    again = codec.encode(codec.decode(codec.encode(FULL)))
    assert again == codec.encode(FULL)
    assert again[4:8] == bytes(4), "the time in the header of gzip"


def test_equal_read_sets_are_written_once_and_are_one_object() -> None:
    same = snapshot(*(record(f"packages.p{number}", reads("a", "b")) for number in range(3)))
    names, packed = parts(same)[3]
    assert (names, packed) == ([], [[0, 2]])
    first, *others = codec.decode(codec.encode(same)).records.values()
    assert all(other.reads is first.reads for other in others)


def test_a_hundred_hosts_with_two_thousand_files_take_well_under_a_megabyte() -> None:
    assert len(codec.encode(fleet(100, 2000))) < 100_000


def test_a_record_that_reads_what_the_snapshot_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reads 'b'"):
        codec.encode(dataclasses.replace(snapshot(record("packages.x", reads("a", "b"))), files={"a": "-:0"}))


class TestReadingWhenAsked:
    def test_nothing_but_the_head_is_read_before_somebody_looks(self) -> None:
        told: list[bool] = []
        found = codec.decode(joined([parts()[0], "no table"]), told.append)
        assert found.tree == FULL.tree
        assert told == []

    @pytest.mark.parametrize("field", ["files", "folders", "records"])
    def test_whoever_looks_first_is_told_of_once(self, field: str) -> None:
        told: list[bool] = []
        found = codec.decode(codec.encode(FULL), told.append)
        assert len(getattr(found, field)) == len(getattr(FULL, field))
        assert (found.files, found.folders, found.records) == (FULL.files, FULL.folders, FULL.records)
        assert told == [True]

    def test_a_record_is_read_once(self) -> None:
        found = codec.decode(codec.encode(FULL))
        key: Key = (("packages", "b"), "item")
        assert found.records[key] is found.records[key]
        assert found.records.get((("packages", "nobody"), "item")) is None


class TestRefused:
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
    def test_torn_bytes(self, share: float) -> None:
        data = codec.encode(FULL)
        with pytest.raises(ValueError, match="gzip"):
            codec.decode(data[: int(len(data) * share)])

    def test_every_flipped_bit_that_changes_anything(self) -> None:
        data = codec.encode(FULL)
        harmless = 0
        for position in range(len(data)):
            flipped = bytearray(data)
            flipped[position] ^= 0x10
            try:
                found = codec.decode(bytes(flipped))
            except ValueError:
                continue
            assert found == FULL, f"byte {position}"
            harmless += 1
        assert harmless <= 8, "in the header's time and system, and in the last bits of a block"

    def test_something_after_the_end(self) -> None:
        with pytest.raises(ValueError, match="member"):
            codec.decode(codec.encode(FULL) + codec.encode(FULL))

    def test_a_compression_bomb(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = codec.encode(FULL)
        size = len(gzip.decompress(data))
        monkeypatch.setattr(codec, "MAX_PLAIN_BYTES", size + 1)
        assert codec.decode(data) == FULL
        monkeypatch.setattr(codec, "MAX_PLAIN_BYTES", size - 1)
        with pytest.raises(ValueError, match="size"):
            codec.decode(data)

    def test_what_could_not_be_read_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(codec, "MAX_PLAIN_BYTES", 1000)
        with pytest.raises(ValueError, match="more than 1000"):
            codec.encode(FULL)

    @pytest.mark.parametrize(
        "content",
        [b"", b"not gzip", gzip.compress(b""), gzip.compress(b"no JSON"), gzip.compress(b"[]"), gzip.compress(b"{}")],
        ids=["nothing", "no gzip", "an empty file", "no JSON", "no object", "another object"],
    )
    def test_what_is_foreign(self, content: bytes) -> None:
        with pytest.raises(ValueError, match=r"."):
            codec.decode(content)

    def test_another_format(self) -> None:
        lines = parts()
        lines[0]["world"]["format"] += 1
        with pytest.raises(ValueError, match="another format"):
            codec.decode(joined(lines))


def _without(line: int) -> list[Any]:
    lines = parts()
    del lines[line]
    return lines


def _with(line: int, value: object) -> list[Any]:
    lines = parts()
    lines[line] = value
    return lines


class TestForeignTables:
    """Whole, but not what we write: everything in them is then unknown."""

    @pytest.mark.parametrize(
        "lines",
        [
            *(_without(line) for line in range(1, 7)),
            _with(1, []),
            _with(1, {"a": 1}),
            _with(2, None),
            _with(3, {}),
            _with(3, [[1], []]),
            _with(3, [[], [[0, 10**15]]]),
            _with(3, [[], []]),
            _with(3, 3),
            _with(4, []),
            _with(4, [[1]]),
            _with(5, [[["packages"], "both", 0, 0, False, False, False]]),
            _with(5, [[["packages"], "item", -1, 0, False, False, False]] * (len(parts()) - 6)),
            [*parts(), {}],
        ],
    )
    def test_they_are_empty(self, lines: list[Any]) -> None:
        told: list[bool] = []
        found = codec.decode(joined(lines), told.append)
        assert dict(found.records) == {}
        assert dict(found.files) == dict(found.folders) == {}
        assert told == [False]

    def test_depth_without_end_is_no_table(self) -> None:
        head = json.dumps(parts()[0])
        found = codec.decode(gzip.compress("\n".join([head, "[" * 100_000]).encode()))
        assert len(found.files) == 0

    def test_a_record_that_is_none_is_not_there_and_the_others_are(self) -> None:
        lines = parts()
        keys = [(tuple(path), visit) for path, visit, *_ in lines[5]]
        lines[6 + 2] = {"output": {"path": 3}}
        told: list[bool] = []
        found = codec.decode(joined(lines), told.append)
        assert set(found.records) == set(keys) - {keys[2]}
        assert dict(found.records.items()) == {key: FULL.records[key] for key in keys if key != keys[2]}
        assert len(found.records) == len(keys) - 1
        assert keys[2] not in found.records
        assert told == [True, False]
