"""The folder of snapshots: what is given and in which order, what is thrown away, and what never hurts."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from pathlib import Path

import pytest

from pipelinegen.errors import ToolError
from pipelinegen.memo import codec
from pipelinegen.memo.model import FORMAT, Snapshot, World
from pipelinegen.memo.store import SUFFIX, MemoStore, export, import_
from tests.unit.memo.snapshots import WORLD, fleet, reads, record, snapshot, tree

ELSEWHERE = tree("elsewhere")
"""No snapshot is of this tree."""


@pytest.fixture
def store(tmp_path: Path) -> MemoStore:
    return MemoStore(tmp_path / "made" / "here")


def at(number: int, world: World = WORLD) -> Snapshot:
    return snapshot(record("packages.x", reads("a", f"b{number}")), at=tree(str(number)), world=world)


def files(store: MemoStore) -> list[Path]:
    """What there is, oldest first."""
    return sorted(store.folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)


def only(store: MemoStore) -> Path:
    (file,) = store.folder.iterdir()
    return file


def fill(store: MemoStore, *snapshots: Snapshot) -> None:
    """Save them, each a second after the one before it."""
    for second, one in enumerate(snapshots):
        before = set(store.folder.glob("*"))
        assert store.save(one) is None
        (new,) = set(store.folder.iterdir()) - before
        os.utime(new, (1000 + second, 1000 + second))


def trees(store: MemoStore, first: str = "elsewhere") -> list[str]:
    """Of all snapshots, in the order in which they are given; nobody looks into one."""
    return [one.tree.tree.removeprefix("sha256-") for one in store.snapshots(WORLD, tree(first))]


def test_what_was_saved_comes_back(store: MemoStore) -> None:
    assert list(store.snapshots(WORLD, tree())) == []
    assert store.save(fleet(3, 10)) is None
    assert list(store.snapshots(WORLD, tree())) == [fleet(3, 10)]


def test_a_tree_has_one_snapshot_the_last(store: MemoStore) -> None:
    store.save(fleet(3, 10))
    store.save(fleet(4, 10))
    assert list(store.snapshots(WORLD, tree())) == [fleet(4, 10)]


def test_a_snapshot_that_was_read_can_be_saved_again(store: MemoStore) -> None:
    store.save(fleet(3, 10))
    before = only(store).read_bytes()
    (found,) = store.snapshots(WORLD, tree())
    store.drop()
    assert store.save(found) is None
    assert only(store).read_bytes() == before


@pytest.mark.parametrize("field", sorted(World.model_fields))
def test_every_part_of_the_world_counts(store: MemoStore, field: str) -> None:
    store.save(at(1))
    other = WORLD.model_copy(update={field: FORMAT + 1 if field == "format" else "other"})
    assert list(store.snapshots(other, tree("1"))) == []
    assert list(store.snapshots(WORLD, tree("1"))) == [at(1)]


class TestOrder:
    def test_the_newest_come_first(self, store: MemoStore) -> None:
        fill(store, *map(at, range(4)))
        assert trees(store) == ["3", "2", "1", "0"]

    def test_the_one_of_exactly_this_tree_comes_before_them(self, store: MemoStore) -> None:
        fill(store, *map(at, range(4)))
        assert trees(store, "1") == ["1", "3", "2", "0"]

    def test_the_same_tree_with_other_metadata_is_another(self, store: MemoStore) -> None:
        fill(store, *map(at, range(2)))
        first = [one.tree for one in store.snapshots(WORLD, tree("0", "narHash"))]
        assert first == [tree("1"), tree("0")]

    def test_one_that_somebody_looked_into_counts_as_used_now(self, store: MemoStore) -> None:
        fill(store, *map(at, range(4)))
        for one in store.snapshots(WORLD, ELSEWHERE):
            if one.tree == tree("1"):
                assert len(one.records) == 1
        assert trees(store) == ["1", "3", "2", "0"]

    def test_looking_into_all_leaves_their_order(self, store: MemoStore) -> None:
        fill(store, *map(at, range(4)))
        for one in store.snapshots(WORLD, ELSEWHERE):
            assert len(one.records) == 1
        assert trees(store) == ["3", "2", "1", "0"]
        assert min(file.stat().st_mtime for file in files(store)) > 2000

    def test_nothing_is_read_before_it_is_asked_for(self, store: MemoStore) -> None:
        fill(store, at(0), at(1))
        given = store.snapshots(WORLD, ELSEWHERE)
        assert next(given).tree == tree("1")
        files(store)[0].write_bytes(b"torn")
        assert list(given) == []


class TestBrokenFiles:
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
    def test_a_torn_file_is_removed_and_the_others_are_given(self, store: MemoStore, share: float) -> None:
        fill(store, at(0), at(1))
        newest = files(store)[1]
        newest.write_bytes(newest.read_bytes()[: int(newest.stat().st_size * share)])
        assert trees(store) == ["0"]
        assert len(files(store)) == 1

    @pytest.mark.parametrize(
        "content",
        [b"", b"not gzip", gzip.compress(b"not json"), gzip.compress(b"[]"), gzip.compress(b"{}"), b"\x1f\x8b"],
        ids=["empty", "no gzip", "no JSON", "no object", "another object", "torn"],
    )
    def test_a_foreign_file_is_removed(self, store: MemoStore, content: bytes) -> None:
        store.save(at(1))
        only(store).write_bytes(content)
        assert trees(store, "1") == []
        assert files(store) == []

    def test_one_whose_tables_are_none_is_removed_when_somebody_looks(self, store: MemoStore) -> None:
        store.save(at(1))
        head = gzip.decompress(only(store).read_bytes()).split(b"\n")[0]
        only(store).write_bytes(gzip.compress(head + b"\n{}\n{}\nnothing"))
        (found,) = store.snapshots(WORLD, tree("1"))
        assert dict(found.records) == {}
        assert files(store) == []

    def test_one_with_a_record_that_is_none_is_removed_when_somebody_looks(self, store: MemoStore) -> None:
        store.save(fleet(3, 4))
        lines = gzip.decompress(only(store).read_bytes()).split(b"\n")
        only(store).write_bytes(gzip.compress(b"\n".join([*lines[:-1], b'{"older": 1}'])))
        (found,) = store.snapshots(WORLD, tree())
        assert len(dict(found.records)) == 3
        assert files(store) == []

    def test_one_under_the_name_of_another_tree_is_removed(self, store: MemoStore) -> None:
        fill(store, at(0), at(1))
        old, new = files(store)
        old.replace(new)
        assert trees(store) == []
        assert files(store) == []

    def test_one_under_the_name_of_another_world_is_removed(self, store: MemoStore) -> None:
        other = WORLD.model_copy(update={"locks": "other"})
        fill(store, at(0), at(0, other))
        old, new = files(store)
        old.replace(new)
        assert list(store.snapshots(other, tree("0"))) == []
        assert files(store) == []

    def test_one_that_is_larger_than_all_may_be_is_removed_unread(self, tmp_path: Path) -> None:
        MemoStore(tmp_path).save(at(0))
        small = MemoStore(tmp_path, max_bytes=100)
        assert trees(small) == []
        assert files(small) == []

    def test_what_is_no_regular_file_is_left_alone(self, store: MemoStore) -> None:
        store.save(at(0))
        file = only(store)
        file.unlink()
        os.mkfifo(file)  # whoever read it would wait for ever
        (store.folder / f"folder{SUFFIX}").mkdir()
        (store.folder / f"link{SUFFIX}").symlink_to("/dev/zero")
        assert trees(store, "0") == []
        assert store.drop() == 0
        assert len(files(store)) == 3


class TestTrouble:
    def test_a_folder_that_cannot_be_made_is_told_and_nothing_else_happens(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        store = MemoStore(tmp_path / "file" / "memo")
        assert "the evaluation was not remembered" in (store.save(at(0)) or "")
        assert trees(store) == []
        assert store.describe().snapshots == 0
        assert store.describe().trouble is not None

    def test_dropping_what_cannot_be_listed_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ToolError, match="cannot drop"):
            MemoStore(tmp_path / "file" / "memo").drop()

    def test_a_snapshot_that_contradicts_itself_is_not_kept_and_the_one_before_stays(self, store: MemoStore) -> None:
        store.save(at(0))
        why = store.save(dataclasses.replace(at(0), files={}))
        assert why is not None
        assert "of which the snapshot says nothing" in why
        assert list(store.snapshots(WORLD, tree("0"))) == [at(0)]

    def test_a_snapshot_that_is_too_large_is_not_kept(self, tmp_path: Path) -> None:
        store = MemoStore(tmp_path, max_bytes=100)
        assert "more than 100" in (store.save(at(0)) or "")
        assert files(store) == []

    def test_text_that_is_no_unicode_is_told(self, store: MemoStore) -> None:
        world = WORLD.model_copy(update={"subdirectory": "\udcff"})
        assert list(store.snapshots(world, ELSEWHERE)) == []
        assert "not remembered" in (store.save(at(0, world)) or "")
        assert store.drop(world) == 0
        assert not store.folder.exists()


class TestPruning:
    def test_the_ones_used_last_stay(self, store: MemoStore) -> None:
        store.kept = 3
        fill(store, *map(at, range(3)))
        (first, *_) = store.snapshots(WORLD, tree("0"))
        assert len(first.records) == 1  # used now
        store.save(at(3))
        assert sorted(trees(store)) == ["0", "2", "3"]

    def test_together_they_take_no_more_than_they_may(self, store: MemoStore) -> None:
        fill(store, *map(at, range(4)))
        size = max(file.stat().st_size for file in files(store))
        store.max_bytes = 3 * size + size // 2
        store.save(at(4))
        assert sorted(trees(store)) == ["2", "3", "4"]

    def test_what_was_just_saved_stays_even_where_the_others_are_of_tomorrow(self, store: MemoStore) -> None:
        fill(store, *map(at, range(3)))
        for file in files(store):
            os.utime(file, (2**33, 2**33))
        store.kept = 1
        store.save(at(3))
        assert trees(store) == ["3"]

    def test_all_worlds_share_the_room(self, store: MemoStore) -> None:
        store.kept = 2
        fill(store, at(0, WORLD.model_copy(update={"locks": "old"})), at(1))
        store.save(at(2))
        assert sorted(trees(store)) == ["1", "2"]
        assert store.describe().snapshots == 2

    def test_files_of_others_stay(self, store: MemoStore) -> None:
        store.kept = 1
        fill(store, at(0))
        (store.folder / "last.json").write_text("mine")
        store.save(at(1))
        assert store.drop() == 1
        assert only(store).read_text() == "mine"

    def test_what_a_killed_writer_left_is_removed_after_a_day(self, store: MemoStore) -> None:
        store.save(at(0))
        old = store.folder / f".{only(store).name}.abc"
        young = store.folder / f".{only(store).name}.def"
        old.write_text("half")
        young.write_text("half")
        os.utime(old, (1000, 1000))
        store.save(at(0))
        assert not old.exists()
        assert young.exists()
        assert trees(store) == ["0"]


class TestDropping:
    def test_a_world_or_all_can_be_dropped(self, store: MemoStore) -> None:
        other = WORLD.model_copy(update={"locks": "other"})
        fill(store, at(0), at(1), at(0, other), at(1, other), at(2, other))
        assert store.drop(WORLD) == 2
        assert (trees(store), len(list(store.snapshots(other, ELSEWHERE)))) == ([], 3)
        assert store.drop() == 3
        assert files(store) == []

    def test_where_nothing_is_nothing_is_dropped(self, store: MemoStore) -> None:
        assert store.drop() == store.drop(WORLD) == 0


class TestDescribing:
    def test_nothing_is_no_trouble(self, store: MemoStore) -> None:
        state = store.describe()
        assert (state.snapshots, state.bytes, state.newest, state.trouble) == (0, 0, None, None)

    def test_number_size_and_age_are_told(self, store: MemoStore) -> None:
        fill(store, *map(at, range(3)))
        state = store.describe()
        assert (state.snapshots, state.newest) == (3, 1002.0)
        assert state.bytes == sum(file.stat().st_size for file in files(store))


class TestTravelling:
    def test_what_was_exported_can_be_imported_and_saved(self, store: MemoStore) -> None:
        found = import_(export(fleet(3, 10)))
        assert found == fleet(3, 10)
        assert store.save(found) is None
        assert list(store.snapshots(WORLD, tree())) == [fleet(3, 10)]

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
    def test_torn_bytes_are_nothing(self, share: float) -> None:
        data = export(fleet(3, 10))
        assert import_(data[: int(len(data) * share)]) is None

    @pytest.mark.parametrize("line", range(7))
    def test_anything_wrong_anywhere_is_nothing(self, line: int) -> None:
        lines = gzip.decompress(export(fleet(3, 10))).split(b"\n")
        lines[line] = json.dumps("wrong").encode()
        assert import_(gzip.compress(b"\n".join(lines))) is None

    def test_a_bomb_is_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = export(fleet(3, 10))
        monkeypatch.setattr(codec, "MAX_PLAIN_BYTES", 100)
        assert import_(data) is None
