"""What a verification added to the memo. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelinegen.memo.model import Key, Reads, Record, Snapshot


@dataclass(frozen=True)
class Effect:
    """How much more is known of outputs than was.

    Attributes:
        confirmed: they are now known from two trees, so that they do not depend on the tree itself, and were not.
        narrowed: fewer files are known to matter to them than were.
    """

    confirmed: int
    narrowed: int


def effect(before: Iterable[Snapshot], after: Mapping[Key, Record]) -> Effect:
    """Compare what is known of each output at the present tree with what was known at others."""
    best: dict[Key, list[Record]] = {}
    for snapshot in before:
        for key, record in after.items():
            old = snapshot.records.get(key)
            if key[1] == "item" and record.result.output and old and old.result == record.result and not old.builds:
                best.setdefault(key, []).append(old)
    confirmed = sum(_settled(after[key]) and not any(map(_settled, olds)) for key, olds in best.items())
    narrowed = sum(
        not after[key].builds and _size(after[key].reads) < min(_size(old.reads) for old in olds)
        for key, olds in best.items()
    )
    return Effect(confirmed, narrowed)


def _settled(record: Record) -> bool:
    return not record.coupled and not record.builds and len(set(record.witnesses)) > 1


def _size(reads: Reads) -> int:
    return len(reads.files) + len(reads.folders) + len(reads.metadata)
