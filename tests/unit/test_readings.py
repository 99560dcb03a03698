"""From an inspection to what is said of it, and what a verification added."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelinegen.inventory.model import EvalFailure, FlakeOutput, FlakeSource, Inventory, Kind
from pipelinegen.memo.effect import Effect, effect
from pipelinegen.memo.inspect import Inspection
from pipelinegen.memo.model import Key, Reads, Record, Result, Snapshot, Witness, World
from pipelinegen.readings import Difference, _folders, inspected, readings
from pipelinegen.remembering import Verified

WORLD = World(nix_version="2.26.3", locks="", subdirectory="", options="")
SOURCE = FlakeSource(reference="git+file:///f", store_path="/nix/store/x-source")


def key(name: str) -> Key:
    return ("packages", "s", name), "item"


def output(name: str, drv: str = "") -> FlakeOutput:
    path = ("packages", "s", name)
    return FlakeOutput(path=path, drv_attr_path=path, kind=Kind.PACKAGE, drv_path=drv or f"/nix/store/{name}.drv")


def record(name: str, *files: str, trees: tuple[str, ...] = ("t1",), drv: str = "", coupled: bool = False) -> Record:
    reads = Reads(frozenset(files), frozenset({"hosts"}), frozenset())
    return Record(key(name), Result(output=output(name, drv)), reads, trees, coupled=coupled)


def snapshot(*records: Record) -> Snapshot:
    tree = Witness(tree="t", metadata=())
    return Snapshot(WORLD, tree, "", {}, {}, {}, {one.key: one for one in records})


def inspection(*records: Record, known: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> Inspection:
    names = sorted([one.key[0][-1] for one in records] + list(more))
    failed = EvalFailure(path=("packages", "s", "zzz"), kind=Kind.PACKAGE, message="no")
    return Inspection(
        Inventory(source=SOURCE, outputs=tuple(output(name) for name in names), failures=(failed,)),
        records={one.key: one for one in records},
        recalled=frozenset(("packages", "s", name) for name in known),
    )


def test_what_changed_of_what_is_read_are_files_and_folders_with_other_names() -> None:
    since = Difference(
        files=frozenset({"b", "x", "hosts/new"}),
        before=_folders(["a", "b", "hosts/old", "x"]),
        now=_folders(["a", "b", "hosts/new", "x"]),
        paths=True,
    )
    (told,) = readings(inspection(record("p", "b", "a"), known=("p",)), since, details={"packages.s.p"})
    assert (told.known, told.reads, told.files, told.folders) == (True, 2, ("a", "b"), ("hosts",))
    assert told.changed == ("b", "hosts")
    (short,) = readings(inspection(record("p", "b", "a"), known=("p",)), since)
    assert (short.reads, short.files, short.changed) == (2, (), ("b", "hosts"))
    (alone,) = readings(inspection(record("p", "b", "a")))
    assert (alone.changed, alone.why) == (None, "nothing that holds here is remembered")


@pytest.mark.parametrize(
    ("before", "now", "folder", "changed"),
    [
        (["hosts/a"], ["hosts/a"], "hosts", False),
        (["hosts/a"], ["hosts/b"], "hosts", True),
        (["hosts/a"], ["hosts/b"], "", False),
        (["hosts/a/x"], ["hosts/a/y"], "hosts", False),
        (["hosts/a/x", "hosts/b"], ["hosts/b"], "hosts", True),
        ([], ["hosts/a"], "", True),
        ([], [], "", False),
        (["hosts/a"], ["other"], "hosts", True),
    ],
    ids=["same", "renamed", "deeper", "much deeper", "a folder less", "first", "empty", "gone"],
)
def test_a_folder_has_changed_when_other_names_are_in_it(
    before: list[str], now: list[str], folder: str, changed: bool
) -> None:
    assert Difference(before=_folders(before), now=_folders(now)).folder(folder) is changed


def test_names_that_are_no_text_are_told_as_git_tells_them() -> None:
    since = Difference(files=frozenset({"a\ufffd"}), before=_folders([]), now=_folders([]))
    told = replace(record("p", "a\udcff"), reads=Reads(frozenset({"a\udcff"}), frozenset(), frozenset()))
    (reading,) = readings(inspection(told), since, details={"packages.s.p"})
    assert (reading.files, reading.changed) == (("a\ufffd",), ("a\ufffd",))
    assert reading.model_dump_json()


def test_an_output_without_a_record_is_evaluated_at_every_commit() -> None:
    seen = inspection(record("p", "a"), more=("q",))
    _, dark = readings(seen)
    assert (dark.recorded, dark.why) == (False, "what it reads could not be recorded")
    _, limited = readings(replace(seen, not_recorded="too few watches"))
    assert limited.always == ("too few watches",)


def test_without_a_memo_nothing_is_counted() -> None:
    assert inspected(None) is None
    assert inspected(inspection(more=("a",))) is None
    assert inspected(inspection(record("a"), more=("b",), known=("a",))) == (1, 2)
    assert inspected(replace(inspection(more=("a",)), not_recorded="why")) == (0, 2)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], record("p", "a", trees=("t1", "t2")), Effect(0, 0)),
        ([record("p", "a")], record("p", "a", trees=("t1", "t2")), Effect(1, 0)),
        ([record("p", "a", "b")], record("p", "a", trees=("t1", "t2")), Effect(1, 1)),
        ([record("p", "a", trees=("t1", "t2"))], record("p", "a", trees=("t1", "t3")), Effect(0, 0)),
        ([record("p", "a", "b"), record("p", "a")], record("p", "a"), Effect(0, 0)),
        ([record("p", "a", "b", drv="/other.drv")], record("p", "a", trees=("t1", "t2")), Effect(0, 0)),
        ([record("p", "a")], record("p", "a", trees=("t1", "t2"), coupled=True), Effect(0, 0)),
    ],
    ids=["new", "confirmed", "both", "again", "as narrow as once", "another result", "coupled"],
)
def test_a_verification_adds_what_no_snapshot_had(before: list[Record], after: Record, expected: Effect) -> None:
    assert effect(map(snapshot, before), {after.key: after}) == expected


def test_a_verification_is_told_in_one_sentence() -> None:
    said = Verified(evaluated=1, compared=2, confirmed=3, narrowed=4).sentence()
    assert said == (
        "1 output evaluated; 2 remembered results compared, none differs; "
        "3 confirmed to be independent of the commit, 4 found to read less"
    )
