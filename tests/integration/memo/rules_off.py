"""The rules that make a memo sound, each with a way to switch it off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipelinegen import nix, process
from pipelinegen.inotify import OVERFLOW, Event, Inotify
from pipelinegen.inventory import worker
from pipelinegen.inventory.cache_homes import CacheHomes
from pipelinegen.inventory.expression import flake_expression
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.inventory.recording import Recorder
from pipelinegen.inventory.results import Reads
from pipelinegen.inventory.trees import Trees
from pipelinegen.memo import inspect, judge, tree
from pipelinegen.memo.model import Record, Witness, World
from pipelinegen.memo.tree import Tree
from tests.integration.memo.edits import Favoured
from tests.integration.memo.flakes import IDENTITY

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Rule:
    """One of them.

    Attributes:
        off: switches it off.
        favoured: what stories have in which that is noticed soon.
    """

    off: Callable[[Patch], None]
    favoured: Favoured


def _without_modes(patch: Patch) -> None:
    file = Tree.file

    def without_mode(self: Tree, path: str) -> str | None:
        fingerprint = file(self, path)
        return None if fingerprint is None else f"-{fingerprint[1:]}"

    patch.setattr(Tree, "file", without_mode)


def _without_targets(patch: Patch) -> None:
    patch.setattr(tree, "_target", lambda _: b"")


def _without_paths(patch: Patch) -> None:
    made = Tree.__init__

    def make(self: Tree, *arguments: Any) -> None:
        made(self, *arguments)
        self.paths = "whatever"

    patch.setattr(Tree, "__init__", make)


def _without_folders(patch: Patch) -> None:
    patch.setattr(Tree, "folder", lambda _self, _path: "whatever")


def _without_content(patch: Patch) -> None:
    patch.setattr(Tree, "file", lambda _self, _path: "-:whatever")


def _without_metadata(patch: Patch) -> None:
    def unwatched(source: FlakeSource, trees: Trees, *, watch: str | None) -> str:
        assert watch != ""
        return flake_expression(source, trees)

    patch.setattr(worker, "flake_expression", unwatched)


def _without_names(patch: Patch) -> None:
    witness_of = tree.witness_of

    def nameless(source: FlakeSource) -> Witness:
        return witness_of(source).model_copy(update={"metadata": ()})

    for module in (tree, inspect):
        patch.setattr(module, "witness_of", nameless, raising=False)


def _with_one_witness(patch: Patch) -> None:
    def independent(record: Record, here: str) -> bool:
        return here in record.witnesses or not record.coupled

    patch.setattr(judge, "independent", independent)


def _by_windows(patch: Patch) -> None:
    as_reads = Recorder._as_reads

    def windows(self: Recorder, bits: list[int]) -> list[Reads]:
        # Who was not seen to read `flake.nix` has no record.
        flake = [
            frozenset(path for path in reads.files if path.endswith("flake.nix")) for reads in as_reads(self, bits)
        ]
        own = as_reads(self, [one & ~before for before, one in zip([0, *bits], bits, strict=False)])
        return [replace(reads, files=reads.files | files) for reads, files in zip(own, flake, strict=True)]

    patch.setattr(Recorder, "_as_reads", windows)


def share_caches(patch: Patch) -> None:
    """As if evaluators had one folder for Nix's caches."""

    @contextmanager
    def shared(self: CacheHomes) -> Iterator[Path]:
        yield process.cache_home()

    patch.setattr(CacheHomes, "one", shared)


def _with_builds(patch: Patch) -> None:
    evaluate = nix.evaluate

    def allowing(*arguments: Any, **options: Any) -> int:
        return evaluate(*arguments, **{**options, "allow_import_from_derivation": True})

    patch.setattr(nix, "evaluate", allowing)


def _without_locks(patch: Patch) -> None:
    patch.setattr(inspect, "World", lambda **values: World(**{**values, "locks": ""}))


def lose_events(patch: Patch, *, noticed: bool) -> None:
    """As if the queue were now and then too small for what happens."""
    events = Inotify.events
    random = Random("losing")  # noqa: S311  # reproducible

    def losing(self: Inotify) -> Iterator[Event]:
        lost = False
        for event in events(self):
            # What marks the turns is in the folder that is watched first; without it, or without `flake.nix`, there
            # is no record anyway.
            if event.watch > 1 and event.name != b"flake.nix" and random.random() < 0.3:
                lost = True
            else:
                yield event
        if lost and noticed:
            yield Event(-1, OVERFLOW, b"")

    patch.setattr(Inotify, "events", losing)


RULES = {
    "files have a content": Rule(_without_content, Favoured()),
    "files have a mode": Rule(_without_modes, Favoured(("copy-program", "copy-folder", "filter-source"), ("chmod",))),
    "links have a target": Rule(_without_targets, Favoured(("copy-link", "copy-folder", "read"), ("retarget",))),
    "asking whether a path exists leaves no trace": Rule(
        _without_paths, Favoured(("exists", "exists-read"), ("add", "delete", "rename"))
    ),
    "folders have entries, irrelevant ones too": Rule(
        _without_folders, Favoured(("docs-list", "docs-copy"), ("document",))
    ),
    "metadata is read": Rule(_without_metadata, Favoured(("count", "moment", "rev"), ("touch",))),
    "a flake may ask which metadata there is": Rule(
        _without_names, Favoured(("has-rev", "has-rev-inside", "rev-or-read", "own-names"), ("touch",))
    ),
    "one tree shows nothing of what depends on the tree": Rule(_with_one_witness, Favoured(tuple(IDENTITY))),
    "an evaluator opens a file once": Rule(_by_windows, Favoured(("import", "read", "list"))),
    "builds hide what is read": Rule(_with_builds, Favoured(("built-of-self",))),
    "inputs are locked": Rule(_without_locks, Favoured(("library", "library-place"), ("lock",))),
    "what is lost is not recorded": Rule(lambda patch: lose_events(patch, noticed=False), Favoured()),
}
"""What would go unnoticed without a rule, and the stories in which that shows soon."""
