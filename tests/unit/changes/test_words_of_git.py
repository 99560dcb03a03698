"""What is kept of git's own words: no credentials, one line, nothing that moves a cursor."""

from __future__ import annotations

import pytest

from pipelinegen.changes.read import is_commit_id, last_words, without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fatal: https://gitlab-ci-token:glcbt-1@host/x.git: no", "fatal: https://host/x.git: no"),
        ("https://token@host/x and ssh://git@host:22/y", "https://host/x and ssh://host:22/y"),
        ("https://user:p%40ss:word@host", "https://host"),
        ("see https://host/a@b and c://d", "see https://host/a@b and c://d"),
        ("mail user@host", "mail user@host"),
        ("two\nlines\r\x1b[31mred\x1b[0m", "two red"),
        ("section_start:1:x", "section-start:1:x"),
    ],
)
def test_credentials_and_control_characters_are_left_out(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (["warning: x", "fatal: a", "fatal: b", "hint"], "fatal: a"),
        (["remote: banner", "error: https://u:p@h/x refused"], "error: https://h/x refused"),
        (["one", "two", ""], "two"),
        (["", "  "], "git said nothing"),
        ([], "git said nothing"),
    ],
)
def test_the_line_that_tells_most_is_taken(stderr: list[str], words: str) -> None:
    assert last_words(stderr) == words


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a" * 40, True),
        ("0" * 64, True),
        ("a" * 41, False),
        ("A" * 40, False),
        ("a" * 40 + "\n", False),
        ("", False),
        ("HEAD", False),
    ],
)
def test_a_commit_id_is_full_and_nothing_else(text: str, answer: bool) -> None:
    assert is_commit_id(text) is answer
