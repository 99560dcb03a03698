"""Which records hold at a tree, and what an evaluation adds to them. Pure.

Why a record that holds may be believed: evaluation is a function of what it reads. Where the paths of two trees are
the same (an evaluation may ask whether a path exists, which nobody sees) and everything in the read set is equal, it
takes the same course and reads the same.

It also depends on which tree it is: the tree's store path is text like any other, and may be hashed. That cannot be
seen in what is read; but store paths of two trees are as good as random, so a result that was the same at two trees
does not depend on them. What `self` says besides its path (a date, a count) is not random enough for that, and is
part of the read set instead. Which names it has (`rev` where everything is committed) a flake may ask unseen, so a
record never holds where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Protocol

from pipelinegen.inventory.results import Evaluated, Reads
from pipelinegen.memo.model import Key, Record, Snapshot, Witness

_MOST_WITNESSES = 4


class TreeView(Protocol):
    """A source tree; `memo.tree.Tree` is one."""

    @property
    def witness(self) -> Witness:
        """Which tree it is."""

    @property
    def paths(self) -> str:
        """See `Snapshot.paths`."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """See `Snapshot.metadata`."""

    def file(self, path: str) -> str | None:
        """See `Snapshot.files`; null where there is no such file."""

    def folder(self, path: str) -> str | None:
        """See `Snapshot.folders`; null where there is no such folder."""


class Comparison:
    """A tree beside that of a snapshot.

    Attributes:
        snapshot: of the other tree.
        here: the tree; see `Tree.witness`.
    """

    def __init__(self, snapshot: Snapshot, tree: TreeView) -> None:
        self.snapshot = snapshot
        self.here = tree.witness.tree
        # Neither leaves a trace when it is asked for.
        self._same_shape = snapshot.paths == tree.paths and snapshot.tree.metadata == tree.witness.metadata
        self._tree = tree
        self._equal: dict[Reads, bool] = {}

    @cached_property
    def different(self) -> Reads:
        """What the snapshot knows of its tree and is different here."""
        known, tree = self.snapshot, self._tree
        metadata = frozenset(
            name for name in {*known.metadata, *tree.metadata} if known.metadata.get(name) != tree.metadata.get(name)
        )
        if known.tree.tree == self.here:
            return Reads(metadata=metadata)
        return Reads(_differing(known.files, tree.file), _differing(known.folders, tree.folder), metadata)

    def equal_on(self, reads: Reads) -> bool:
        """Whether an evaluation that reads no more than this takes the same course at both trees.

        What the snapshot does not know counts as different.
        """
        if reads not in self._equal:
            self._equal[reads] = self._same_shape and self._none_differs(reads)
        return self._equal[reads]

    def _none_differs(self, reads: Reads) -> bool:
        return (
            reads.files.isdisjoint(self.different.files)
            and reads.folders.isdisjoint(self.different.folders)
            and reads.metadata.isdisjoint(self.different.metadata)
            and reads.files <= self.snapshot.files.keys()
            and reads.folders <= self.snapshot.folders.keys()
        )

    def record(self, key: Key) -> Record | None:
        """The snapshot's record, if it holds at the tree."""
        record = self.snapshot.records.get(key)
        if record is None or record.builds or not self.equal_on(record.reads):
            return None
        return record if independent(record, self.here) else None


def _differing(known: Mapping[str, str], now: Callable[[str], str | None]) -> frozenset[str]:
    return frozenset(path for path, fingerprint in known.items() if now(path) != fingerprint)


def independent(record: Record, here: str) -> bool:
    """Whether the record's result cannot depend on which tree it is, or was seen at this very one."""
    return here in record.witnesses or (len(record.witnesses) > 1 and not record.coupled)


def combined(
    key: Key, evaluated: Evaluated, earlier: Iterable[Comparison], here: str, *, backwards: bool
) -> Record | None:
    """What is known of an attribute that was just evaluated.

    Args:
        earlier: trees at which it was evaluated before, with the present one beside them.
        here: the present one.
        backwards: see `Record.backwards`.

    Returns:
        Null where nothing was recorded.
    """
    if evaluated.builds:
        return Record(key, evaluated.result, Reads(), (here,), builds=True)
    if evaluated.reads is None:
        return None
    record = Record(
        key,
        evaluated.result,
        evaluated.reads,
        (here,),
        backwards=backwards,
        reads_metadata=evaluated.reads_metadata,
    )
    return refined(record, earlier)


def refined(record: Record, others: Iterable[Comparison]) -> Record:
    """A record of the present tree, with what is known of the same attribute at others.

    Args:
        others: trees at which it was evaluated, with the present one beside them.
    """
    reads = record.reads
    for comparison in others:
        old = comparison.snapshot.records.get(record.key)
        if old is not None and not old.builds:
            record = _with(record, old, comparison, reads)
    return record


def _with(record: Record, old: Record, comparison: Comparison, reads: Reads) -> Record:
    record = replace(record, reads_metadata=record.reads_metadata or old.reads_metadata)
    same_course = comparison.equal_on(old.reads) or comparison.equal_on(reads)
    if old.result != record.result:
        # Nothing that it reads differs, but what it gives: so it depends on which tree it is.
        return replace(record, coupled=True) if same_course else record
    # That it depends on the tree stays true as long as it gives the same.
    record = replace(record, coupled=record.coupled or old.coupled)
    if same_course:
        record = replace(record, reads=_both(record.reads, old.reads))
    trees = sorted({*record.witnesses, *old.witnesses} - {comparison.here})
    return replace(record, witnesses=tuple(sorted([comparison.here, *trees[: _MOST_WITNESSES - 1]])))


@lru_cache(maxsize=1024)
def _both(one: Reads, other: Reads) -> Reads:
    """Two upper bounds of one evaluation; many attributes may share them."""
    return one & other
