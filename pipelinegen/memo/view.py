"""The memo as it looks from one source tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from pipelinegen.inventory.results import Evaluated, Result
from pipelinegen.memo.judge import Comparison, combined, refined
from pipelinegen.memo.model import Key, Record, Snapshot, World
from pipelinegen.memo.store import MemoStore
from pipelinegen.memo.tree import Tree

MOST_SNAPSHOTS = 12
"""How many are looked at: the newest, which are those of this branch and of what it comes from."""


class View:
    """What is known at a tree, and what is added there.

    Attributes:
        recalled: what was asked for and is known.
    """

    def __init__(self, store: MemoStore, world: World, tree: Tree) -> None:
        self._store = store
        self._world = world
        self._tree = tree
        self._unread = islice(store.snapshots(world, tree.witness), MOST_SNAPSHOTS)
        self._comparisons: list[Comparison] = []
        self._backwards = False
        self._missed: list[Key] = []
        self.recalled: dict[Key, Record] = {}

    def recall(self, key: Key) -> Result | None:
        """What an attribute is known to evaluate to."""
        record = self._holding(key)
        if record is None:
            return self.miss(key)
        self.recalled[key] = record
        return record.result

    def miss(self, key: Key) -> Result | None:
        """Nothing is known of an attribute, or is not to be: it will be evaluated."""
        self._missed.append(key)
        return None

    def answers(self, keys: Iterable[Key]) -> dict[Key, Result]:
        """Of what is known at this tree, what it evaluates to."""
        holding = ((key, self._holding(key)) for key in keys)
        return {key: record.result for key, record in holding if record is not None}

    def builds(self, key: Key) -> bool:
        """Whether evaluating an attribute had to build something the last time."""
        newest = self._newest(key)
        return newest is not None and newest.builds

    def reads_metadata(self, key: Key) -> bool:
        """Whether an attribute was seen to read what `self` says of the source."""
        newest = self._newest(key)
        return newest is not None and newest.reads_metadata

    def other_direction(self) -> bool:
        """Whether to evaluate what is not known from its end, since it was last done from its beginning."""
        before = [record.backwards for key in self._missed if (record := self._newest(key)) and not record.builds]
        self._backwards = before.count(False) > len(before) / 2
        return self._backwards

    def records(self, evaluated: Mapping[Key, Evaluated]) -> dict[Key, Record]:
        """What is known of each attribute now.

        Args:
            evaluated: what has just been evaluated, in the direction that was last asked for.
        """
        records = {**self._own(), **self.recalled}
        comparisons = self._all()
        read = {one.reads for one in evaluated.values() if one.reads is not None}
        strange = frozenset(path for path in _union(one.files for one in read) if self._tree.file(path) is None)
        for key, one in evaluated.items():
            record = combined(key, one, comparisons, self._tree.witness.tree, backwards=self._backwards)
            # What was read and is no file of the tree nobody could compare.
            if record is not None and record.reads.files.isdisjoint(strange):
                records[key] = record
        return records

    def refined(self) -> dict[Key, Record]:
        """What is known of each attribute by the snapshot of this tree, and by those that came after it."""
        own = self._own()
        others = [one for one in self._all() if one.snapshot is not self._exact]
        return {key: record if record.builds else refined(record, others) for key, record in own.items()}

    def _own(self) -> dict[Key, Record]:
        """What the snapshot of this very tree knows, but for what read metadata that is another now."""
        first = next(self._read(), None)
        if first is None or first.snapshot is not self._exact:
            return {}
        return {
            key: record
            for key, record in first.snapshot.records.items()
            if record.builds or first.equal_on(record.reads)
        }

    def save(self, records: Mapping[Key, Record]) -> str | None:
        """Keep them; why that was not possible, if so."""
        if not records or (self._exact is not None and records == dict(self._exact.records)):
            return None
        reads = {record.reads for record in records.values()}
        files = _union(one.files for one in reads)
        folders = _union(one.folders for one in reads)
        return self._store.save(
            Snapshot(
                world=self._world,
                tree=self._tree.witness,
                paths=self._tree.paths,
                files={path: fingerprint for path in sorted(files) if (fingerprint := self._tree.file(path))},
                folders={path: fingerprint for path in sorted(folders) if (fingerprint := self._tree.folder(path))},
                metadata=self._tree.metadata,
                records=records,
            )
        )

    @property
    def _exact(self) -> Snapshot | None:
        """That of this very tree."""
        first = next(self._read(), None)
        return first.snapshot if first and first.snapshot.tree == self._tree.witness else None

    def _holding(self, key: Key) -> Record | None:
        return next((record for one in self._read() if (record := one.record(key))), None)

    def _newest(self, key: Key) -> Record | None:
        return next((record for one in self._read() if (record := one.snapshot.records.get(key))), None)

    def _all(self) -> list[Comparison]:
        return list(self._read())

    def _read(self) -> Iterator[Comparison]:
        """Those that were read before, then others, read one by one."""
        yield from self._comparisons
        for snapshot in self._unread:
            comparison = Comparison(snapshot, self._tree)
            self._comparisons.append(comparison)
            yield comparison


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)
