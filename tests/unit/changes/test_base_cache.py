"""The cache of base inventories: what is believed, what is thrown away, and what never hurts."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import pytest

from pipelinegen.changes import base_cache
from pipelinegen.changes.base_cache import BaseCache, Key
from pipelinegen.values import digest
from tests.unit.changes.inventories import failure, inventory, output

KEY = Key(commit="a" * 40, subdirectory="", nix_version="2.26.3", options=digest({"impure": False}))
INVENTORY = inventory([output('packages.x86_64-linux."a.b\n🦊"')], [failure("packages.broken")])


@pytest.fixture
def cache(tmp_path: Path) -> BaseCache:
    return BaseCache(tmp_path / "made" / "here")


def entry(cache: BaseCache) -> Path:
    """The one file of a cache with one entry."""
    (file,) = cache.folder.iterdir()
    return file


def test_what_was_put_comes_back(cache: BaseCache) -> None:
    assert cache.get(KEY) is None
    assert cache.put(KEY, INVENTORY) is None
    assert cache.get(KEY) == INVENTORY


@pytest.mark.parametrize("field", sorted(Key.model_fields))
def test_every_part_of_the_key_counts(cache: BaseCache, field: str) -> None:
    cache.put(KEY, INVENTORY)
    assert cache.get(KEY.model_copy(update={field: "other"})) is None
    assert cache.get(KEY) == INVENTORY


def test_the_same_inventory_gives_the_same_bytes(cache: BaseCache) -> None:
    cache.put(KEY, INVENTORY)
    first = entry(cache).read_bytes()
    cache.put(KEY, INVENTORY)
    assert entry(cache).read_bytes() == first
    assert first[4:8] == bytes(4), "the time in the header of gzip"


def test_options_in_another_order_are_the_same_options() -> None:
    assert digest({"a": 1, "b": [True, None]}) == digest({"b": [True, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


class TestBrokenEntries:
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
    def test_a_torn_file_is_removed_and_not_believed(self, cache: BaseCache, share: float) -> None:
        cache.put(KEY, INVENTORY)
        data = entry(cache).read_bytes()
        entry(cache).write_bytes(data[: int(len(data) * share)])
        assert cache.get(KEY) is None
        assert list(cache.folder.iterdir()) == []

    @pytest.mark.parametrize("position", range(10, 60, 10))
    def test_a_flipped_bit_is_noticed(self, cache: BaseCache, position: int) -> None:
        cache.put(KEY, INVENTORY)
        data = bytearray(entry(cache).read_bytes())
        data[position] ^= 0x10
        entry(cache).write_bytes(bytes(data))
        assert cache.get(KEY) is None

    @pytest.mark.parametrize(
        "content",
        [b"", b"not gzip", gzip.compress(b"not json"), gzip.compress(b"[]"), gzip.compress(b'{"key": 1}'), b"\x1f\x8b"],
        ids=["empty", "no gzip", "no JSON", "no record", "another record", "torn"],
    )
    def test_a_foreign_file_is_removed(self, cache: BaseCache, content: bytes) -> None:
        cache.put(KEY, INVENTORY)
        entry(cache).write_bytes(content)
        assert cache.get(KEY) is None
        assert list(cache.folder.iterdir()) == []

    def test_an_entry_of_an_older_format_is_removed(self, cache: BaseCache) -> None:
        cache.put(KEY, INVENTORY)
        record = json.loads(gzip.decompress(entry(cache).read_bytes()))
        del record["inventory"]["outputs"][0]["path"]
        entry(cache).write_bytes(gzip.compress(json.dumps(record).encode()))
        assert cache.get(KEY) is None

    def test_an_entry_under_another_name_is_not_believed(self, cache: BaseCache) -> None:
        other = KEY.model_copy(update={"commit": "b" * 40})
        cache.put(other, INVENTORY)
        source = entry(cache)
        cache.put(KEY, inventory())
        (target,) = set(cache.folder.iterdir()) - {source}
        source.replace(target)
        assert cache.get(KEY) is None

    def test_a_compression_bomb_is_not_unpacked(self, cache: BaseCache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base_cache, "MAX_BYTES", 1000)
        cache.put(KEY, inventory([output(f"packages.p{number}") for number in range(100)]))
        assert cache.get(KEY) is None


class TestTrouble:
    def test_a_folder_that_cannot_be_made_is_told_and_nothing_else_happens(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        cache = BaseCache(tmp_path / "file" / "cache")
        assert "the base evaluation was not kept" in (cache.put(KEY, INVENTORY) or "")
        assert cache.get(KEY) is None

    def test_a_folder_in_the_place_of_an_entry_is_a_miss(self, cache: BaseCache) -> None:
        cache.put(KEY, INVENTORY)
        file = entry(cache)
        file.unlink()
        file.mkdir()
        assert cache.get(KEY) is None
        assert cache.put(KEY, INVENTORY) is not None


class TestPruning:
    def keys(self, count: int) -> list[Key]:
        return [KEY.model_copy(update={"commit": f"{number:040x}"}) for number in range(count)]

    def fill(self, cache: BaseCache, keys: list[Key]) -> None:
        """One entry per key, each used a second after the one before it."""
        for second, key in enumerate(keys):
            before = set(cache.folder.glob("*")) if cache.folder.exists() else set()
            cache.put(key, INVENTORY)
            (new,) = set(cache.folder.iterdir()) - before
            os.utime(new, (1000 + second, 1000 + second))

    def test_the_entries_used_last_stay(self, tmp_path: Path) -> None:
        cache = BaseCache(tmp_path, kept=3)
        keys = self.keys(5)
        self.fill(cache, keys[:3])
        assert cache.get(keys[0]) is not None  # used now
        cache.put(keys[3], INVENTORY)
        assert [cache.get(key) is not None for key in keys] == [True, False, True, True, False]

    def test_files_of_others_stay(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        cache = BaseCache(tmp_path, kept=1)
        for key in self.keys(3):
            cache.put(key, INVENTORY)
        assert (tmp_path / "notes.txt").read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 2

    def test_what_a_killed_writer_left_is_removed_after_a_day(self, cache: BaseCache) -> None:
        cache.put(KEY, INVENTORY)
        old = cache.folder / f".{entry(cache).name}.abc"
        young = cache.folder / f".{entry(cache).name}.def"
        old.write_text("half")
        young.write_text("half")
        os.utime(old, (1000, 1000))
        cache.put(KEY, INVENTORY)
        assert not old.exists()
        assert young.exists()


def test_many_writers_and_readers_at_once_see_whole_entries_only(tmp_path: Path) -> None:
    keys = [KEY.model_copy(update={"commit": f"{number:040x}"}) for number in range(4)]
    wrong: list[object] = []

    def work() -> None:
        cache = BaseCache(tmp_path, kept=2)  # pruning under everybody's feet
        for _ in range(10):
            for key in keys:
                trouble = cache.put(key, INVENTORY)
                found = cache.get(key)
                if trouble is not None or found not in (None, INVENTORY):
                    wrong.append((trouble, found))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(list(tmp_path.iterdir())) <= 2 + len(threads)
