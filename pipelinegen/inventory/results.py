"""What evaluating an attribute gave, and what it read of the flake's own source. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from pipelinegen.inventory.model import FlakeOutput
from pipelinegen.values import Value


@dataclass(frozen=True)
class Reads:
    """An upper bound of what evaluating one attribute read. Paths are relative to the source tree's top.

    Attributes:
        files: opened regular files.
        folders: listed folders, "" for the top.
        metadata: attributes that Nix gives `self` besides its path: `rev`, `lastModified`, `narHash`, …
    """

    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    metadata: frozenset[str] = frozenset()

    def __and__(self, other: Reads) -> Reads:
        """What both allow: two upper bounds of one evaluation."""
        return Reads(self.files & other.files, self.folders & other.folders, self.metadata & other.metadata)


class Result(Value):
    """What an attribute evaluated to.

    Attributes:
        names: of a set: its attributes of interest; null for what is no set.
        output: of a derivation, also one that must not be built.
        strange: it should have been something else (see `records.Ignored`). With neither names nor output it is
            nothing of interest.
    """

    names: tuple[str, ...] | None = None
    output: FlakeOutput | None = None
    strange: bool = False


@dataclass(frozen=True)
class Evaluated:
    """One attribute that was evaluated now.

    Attributes:
        result: what it gave.
        reads: null where nothing was recorded.
        builds: it had to build something, which hides what it reads.
        reads_metadata: it was seen to read an attribute of `self` itself: no other had in the same evaluator.
    """

    result: Result
    reads: Reads | None
    builds: bool = False
    reads_metadata: bool = False
