"""Source trees as values, put into the store as Nix has them there: without git, many at once."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import posixpath
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipelinegen import nar
from pipelinegen.inventory.model import FlakeSource

Info = Mapping[str, str | int | bool]


@dataclass(frozen=True)
class File:
    """A regular file."""

    text: str
    program: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder that may be empty."""


Node = File | Link | Folder


@dataclass(frozen=True)
class State:
    """A flake at one moment.

    Attributes:
        nodes: path in the tree → what is there; folders that hold something need not be named.
        info: what `self` says of the source, but for `narHash`.
        folder: of `flake.nix` in the tree, "" for the top.
        library: number of the library that the lock file names.
        relative: inputs inside the tree: name → folder, relative to `folder`.
    """

    nodes: Mapping[str, Node]
    info: Info = field(default_factory=dict)
    folder: str = ""
    library: int = 0
    relative: Mapping[str, str] = field(default_factory=dict)

    def write(self, place: Path) -> None:
        """As a folder at `place`, which is made."""
        place.mkdir(parents=True)
        for path in sorted(self.nodes):
            node, at = self.nodes[path], place / path
            at.parent.mkdir(parents=True, exist_ok=True)
            match node:
                case File():
                    at.write_bytes(os.fsencode(node.text))
                    at.chmod(0o755 if node.program else 0o644)
                case Link():
                    at.symlink_to(node.target)
                case Folder():
                    at.mkdir(exist_ok=True)


def fits(nodes: Mapping[str, Node]) -> bool:
    """Whether nothing lies below what is no folder."""
    return all(isinstance(nodes.get(above, Folder()), Folder) for path in nodes for above in _parents(path))


def _parents(path: str) -> Iterable[str]:
    while path := posixpath.dirname(path):
        yield path


def full_info(rev: str | None, count: int, moment: int, *, dirty_names: bool) -> Info:
    """What Nix gives `self` of a git tree; without `rev` it is a changed one, of a Nix that names what was changed."""
    date = datetime.fromtimestamp(moment, UTC).strftime("%Y%m%d%H%M%S")
    info: dict[str, str | int | bool] = {"lastModified": moment, "lastModifiedDate": date, "submodules": False}
    if rev is not None:
        return info | {"rev": rev, "shortRev": rev[:7], "revCount": count}
    named = hashlib.sha1(str(count).encode(), usedforsecurity=False).hexdigest()
    return info | ({"dirtyRev": f"{named}-dirty", "dirtyShortRev": f"{named[:7]}-dirty"} if dirty_names else {})


@dataclass(frozen=True)
class Stored:
    """A tree in the store."""

    path: str
    nar_hash: str

    def locked(self) -> dict[str, object]:
        """As lock files name it."""
        return {"type": "path", "path": self.path, "narHash": self.nar_hash}


def store(states: Iterable[State], scratch: Path) -> list[Stored]:
    """All of them in the store, by one process."""
    places = []
    for number, state in enumerate(states):
        places.append(scratch / str(number) / "source")
        state.write(places[-1])
    ended = subprocess.run(["nix-store", "--add", *places], capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    paths = ended.stdout.split()
    assert len(paths) == len(places)
    return [Stored(path, nar_hash(place)) for path, place in zip(paths, places, strict=True)]


def nar_hash(place: Path) -> str:
    """The `narHash` of a folder."""
    digest = hashlib.sha256()
    for chunk in nar.chunks(place):
        digest.update(chunk)
    return "sha256-" + base64.b64encode(digest.digest()).decode()


def locks(state: State, libraries: list[Stored]) -> dict[str, object]:
    """The lock file of a state."""
    tree = libraries[state.library].locked()
    nodes: dict[str, object] = {
        "root": {"inputs": {name: name for name in sorted(["library", *state.relative])}},
        "library": {"flake": False, "locked": tree, "original": tree},
    }
    for name, folder in sorted(state.relative.items()):
        inside = {"type": "path", "path": f"./{folder}"}
        nodes[name] = {"flake": False, "locked": inside, "original": inside, "parent": []}
    return {"nodes": nodes, "root": "root", "version": 7}


def flake_source(state: State, stored: Stored, libraries: list[Stored], nix_version: str) -> FlakeSource:
    """What `read_source` would say."""
    return FlakeSource(
        reference="git+file:///invented",
        store_path=stored.path,
        subdirectory=state.folder,
        source_info={"narHash": stored.nar_hash, **state.info},
        locks=locks(state, libraries),
        nix_version=nix_version,
    )


def told(state: State) -> str:
    """A state, for a person who looks for a fault."""
    return json.dumps({path: repr(node) for path, node in sorted(state.nodes.items())} | dict(state.info), indent=1)
