"""What is remembered of evaluations. Values only.

A *read set* is an upper bound of what evaluating one attribute read of the flake's own source tree. A *record* says
what an attribute evaluated to, its read set, and the trees at which it was seen to evaluate to that. A *snapshot*
holds the records that hold at one tree, and of that tree what is needed to tell whether they hold at another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelinegen import __version__
from pipelinegen.attrpath import AttrPath
from pipelinegen.inventory.results import Reads, Result
from pipelinegen.inventory.rules import Visit
from pipelinegen.values import Value

__all__ = ["FORMAT", "Key", "Reads", "Record", "Result", "Snapshot", "Witness", "World"]

FORMAT = 2
"""Of the files; others are not read."""

Key = tuple[AttrPath, Visit]
"""Which visit of which attribute; as in `inventory.frontier`."""


class World(Value):
    """All that an evaluation depends on besides the flake's own source tree.

    Attributes:
        nix_version: such as `2.26.3`.
        locks: digest of the locked inputs.
        subdirectory: folder of `flake.nix` inside the tree, "" for the top.
        options: digest of the configuration as far as it alters evaluation.
        generator_version: of pipelinegen.
        format: see `FORMAT`.
    """

    nix_version: str
    locks: str
    subdirectory: str
    options: str
    generator_version: str = __version__
    format: int = FORMAT


class Witness(Value):
    """A source tree.

    Attributes:
        tree: `narHash` of the source tree, which decides its store path.
        metadata: the names of the attributes that `self` had besides its path: a flake may ask for names without
            reading a value.
    """

    tree: str
    metadata: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """What is known of one attribute.

    Attributes:
        result: what it evaluates to wherever the record holds.
        reads: see `Reads`.
        witnesses: hashes of some trees at which that was seen, sorted; two trees show that it does not depend on the
            tree's own identity (its store path).
        coupled: the opposite was seen: with all that it reads unchanged it evaluated to something else.
        backwards: in which order the attributes were evaluated when this read set was taken.
        reads_metadata: it was seen to read what `self` says of the source; see `Evaluated.reads_metadata`.
        builds: evaluating it needs import from derivation, which hides what it reads: the record never holds.
    """

    key: Key
    result: Result
    reads: Reads
    witnesses: tuple[str, ...]
    coupled: bool = False
    backwards: bool = False
    reads_metadata: bool = False
    builds: bool = False


@dataclass(frozen=True)
class Snapshot:
    """Records that hold at one source tree, and what that tree is as far as they can see.

    Attributes:
        tree: which one.
        paths: digest of the tree's paths, their types, and the targets of symbolic links.
        files: path → fingerprint (mode and content) of regular files: all that a record reads, perhaps more.
        folders: path → fingerprint (names and types) of folders: all that a record lists, perhaps more.
        metadata: what `self` says of the source: name → JSON text.
    """

    world: World
    tree: Witness
    paths: str
    files: Mapping[str, str]
    folders: Mapping[str, str]
    metadata: Mapping[str, str]
    records: Mapping[Key, Record] = field(default_factory=dict)
