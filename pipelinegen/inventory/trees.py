"""A flake of our own that fetches, lazily, the source trees a flake consists of.

Only for the inputs of a flake does Nix take a locked tree that is in the store already, or in a binary cache,
instead of fetching it again from where it came from. So the root's source and every node of its lock file
become inputs, each `flake = false`, of a flake that has nothing else. It is evaluated as a whole or not, but its
inputs are fetched one by one when they are used: a missing input costs only who uses it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelinegen import local_store, nar, nix
from pipelinegen.attrpath import nix_string, show_name
from pipelinegen.errors import FlakeError
from pipelinegen.inventory.messages import OWN_TREE
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.path_info import source_path

_NOT_FETCHED_WITH = frozenset({"dir", "__final"})
"""Attributes of a locked reference that say nothing about its tree."""


MARKS = "marks"
"""Name of the input that holds marks; the others are numbered."""


@dataclass(frozen=True)
class Trees:
    """The flake of trees in the store.

    Attributes:
        reference: its locked reference, for `builtins.getFlake`.
        names: lock node → name of the input that holds its tree.
        root: name of the input that holds the flake's own source.
        here: names of the inputs whose trees are in the store.
        marks: the store path of the files that evaluators mark their steps with; null where they need not.
    """

    reference: str
    names: Mapping[str, str]
    root: str
    here: tuple[str, ...] = ()
    marks: str | None = None


def add_trees(source: FlakeSource, *, marks: Marks | None = None) -> Trees:
    """Put the flake of trees of `source` into the store; nothing is fetched.

    Raises:
        CommandError: Nix refuses it.
        FlakeError: the lock file holds what no Nix flake can say.
    """
    nodes = _locked_trees(source)
    names = {node: f"n{number}" for number, node in enumerate(sorted(nodes))}
    root = names[str(source.locks["root"])]
    if marks is not None:
        names[MARKS] = MARKS
        nodes[MARKS] = _in_store(marks.nar_hash)
    with tempfile.TemporaryDirectory(prefix="pipelinegen-") as scratch:
        folder = Path(scratch) / "trees"
        folder.mkdir()
        (folder / "flake.nix").write_text(_flake(nodes, names), "utf-8")
        (folder / "flake.lock").write_text(_lock(nodes, names), "utf-8")
        metadata = nix.flake_metadata(f"path:{quote(str(folder))}")
    content = quote(metadata["locked"]["narHash"], safe="")
    store = Path(source.store_path).parent
    return Trees(
        reference=f"path:{metadata['path']}?narHash={content}",
        names=names,
        root=root,
        here=tuple(name for node, name in sorted(names.items()) if _is_here(nodes[node], store)),
        marks=marks.path if marks else None,
    )


def _is_here(node: Mapping[str, Any], store: Path) -> bool:
    """Whether the store holds a locked tree; no is also the answer to every doubt."""
    try:
        return Path(source_path(str(node["narHash"]), str(store))).exists()
    except (KeyError, ValueError):
        return False


@dataclass(frozen=True)
class Marks:
    """Files in the store that say nothing, two for each evaluator that may run at once.

    Attributes:
        path: of their folder in the store.
        nar_hash: its content.
    """

    path: str
    nar_hash: str

    @staticmethod
    def names(number: int) -> tuple[str, str]:
        """The two of one evaluator, in the order in which it reads them."""
        return f"{number}a", f"{number}b"


def add_marks(word: str, evaluators: int) -> Marks:
    """Put marks into the store that nobody else has.

    Args:
        word: what makes them different from those of others.

    Raises:
        CommandError: Nix refuses it.
    """
    with tempfile.TemporaryDirectory(prefix="pipelinegen-") as scratch:
        folder = Path(scratch) / "source"
        folder.mkdir()
        (folder / "word").write_text(word, "utf-8")
        for number in range(evaluators):
            for name in Marks.names(number):
                (folder / name).touch()
        return Marks(local_store.add(folder), nar.sri_hash(folder))


def _in_store(nar_hash: str) -> dict[str, Any]:
    # Nix looks into its store before it fetches. A `path` that is there Nix 2.34 would read as a whole, to hash it.
    return {"type": "tarball", "url": OWN_TREE, "narHash": nar_hash}


def _locked_trees(source: FlakeSource) -> dict[str, dict[str, Any]]:
    locks: Any = source.locks
    trees = {locks["root"]: _in_store(str(source.source_info["narHash"]))}
    for name, node in locks["nodes"].items():
        # A relative input lies in its parent's tree.
        if "locked" in node and "parent" not in node:
            trees[name] = {key: value for key, value in node["locked"].items() if key not in _NOT_FETCHED_WITH}
    return trees


def _flake(nodes: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
    lines = []
    for node, name in names.items():
        attributes = "".join(f" {show_name(key)} = {_literal(value)};" for key, value in sorted(nodes[node].items()))
        lines.append(f"  inputs.{name} = {{{attributes} flake = false; }};\n")
    return "{\n" + "".join(lines) + "  outputs = inputs: { trees = inputs; };\n}\n"


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return nix_string(value)
    if isinstance(value, list):
        return "[ " + " ".join(map(_literal, value)) + " ]"
    if isinstance(value, dict):
        return "{ " + " ".join(f"{show_name(key)} = {_literal(item)};" for key, item in value.items()) + " }"
    raise FlakeError("the lock file has a value that no flake input can have", why=repr(value))


def _lock(nodes: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
    locked = {name: {"flake": False, "locked": nodes[node], "original": nodes[node]} for node, name in names.items()}
    root = {"inputs": {name: name for name in names.values()}}
    return json.dumps({"nodes": {"root": root, **locked}, "root": "root", "version": 7}, sort_keys=True)
