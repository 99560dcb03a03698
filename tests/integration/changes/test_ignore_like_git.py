"""`ignore_paths` against git itself: what git would ignore, and nothing else, is irrelevant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelinegen.changes.ignore import irrelevant
from pipelinegen.errors import ConfigError
from tests.gitrepo import make_repo

pytestmark = pytest.mark.processes

# No letters beyond ASCII: for git `?` is one byte of them.
LETTERS = "ab.[]*!#\\-^ \n"
FILES = st.lists(
    st.lists(
        st.text(LETTERS, min_size=1, max_size=4).filter(lambda name: name not in {".", ".."}), min_size=1, max_size=4
    ).map("/".join),
    min_size=1,
    max_size=20,
)
# A line of a file has no line break; a NUL ends a name.
PATTERNS = st.lists(st.text("ab.[]*?!#\\-^/ ", max_size=8), min_size=1, max_size=3)
TREE = ["a", "b", "a/b", "a/a/b", "a/b/a/b", "b/a", "ab", "aab", "a.b", "b.a/a.b", "-", "!a", "#a", "a ", "a\\b", "]"]


def ignored_by_git(repo: Path, files: list[str], patterns: list[str]) -> set[str]:
    (repo / ".git/info/exclude").write_text("\n".join(patterns) + "\n", "utf-8")
    answer = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        cwd=repo,
        input="\0".join(files).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode in (0, 1), answer.stderr
    return set(answer.stdout.decode().split("\0")) - {""}


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repo(tmp_path_factory.mktemp("repo"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES, PATTERNS)
@example(TREE, ["a/"])
@example(TREE, ["/a"])
@example(TREE, ["a/**"])
@example(TREE, ["**/a"])
@example(TREE, ["**/a/"])
@example(TREE, ["a/**/b"])
@example(TREE, ["a/**/**/b"])
@example(TREE, ["a/*/b"])
@example(TREE, ["a/***"])
@example(TREE, ["***/b"])
@example(TREE, ["a**b"])
@example(TREE, ["a?b"])
@example(TREE, ["**"])
@example(TREE, ["**/"])
@example(TREE, ["/**"])
@example(TREE, ["/"])
@example(TREE, [""])
@example(TREE, ["[!a]"])
@example(TREE, ["[^a]", "[]]", "[a-]"])
@example(TREE, ["[--a]"])
@example(TREE, ["[]", "[]a"])
@example(TREE, ["a[^x]b"])
@example(TREE, ["a[!-.]b"])
@example(TREE, ["\\#a", "\\!a", "#b"])
@example(TREE, ["a ", "b\\ "])
@example(TREE, ["a\\ "])
@example(TREE, ["a\\\\b"])
@example(TREE, ["b", "!b/a"])
@example(TREE, ["*", "!a", "a/*"])
@example([*TREE, "é/🦊"], ["é"])
@example([*TREE, "é/🦊"], ["🦊"])
def test_a_file_is_irrelevant_exactly_when_git_would_ignore_it(
    repo: Path, files: list[str], patterns: list[str]
) -> None:
    try:
        ours = {file for file in files if irrelevant([file], patterns)}
    except ConfigError:
        return  # git takes nonsense for a pattern that matches nothing
    git = ignored_by_git(repo, files, patterns)
    # Git takes nothing back out of a folder, so with `!` we may call less irrelevant, never more.
    assert ours <= git
    if not any(pattern.startswith("!") for pattern in patterns):
        assert ours == git
