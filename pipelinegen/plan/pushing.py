"""Which outputs share a push job. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from pipelinegen.inventory.model import FlakeOutput

PUSHED_AT_ONCE = 200
"""Outputs whose paths one job takes in its command line: far below what a line may hold."""


@dataclass(frozen=True)
class Push:
    """What one job pushes.

    Attributes:
        made_by: names of the jobs that make it in this pipeline, sorted.
        caches: names of the caches.
        outputs: of the flake, at least one.
        touch: whether what is in the caches already is fetched, so that they keep it.
        mixed: whether some of it is made by other jobs than the rest.
    """

    made_by: tuple[str, ...]
    caches: tuple[str, ...]
    outputs: tuple[FlakeOutput, ...]
    touch: bool
    mixed: bool = False

    @property
    def kind(self) -> Hashable:
        """Only pushes of one kind can be joined."""
        return self.caches, self.touch


def same_paths(pushes: Sequence[Push]) -> list[Push]:
    """One push for all names of the same paths."""
    groups: dict[Hashable, list[Push]] = {}
    for push in pushes:
        paths = tuple(output.wanted_paths for output in push.outputs)
        groups.setdefault((paths, push.kind), []).append(push)
    return [part for group in groups.values() for part in _joined(group)]


def few(pushes: Sequence[Push], most: int | None) -> list[Push]:
    """One push for all that the same jobs make; and where those are more than `most`, for what others make.

    Only the latter lets a failed build hold up the push of what does not need it. There may still be more than
    `most`: what differs in caches stays apart, and no job takes more than `PUSHED_AT_ONCE` outputs.
    """
    groups: dict[Hashable, list[Push]] = {}
    for push in pushes:
        groups.setdefault((push.made_by, push.kind), []).append(push)
    found = [part for group in groups.values() for part in _joined(group)]
    if most is None or len(found) <= most:
        return found
    kinds: dict[Hashable, list[Push]] = {}
    for push in found:
        kinds.setdefault(push.kind, []).append(push)
    # One for each kind, and of what is left a share.
    spare = max(most - len(kinds), 0)
    several = max(len(found) - len(kinds), 1)
    return [
        part
        for group in kinds.values()
        for even in _even(group, 1 + spare * (len(group) - 1) // several)
        for part in _joined(even)
    ]


def _joined(pushes: Sequence[Push]) -> list[Push]:
    """One push for all of them, or as many as take so many outputs; all are of one kind."""
    outputs = [(output, push.made_by) for push in pushes for output in push.outputs]
    parts = [outputs[start : start + PUSHED_AT_ONCE] for start in range(0, len(outputs), PUSHED_AT_ONCE)]
    return [
        replace(
            pushes[0],
            made_by=tuple(sorted({job for _, made_by in part for job in made_by})),
            outputs=tuple(output for output, _ in part),
            mixed=len({made_by for _, made_by in part}) > 1,
        )
        for part in parts
    ]


def _even(pushes: Sequence[Push], count: int) -> list[Sequence[Push]]:
    """Not more than `count` parts, none empty, of about as many outputs; neighbours stay together."""
    total = sum(len(push.outputs) for push in pushes)
    parts: dict[int, list[Push]] = {}
    done = 0
    for push in pushes:
        parts.setdefault(done * count // total, []).append(push)
        done += len(push.outputs)
    return list(parts.values())
