"""When a record holds at a tree, and what a further evaluation adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from pipelinegen.inventory.model import FlakeOutput, Kind
from pipelinegen.inventory.results import Evaluated
from pipelinegen.memo.judge import Comparison, combined
from pipelinegen.memo.model import Key, Reads, Record, Result, Snapshot, Witness, World

KEY: Key = (("packages", "x86_64-linux", "a"), "item")
WORLD = World(nix_version="2.34.8", locks="l", subdirectory="", options="o")
CLEAN = ("lastModified", "narHash", "rev")
TWO = Witness(tree="two", metadata=CLEAN)
FILES = {"flake.nix": "-:1", "a.nix": "-:2", "b.nix": "-:3"}
FOLDERS = {"": "top", "hosts": "listed"}
METADATA = {"rev": '"r1"', "lastModified": "1", "narHash": '"one"'}
READS = Reads(frozenset({"flake.nix", "a.nix"}), frozenset({"hosts"}))
MORE = Reads(frozenset(FILES), frozenset(FOLDERS), frozenset({"rev"}))


@dataclass(frozen=True)
class At:
    """A tree with these files."""

    witness: Witness = TWO
    paths: str = "p"
    metadata: Mapping[str, str] = field(default_factory=lambda: METADATA | {"rev": '"r2"', "narHash": '"two"'})
    files: Mapping[str, str] = field(default_factory=lambda: FILES)
    folders: Mapping[str, str] = field(default_factory=lambda: FOLDERS)

    def file(self, path: str) -> str | None:
        return self.files.get(path)

    def folder(self, path: str) -> str | None:
        return self.folders.get(path)


def result(name: str = "a") -> Result:
    path = f"/nix/store/{name}.drv"
    return Result(output=FlakeOutput(path=KEY[0], drv_attr_path=KEY[0], kind=Kind.PACKAGE, drv_path=path))


RECORD = Record(KEY, result(), READS, ("one", "zero"))


def snapshot(record: Record = RECORD, *, tree: str = "one") -> Snapshot:
    return Snapshot(WORLD, Witness(tree=tree, metadata=CLEAN), "p", FILES, FOLDERS, METADATA, {KEY: record})


def holding(at: At, record: Record = RECORD) -> Record | None:
    return Comparison(snapshot(record), at).record(KEY)


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        pytest.param(At(), True, id="nothing that it reads"),
        pytest.param(At(files=FILES | {"b.nix": "-:9"}), True, id="another file"),
        pytest.param(At(files=FILES | {"a.nix": "-:9"}), False, id="a file that it reads"),
        pytest.param(At(files=FILES | {"a.nix": "x:2"}), False, id="a file's exec bit"),
        pytest.param(At(folders=FOLDERS | {"": "more"}), True, id="another folder"),
        pytest.param(At(folders=FOLDERS | {"hosts": "more"}), False, id="a folder that it lists"),
        pytest.param(At(paths="q"), False, id="the set of paths"),
        pytest.param(At(witness=Witness(tree="two", metadata=(*CLEAN, "revCount"))), False, id="names of metadata"),
        pytest.param(At(files={"flake.nix": "-:1"}), False, id="a file is gone"),
    ],
)
def test_a_record_holds_unless_something_that_it_reads_differs(at: At, holds: bool) -> None:
    assert (holding(at) == RECORD) is holds


@pytest.mark.parametrize(
    ("record", "tree", "holds"),
    [
        pytest.param(replace(RECORD, witnesses=("one",)), "two", False, id="seen at one other tree"),
        pytest.param(replace(RECORD, witnesses=("one", "zero")), "two", True, id="seen at two"),
        pytest.param(replace(RECORD, witnesses=("one",)), "one", True, id="seen at this one"),
        pytest.param(replace(RECORD, coupled=True), "two", False, id="coupled"),
        pytest.param(replace(RECORD, coupled=True), "one", True, id="coupled, seen at this one"),
        pytest.param(replace(RECORD, builds=True), "one", False, id="needs builds"),
    ],
)
def test_a_record_counts_at_another_tree_when_two_trees_gave_the_same(record: Record, tree: str, holds: bool) -> None:
    assert (holding(At(witness=Witness(tree=tree, metadata=CLEAN)), record) is not None) is holds


def test_metadata_that_is_read_must_be_equal() -> None:
    reads = replace(READS, metadata=frozenset({"rev"}))
    assert holding(At(), replace(RECORD, reads=reads)) is None
    assert holding(At(metadata=METADATA), replace(RECORD, reads=reads)) is not None
    assert holding(At(), replace(RECORD, reads=replace(READS, metadata=frozenset({"lastModified"})))) is not None


def after(
    old: Record, reads: Reads | None, at: At | None = None, name: str = "a", *, builds: bool = False
) -> Record | None:
    """What is known when an evaluation at tree two gave derivation `name` and read that."""
    at = at or At()
    comparison = Comparison(snapshot(old), at)
    return combined(KEY, Evaluated(result(name), reads, builds=builds), [comparison], at.witness.tree, backwards=True)


def test_two_bounds_of_one_evaluation_are_intersected() -> None:
    old = replace(RECORD, reads=Reads(READS.files | {"b.nix"}, READS.folders), witnesses=("one",))
    assert after(old, READS) == replace(RECORD, witnesses=("one", "two"), backwards=True)


def test_bounds_are_intersected_when_what_changed_is_in_the_old_one_only() -> None:
    old = replace(RECORD, reads=MORE, witnesses=("one",))
    changed = At(files=FILES | {"b.nix": "-:9"})
    assert after(old, READS, changed) == replace(RECORD, witnesses=("one", "two"), backwards=True)


def test_bounds_are_not_intersected_when_both_hold_what_changed() -> None:
    old = replace(RECORD, witnesses=("one",))
    changed = At(files=FILES | {"a.nix": "-:9"})
    new = Reads(READS.files | {"b.nix"}, READS.folders)
    assert after(old, new, changed) == Record(KEY, result(), new, ("one", "two"), backwards=True)


def test_another_result_with_all_equal_shows_that_it_depends_on_the_tree() -> None:
    record = after(replace(RECORD, witnesses=("one",)), READS, name="b")
    assert record == Record(KEY, result("b"), READS, ("two",), coupled=True, backwards=True)


def test_another_result_with_a_change_in_both_shows_nothing() -> None:
    record = after(RECORD, READS, At(files=FILES | {"a.nix": "-:9"}), name="b")
    assert record == Record(KEY, result("b"), READS, ("two",), backwards=True)


def test_that_it_depends_on_the_tree_stays_true_until_what_it_reads_changes() -> None:
    coupled = replace(RECORD, coupled=True)
    again = after(coupled, READS)
    assert again is not None
    assert again.coupled
    changed = after(coupled, READS, At(files=FILES | {"a.nix": "-:9"}), name="b")
    assert changed is not None
    assert not changed.coupled


def test_what_was_not_recorded_gives_no_record() -> None:
    assert after(RECORD, None) is None


def test_what_needs_builds_is_remembered_as_that() -> None:
    record = after(RECORD, READS, builds=True)
    assert record is not None
    assert (record.builds, record.reads) == (True, Reads())


def test_a_file_that_the_snapshot_does_not_know_counts_as_different() -> None:
    unknown = Reads(READS.files | {"c.nix"}, READS.folders)
    old = replace(RECORD, reads=MORE, witnesses=("one",))
    record = after(old, unknown, At(files=FILES | {"c.nix": "-:5", "b.nix": "-:9"}))
    assert record is not None
    assert record.reads == unknown


def test_few_trees_are_remembered() -> None:
    old = replace(RECORD, witnesses=tuple(sorted(f"t{number}" for number in range(9))))
    record = after(old, READS)
    assert record is not None
    assert len(record.witnesses) == 4
    assert "two" in record.witnesses
