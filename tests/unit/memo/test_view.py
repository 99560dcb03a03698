"""The memo as it looks from one tree: what is carried over when a snapshot is written again."""

from __future__ import annotations

from pathlib import Path

from pipelinegen.inventory.model import FlakeSource
from pipelinegen.memo.model import Key, Reads, Record, Result, World
from pipelinegen.memo.store import MemoStore
from pipelinegen.memo.tree import Tree
from pipelinegen.memo.view import View

WORLD = World(nix_version="2.34.8", locks="l", subdirectory="", options="o")
PLAIN: Key = (("packages", "plain"), "item")
DATED: Key = (("packages", "dated"), "item")


def tree(folder: Path, rev: str) -> Tree:
    source = FlakeSource(
        reference="git+file:///repo", store_path=str(folder), source_info={"narHash": "sha256-same", "rev": rev}
    )
    return Tree.scan(source, lambda _: False)


def record(key: Key, at: Tree, *metadata: str) -> Record:
    reads = Reads(files=frozenset({"flake.nix"}), metadata=frozenset(metadata))
    return Record(key, Result(names=("x",)), reads, (at.witness.tree,))


def test_a_commit_with_the_same_tree_takes_over_only_what_does_not_read_which_commit_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "flake.nix").write_text("{ }")
    store = MemoStore(tmp_path / "memo")
    first, second = tree(folder, "r1"), tree(folder, "r2")
    view = View(store, WORLD, first)
    assert view.save({PLAIN: record(PLAIN, first), DATED: record(DATED, first, "rev")}) is None
    assert set(View(store, WORLD, first).refined()) == {PLAIN, DATED}

    again = View(store, WORLD, second)
    assert again.recall(DATED) is None
    assert set(again.records({})) == {PLAIN}
    assert set(again.refined()) == {PLAIN}
