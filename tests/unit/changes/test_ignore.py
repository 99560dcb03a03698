"""Patterns of `ignore_paths`; that they mean what git means is shown with git in the integration tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipelinegen.changes.ignore import irrelevant
from pipelinegen.errors import ConfigError


@pytest.mark.parametrize(
    ("files", "patterns", "answer"),
    [
        (["docs/a.txt", "docs/deep/b"], ["docs/**"], True),
        (["README.md", "deep/er/x.md"], ["*.md"], True),
        (["README.md", "flake.nix"], ["*.md"], False),
        (["flake.nix"], [], False),
        ([], [], True),
        (["other/docs/a"], ["docs/**"], False),
        (["other/docs/a"], ["docs/"], True),
        (["docs"], ["docs/"], False),
        (["other/README"], ["/README"], False),
        (["docs/keep"], ["docs/*", "!docs/keep"], False),
        (["docs/keep"], ["!docs/keep", "docs/*"], True),
        (["Docs/a"], ["docs/**"], False),
        (["docs"], ["docs/**"], False),
        (["a.md.nix"], ["*.md"], False),
        (["amd"], ["a.d"], False),
    ],
)
def test_files_are_irrelevant_when_all_of_them_are_matched(
    files: Sequence[str], patterns: Sequence[str], answer: bool
) -> None:
    assert irrelevant(files, patterns) is answer


@pytest.mark.parametrize("patterns", [["docs/", "!docs/keep"], ["docs", "!keep"], ["**", "!docs/keep"]])
def test_what_is_taken_back_is_relevant_even_inside_a_folder(patterns: list[str]) -> None:
    assert irrelevant(["docs/other"], patterns)
    assert not irrelevant(["docs/keep"], patterns)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("x.md\n", False),
        ("\nflake.nix", False),
        ("x.md\nflake.nix", False),
        ("flake.nix\n.md", True),
        ("docs/\nflake.nix", True),
        ("docs/\x1b[31m\x00", True),
    ],
)
def test_a_line_break_in_a_name_is_a_character_like_others(name: str, answer: bool) -> None:
    assert irrelevant([name], ["*.md", "docs/**"]) is answer


@pytest.mark.parametrize("pattern", ["(a|b).md", "a+", "a$", "^a", "{a,b}", "a.b", "$(x)"])
def test_what_is_special_elsewhere_is_plain_here(pattern: str) -> None:
    assert irrelevant([pattern, f"sub/{pattern}"], [pattern])
    assert not irrelevant(["a"], [pattern])


def test_every_pattern_that_makes_no_sense_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        irrelevant([], ["docs/**", "[a", "x\\", "[z-a]", "[[:alpha:]]"])
    assert len(caught.value.problems) == 4
    assert caught.value.problems[0].startswith("ignore_paths: '[a': ")
