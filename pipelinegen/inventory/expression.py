"""The Nix expressions that evaluators are given. Pure, but for reading our own files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

from pipelinegen.attrpath import nix_string
from pipelinegen.inventory.frontier import Task
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.inventory.trees import MARKS, Marks, Trees


def flake_expression(source: FlakeSource, trees: Trees, *, watch: str | None = None) -> str:
    """The outputs of the flake, as this version of Nix would call it.

    Args:
        watch: the run's secret word: using the value of an attribute of `self` that says something of the source is
            reported with it (see `records.MetadataRead`).
    """
    watched = f"watch = {_METADATA_WATCH % nix_string(watch)}; " if watch else ""
    return (
        f"(let inherit (builtins.getFlake {nix_string(trees.reference)}) trees; in ({shipped('call.nix')}) {{ "
        f"trees = builtins.mapAttrs (_: name: trees.${{name}}) {json_expression(dict(trees.names))}; "
        f"locks = {json_expression(source.locks)}; rootInfo = {json_expression(source.source_info)}; "
        f"rootFolder = {nix_string(source.subdirectory)}; relocated = {json_expression(source.relocated)}; "
        f"{watched}}})"
    )


_METADATA_WATCH = 'name: builtins.trace "${%s} ${builtins.toJSON { event = "metadata"; inherit name; }}"'


def fetched_expression(trees: Trees) -> str:
    """Something that Nix evaluates by fetching those trees that are in the store, and nothing else."""
    used = " ".join(f"trees.{name}.outPath" for name in trees.here)
    return f"let inherit (builtins.getFlake {nix_string(trees.reference)}) trees; in builtins.deepSeq [ {used} ] true"


def marks_expression(trees: Trees, number: int | None) -> str:
    """The marks of one evaluator as a list of files; an empty one without a number."""
    if number is None or trees.marks is None:
        return "[ ]"
    folder = f"(builtins.getFlake {nix_string(trees.reference)}).trees.{MARKS}.outPath"
    files = " ".join(f"(folder + {nix_string(f'/{name}')})" for name in Marks.names(number))
    return f"(let folder = {folder}; in [ {files} ])"


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
