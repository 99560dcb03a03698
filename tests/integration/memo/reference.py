"""What a full evaluation of many states says, by one inventory: a flake that calls all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelinegen.config import Config
from pipelinegen.inventory.expression import shipped
from pipelinegen.inventory.model import FlakeOutput, FlakeSource, Inventory
from pipelinegen.inventory.read import read_inventory
from tests.integration.memo.states import File, State, Stored, store

SYSTEM = "x86_64-linux"

_FLAKE = f"""
{{
  outputs = inputs:
    let
      states = builtins.fromJSON (builtins.readFile ./states.json);
      call = state: import ./call.nix {{
        inherit (state) locks rootInfo rootFolder;
        relocated = {{ }};
        trees = builtins.mapAttrs (_: name: inputs.${{name}}) state.trees;
      }};
      all = builtins.mapAttrs (_: call) states;
      group = name: builtins.mapAttrs (_: outputs: outputs.${{name}}.{SYSTEM}) all;
    in
    builtins.listToAttrs (map (name: {{ inherit name; value = group name; }}) [ "packages" "checks" "legacyPackages" ]);
}}
"""


@dataclass(frozen=True)
class Answer:
    """What one state offers."""

    outputs: dict[tuple[str, ...], FlakeOutput] = field(default_factory=dict)
    failures: frozenset[tuple[str, ...]] = frozenset()


def answer(inventory: Inventory) -> Answer:
    """An inventory, as far as it is the same however it came about: without messages."""
    return Answer(
        {output.path: output for output in inventory.outputs},
        frozenset(failure.path for failure in inventory.failures),
    )


def references(
    sources: Sequence[FlakeSource], libraries: Sequence[Stored], config: Config, scratch: Path
) -> list[Answer]:
    """A full evaluation of each source, without any memory, in one go."""
    trees = {f"s{number}": (source.store_path, source.source_info["narHash"]) for number, source in enumerate(sources)}
    trees |= {f"l{number}": (library.path, library.nar_hash) for number, library in enumerate(libraries)}
    by_path = {library.path: f"l{number}" for number, library in enumerate(libraries)}
    states = {
        f"s{number}": {
            "locks": source.locks,
            "rootInfo": source.source_info,
            "rootFolder": source.subdirectory,
            "trees": {"root": f"s{number}"} | _inputs(source, by_path),
        }
        for number, source in enumerate(sources)
    }
    files = {"flake.nix": _FLAKE, "call.nix": shipped("call.nix"), "states.json": json.dumps(states)}
    whole = State({name: File(text) for name, text in files.items()})
    (stored,) = store([whole], scratch)
    nodes: dict[str, object] = {"root": {"inputs": {name: name for name in trees}}}
    for name, (path, nar_hash) in trees.items():
        locked = {"type": "path", "path": path, "narHash": nar_hash}
        nodes[name] = {"flake": False, "locked": locked, "original": locked}
    inventory = read_inventory(
        FlakeSource(
            reference="git+file:///all",
            store_path=stored.path,
            source_info={"narHash": stored.nar_hash},
            locks={"nodes": nodes, "root": "root", "version": 7},
            nix_version=sources[0].nix_version,
        ),
        config,
    )
    answers = [Answer() for _ in sources]
    for output in inventory.outputs:
        group, state, *rest = output.path
        own = (group, SYSTEM, *rest)
        drv_attr_path = (*own, *output.drv_attr_path[len(own) :])
        renamed = output.model_copy(update={"path": own, "drv_attr_path": drv_attr_path})
        answers[int(state[1:])].outputs[own] = renamed
    failed: list[set[tuple[str, ...]]] = [set() for _ in sources]
    for failure in inventory.failures:
        group, state, *rest = failure.path
        failed[int(state[1:])].add((group, SYSTEM, *rest))
    return [Answer(found.outputs, frozenset(paths)) for found, paths in zip(answers, failed, strict=True)]


def _inputs(source: FlakeSource, by_path: dict[str, str]) -> dict[str, str]:
    nodes = source.locks["nodes"]
    assert isinstance(nodes, dict)
    return {
        name: by_path[node["locked"]["path"]]
        for name, node in nodes.items()
        if "locked" in node and "parent" not in node
    }


def differences(got: Answer, wanted: Answer) -> list[str]:
    """Where two answers differ, for people; nothing where they are equal."""
    lines = [
        f"{'.'.join(path)}: {_shown(got, path)} is not {_shown(wanted, path)}"
        for path in sorted(got.outputs.keys() | wanted.outputs.keys())
        if got.outputs.get(path) != wanted.outputs.get(path)
    ]
    lines += [f"{'.'.join(path)} fails, or should" for path in sorted(got.failures ^ wanted.failures)]
    return lines


def _shown(answer: Answer, path: tuple[str, ...]) -> str:
    output = answer.outputs.get(path)
    return "missing" if output is None else output.drv_path or output.unavailable or "nothing"
