"""The Nix expressions that evaluators are given. Pure, but for reading our own files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

from pipelinegen.attrpath import nix_string
from pipelinegen.inventory.frontier import Task
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.inventory.trees import Trees


def flake_expression(source: FlakeSource, trees: Trees) -> str:
    """The outputs of the flake, as this version of Nix would call it."""
    return (
        f"(let inherit (builtins.getFlake {nix_string(trees.reference)}) trees; in ({shipped('call.nix')}) {{ "
        f"trees = builtins.mapAttrs (_: name: trees.${{name}}) {json_expression(dict(trees.names))}; "
        f"locks = {json_expression(source.locks)}; rootInfo = {json_expression(source.source_info)}; "
        f"rootFolder = {nix_string(source.subdirectory)}; relocated = {json_expression(source.relocated)}; }})"
    )


def listed(tasks: Sequence[Task]) -> list[dict[str, object]]:
    """Tasks as `walk.nix` reads them."""
    return [{"path": list(task.path), "look": task.look.to_json()} for task in tasks]


def json_expression(value: object) -> str:
    """A value without functions."""
    # Names may hold anything but are no reason for surrogates or escapes: Nix strings are bytes.
    return f"(builtins.fromJSON {nix_string(json.dumps(value, ensure_ascii=False, sort_keys=True))})"


@cache
def shipped(name: str) -> str:
    """The text of a file beside this module."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")
