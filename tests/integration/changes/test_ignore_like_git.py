"""`ignore_paths` against git itself: what git would ignore, and nothing else, is irrelevant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipelinegen.changes.compare import irrelevant
from tests.gitrepo import make_repo

pytestmark = pytest.mark.processes

FILES = (
    "README.md",
    "docs",
    "docs/a.md",
    "docs/deep/b.txt",
    "docs/deep/er/c",
    "docs/keep",
    "other/docs/a",
    "other/README",
    "a.b/c d.txt",
    "x[1].md",
    "x1.md",
    "back\\slash",
    "-dash.md",
    "!bang",
    "#hash",
    "é/🦊.md",
    "trailing ",
    "trailing",
    'quo"te',
    "ab",
    "acb",
    "abc/d",
    "a/b",
    "a/x/b",
    "a/x/y/b",
)


@pytest.mark.parametrize(
    "patterns",
    [
        ["docs"],
        ["docs/"],
        ["docs/*"],
        ["docs/**"],
        ["/docs"],
        ["**/docs"],
        ["**/docs/"],
        ["*.md"],
        ["/*.md"],
        ["docs/*.md"],
        ["**"],
        ["*"],
        ["/*"],
        ["*", "!*.md"],
        ["docs/*", "!docs/keep"],
        ["docs/", "!docs/keep"],
        ["docs/**", "!docs/keep", "docs/k*"],
        ["a/**/b"],
        ["a/*/b"],
        ["a**b"],
        ["a?b"],
        ["x[1].md"],
        ["x[[]1].md"],
        ["x[0-9].md"],
        ["x[!a].md"],
        ["[a-c]*"],
        ["\\!bang"],
        ["\\#hash"],
        ["#hash"],
        [""],
        ["trailing "],
        ["trailing\\ "],
        ["é/"],
        ["🦊.md"],
        ["*.txt", "!c d.txt"],
        ["deep"],
        ["docs/deep/"],
        ["*/docs"],
    ],
    ids=repr,
)
def test_files_are_irrelevant_exactly_when_git_would_ignore_them(tmp_path: Path, patterns: list[str]) -> None:
    repo = make_repo(tmp_path)
    (repo / ".git/info/exclude").write_text("\n".join(patterns) + "\n", "utf-8")
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        cwd=repo,
        input="\0".join(FILES).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ignored.returncode in (0, 1), ignored.stderr
    expected = set(ignored.stdout.decode().split("\0")) - {""}
    assert {file for file in FILES if irrelevant([file], patterns)} == expected
