"""Source trees: what counts of them, and what does not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelinegen.errors import ToolError
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.memo.tree import Tree

UNDECODABLE = b"\xff\xfe \n\"'\\"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A tree with a bit of everything."""
    (tmp_path / "flake.nix").write_text("{ }")
    (tmp_path / "docs" / "more").mkdir(parents=True)
    (tmp_path / "docs" / "a.md").write_text("a")
    (tmp_path / "docs" / "more" / "b.md").write_text("b")
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts" / "a.nix").write_text("a")
    (tmp_path / "hosts" / "b.md").write_text("b")
    (tmp_path / "hosts" / "link").symlink_to("a.nix")
    (tmp_path / "empty").mkdir()
    return tmp_path


def nothing(_: str) -> bool:
    return False


def markdown(path: str) -> bool:
    return path.endswith(".md")


def scan(top: Path, ignored: Callable[[str], bool] = nothing, **info: str | int | bool) -> Tree:
    return Tree.scan(FlakeSource(reference="x", store_path=str(top), source_info=info), ignored)


class TestPaths:
    @pytest.mark.parametrize(
        "edit",
        [
            lambda top: (top / "hosts" / "c.nix").write_text(""),
            lambda top: (top / "hosts" / "a.nix").unlink(),
            lambda top: (top / "hosts" / "a.nix").rename(top / "hosts" / "c.nix"),
            lambda top: (top / "hosts" / "a.nix").rename(top / "a.nix"),
            lambda top: (top / "empty").rmdir(),
            lambda top: (top / "new").mkdir(),
            lambda top: ((top / "hosts" / "link").unlink(), (top / "hosts" / "link").symlink_to("b.md")),
            lambda top: ((top / "hosts" / "link").unlink(), (top / "hosts" / "link").write_text("a.nix")),
            lambda top: ((top / "empty").rmdir(), (top / "empty").write_text("")),
            lambda top: (top / os.fsdecode(UNDECODABLE)).write_text(""),
            lambda top: ((top / "hosts" / "b.md").unlink(), (top / "hosts" / "b.md").symlink_to("a.nix")),
        ],
        ids=[
            *("a new file", "one less", "renamed", "moved", "a folder less", "a new folder"),
            *("another target", "a file for a link", "a file for a folder", "a name that is no UTF-8"),
            "a link for an ignored file",
        ],
    )
    def test_a_path_a_type_or_a_target_that_changes_is_seen(self, top: Path, edit: Callable[[Path], object]) -> None:
        before = scan(top, markdown).paths
        edit(top)
        assert scan(top, markdown).paths != before

    @pytest.mark.parametrize(
        "edit",
        [
            lambda top: (top / "hosts" / "a.nix").write_text("other"),
            lambda top: (top / "hosts" / "a.nix").chmod(0o755),
            lambda top: os.utime(top / "hosts" / "a.nix", (1, 1)),
            lambda top: (top / "hosts" / "c.md").write_text("new"),
            lambda top: (top / "hosts" / "b.md").unlink(),
            lambda top: ((top / "new" / "deep").mkdir(parents=True), (top / "new" / "deep" / "c.md").write_text("")),
            lambda top: (top / "docs" / "more" / "b.md").rename(top / "b.md"),
        ],
        ids=[
            *("content", "the exec bit", "the time", "a new ignored file", "one less"),
            *("folders that hold only ignored files", "one moves to another folder"),
        ],
    )
    def test_anything_else_is_not(self, top: Path, edit: Callable[[Path], object]) -> None:
        before = scan(top, markdown).paths
        edit(top)
        if not any((top / "docs" / "more").iterdir()):
            (top / "docs" / "more").rmdir()
        assert scan(top, markdown).paths == before

    def test_a_folder_counts_when_anything_in_it_does(self, top: Path) -> None:
        before = scan(top, markdown).paths
        (top / "docs" / "more" / "c.nix").write_text("")
        assert scan(top, markdown).paths != before
        assert scan(top, lambda path: markdown(path) or path == "docs/more/c.nix").paths == before

    def test_an_empty_folder_counts_unless_it_is_ignored(self, top: Path) -> None:
        before = scan(top, lambda path: path == "empty").paths
        (top / "empty").rmdir()
        assert scan(top).paths == before

    def test_nothing_is_asked_but_files_links_and_empty_folders(self, top: Path) -> None:
        asked: list[str] = []

        def ignored(path: str) -> bool:
            asked.append(path)
            return False

        scan(top, ignored)
        assert sorted(asked) == [
            *("docs/a.md", "docs/more/b.md", "empty", "flake.nix"),
            *("hosts/a.nix", "hosts/b.md", "hosts/link"),
        ]

    def test_a_name_cannot_imitate_another_tree(self, tmp_path: Path) -> None:
        one, two, three, four = (tmp_path / name for name in ("one", "two", "three", "four"))
        for folder in (one, two, three / "x", four):
            folder.mkdir(parents=True)
        (one / "a").symlink_to("b")
        (one / "fc").write_text("")
        (two / "a").symlink_to("b\nffc")
        (four / "dx").write_text("")
        assert len({scan(top).paths for top in (one, two, three, four)}) == 4

    def test_where_the_tree_lies_makes_no_difference(self, top: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        before = scan(top)
        moved = top.rename(tmp_path_factory.mktemp("other") / "tree")
        after = scan(moved)
        assert (after.paths, after.folder("hosts")) == (before.paths, before.folder("hosts"))
        assert after.file("flake.nix") is not None


class TestFiles:
    def test_a_fingerprint_is_of_mode_and_content(self, top: Path) -> None:
        digest = hashlib.sha256(b"a").hexdigest()[:32]
        assert scan(top).file("hosts/a.nix") == f"-:{digest}"
        (top / "hosts" / "a.nix").chmod(0o555)
        assert scan(top).file("hosts/a.nix") == f"x:{digest}"

    def test_a_large_file_has_the_fingerprint_of_all_of_it(self, top: Path) -> None:
        content = bytes(3 << 20) + b"end"
        (top / "large").write_bytes(content)
        assert scan(top).file("large") == "-:" + hashlib.sha256(content).hexdigest()[:32]

    @pytest.mark.parametrize(
        "path", ["none", "hosts", "hosts/link", "", "hosts/../flake.nix", "/etc/passwd", "flake.nix/", "a\0b", "\ud800"]
    )
    def test_what_is_no_regular_file_of_the_tree_has_none(self, top: Path, path: str) -> None:
        assert scan(top).file(path) is None

    def test_a_file_behind_a_linked_folder_has_none(self, top: Path) -> None:
        (top / "linked").symlink_to("hosts")
        assert scan(top).file("linked/a.nix") is None

    def test_a_file_is_read_when_it_is_asked_for_and_once(self, top: Path) -> None:
        seen = scan(top)
        (top / "hosts" / "a.nix").write_text("later")
        later = seen.file("hosts/a.nix")
        assert later == "-:" + hashlib.sha256(b"later").hexdigest()[:32]
        (top / "hosts" / "a.nix").write_text("still later")
        assert seen.file("hosts/a.nix") == later

    @pytest.mark.parametrize("now", ["gone", "a link", "a folder"])
    def test_a_file_that_is_none_any_more_has_none(self, top: Path, now: str) -> None:
        seen = scan(top)
        file = top / "hosts" / "a.nix"
        file.unlink()
        if now == "a link":
            file.symlink_to("b.md")
        elif now == "a folder":
            file.mkdir()
        assert seen.file("hosts/a.nix") is None

    def test_names_that_are_no_utf8_can_be_asked_for_and_kept_as_json(self, top: Path) -> None:
        (top / os.fsdecode(UNDECODABLE)).write_text("x")
        name = UNDECODABLE.decode("utf-8", "surrogateescape")
        assert scan(top).file(json.loads(json.dumps(name))) == "-:" + hashlib.sha256(b"x").hexdigest()[:32]


class TestFolders:
    @pytest.mark.parametrize("path", ["", "hosts", "docs/more", "empty"])
    def test_each_folder_has_a_fingerprint(self, top: Path, path: str) -> None:
        assert len(scan(top).folder(path) or "") == 32

    @pytest.mark.parametrize("path", ["none", "flake.nix", "hosts/link", "/", "hosts/", ".", "\ud800"])
    def test_what_is_no_folder_has_none(self, top: Path, path: str) -> None:
        assert scan(top).folder(path) is None

    @pytest.mark.parametrize(
        "edit",
        [
            lambda hosts: (hosts / "c.md").write_text(""),
            lambda hosts: (hosts / "b.md").unlink(),
            lambda hosts: (hosts / "a.nix").rename(hosts / "c.nix"),
            lambda hosts: ((hosts / "a.nix").unlink(), (hosts / "a.nix").mkdir()),
            lambda hosts: ((hosts / "a.nix").unlink(), (hosts / "a.nix").symlink_to("b.md")),
        ],
        ids=["a new ignored file", "an ignored file less", "renamed", "a folder for a file", "a link for a file"],
    )
    def test_all_entries_count_ignored_ones_too(self, top: Path, edit: Callable[[Path], object]) -> None:
        before = scan(top, markdown)
        edit(top / "hosts")
        after = scan(top, markdown)
        assert after.folder("hosts") != before.folder("hosts")
        assert after.folder("") == before.folder("")

    def test_what_entries_hold_does_not_count(self, top: Path) -> None:
        before = scan(top).folder("hosts")
        (top / "hosts" / "a.nix").write_text("other")
        (top / "hosts" / "a.nix").chmod(0o755)
        assert scan(top).folder("hosts") == before


class TestSource:
    def test_the_witness_is_the_hash_and_the_names_that_self_has(self, top: Path) -> None:
        seen = scan(top, rev="abc", narHash="sha256-x", lastModified=3, submodules=False)
        assert seen.witness.tree == "sha256-x"
        assert seen.witness.metadata == ("lastModified", "narHash", "rev", "submodules")
        assert seen.metadata == {
            "lastModified": "3",
            "narHash": '"sha256-x"',
            "rev": '"abc"',
            "submodules": "false",
        }

    def test_a_tree_without_a_hash_is_told_by_its_store_path(self, top: Path) -> None:
        assert scan(top).witness.tree == str(top)

    @pytest.mark.parametrize("place", ["none", "flake.nix"])
    def test_a_tree_that_cannot_be_read_is_an_error(self, top: Path, place: str) -> None:
        with pytest.raises(ToolError, match="source tree") as caught:
            scan(top / place)
        assert caught.value.where == str(top / place)
