"""What people see: foreign text is harmless, colour is where it is wanted, sections are GitLab's."""

from __future__ import annotations

import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.console import Console, clean, plain, want_colour


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("plain text", "plain text", id="plain text stays"),
        pytest.param("tab\tstays", "tab\tstays", id="a tab stays"),
        pytest.param("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m", id="colours stay and end"),
        pytest.param("a\x1b[2Kb\x1b[1Ac", "abc", id="erasing and moving go"),
        pytest.param("a\x1b]0;title\x07b", "ab", id="titles go"),
        pytest.param("a\x1b]8;;http://x\x1b\\b", "ab", id="links go"),
        pytest.param("a\x1bPq\x1b\\b", "ab", id="device strings go"),
        pytest.param("a\x1b", "a", id="a lone escape goes"),
        pytest.param("10%\r20%\r30%", "30%", id="what was overwritten goes"),
        pytest.param("done\r", "done", id="an end of line of another system goes"),
        pytest.param("a\nb", "a b", id="one line stays one"),
        pytest.param("a\x00b\x07c\x9bd\x7fe", "abcde", id="control characters go"),
        pytest.param("a\u202eb\u2066c", "abc", id="direction marks go"),
        pytest.param("section_start:1:x", "section-start:1:x", id="a bare marker is broken"),
        pytest.param("\x1b[0Ksection_end:1:x", "section-end:1:x", id="a marker is broken"),
        pytest.param("section_\x1b[31mstart:1:x", "section_\x1b[31mstart:1:x\x1b[0m", id="a marker with colour inside"),
    ],
)
def test_foreign_lines_are_made_harmless(line: str, shown: str) -> None:
    assert clean(line) == shown


@pytest.mark.parametrize(
    "line",
    ["section_\x00start:1:x", "section_\x1b[Kstart:1:x", "section_st\u202eart:1:x", "x\rsection_\x07end:1:y"],
    ids=["a control character", "an escape", "a direction mark", "behind a carriage return"],
)
def test_a_marker_that_appears_only_by_cleaning_is_broken_too(line: str) -> None:
    assert not re.search("section_(start|end):", clean(line, colour=False))


@given(st.text())
def test_whatever_is_cleaned_has_no_marker_and_no_control(text: str) -> None:
    shown = clean(text, colour=False)
    assert not re.search("section_(start|end):", shown)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)


@given(st.text(alphabet="\x1b[0;31mK]\\P\x07ab"))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text, colour=False)
    assert clean(once, colour=False) == once


@pytest.mark.parametrize("start", ["\x1b]", "\x1bP", "\x1b[", "\x1b]a\x1bP"])
def test_a_long_line_of_sequences_without_end_takes_no_time(start: str) -> None:
    began = time.process_time()
    clean(start * 20_000)
    assert time.process_time() - began < 2


def test_plain_keeps_lines_and_drops_colour() -> None:
    assert plain("\x1b[31ma\x1b[0m\nb\r\nc") == "a\nb\nc"


@pytest.mark.parametrize(
    ("choice", "environment", "wanted"),
    [
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": "", "FORCE_COLOR": "1"}, True),
        ("auto", {"CLICOLOR_FORCE": "1"}, True),
        ("auto", {"GITLAB_CI": "true"}, True),
        ("auto", {}, False),
    ],
)
def test_colour_is_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, choice: str, environment: dict[str, str], wanted: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert want_colour(io.StringIO(), choice) is wanted


def test_a_section_is_written_as_gitlab_reads_it_and_closed_whatever_happens() -> None:
    stream = io.StringIO()
    console = Console(stream, sections=True, clock=iter([10.0, 25.9]).__next__)
    with pytest.raises(ValueError, match="inside"), console.section("my section/1", "Title", collapsed=True):
        raise ValueError("inside")
    assert stream.getvalue() == (
        "\x1b[0Ksection_start:10:my_section_1[collapsed=true]\r\x1b[0KTitle\n"
        "\x1b[0Ksection_end:25:my_section_1\r\x1b[0K\n"
    )


def test_without_gitlab_a_section_is_just_its_title() -> None:
    stream = io.StringIO()
    with Console(stream).section("name", "Title"):
        pass
    assert stream.getvalue() == "Title\n"


def test_folded_lines_are_shown_in_gitlab_and_counted_elsewhere() -> None:
    in_gitlab, elsewhere = io.StringIO(), io.StringIO()
    Console(in_gitlab, sections=True).folded("log", "log of x", ["one", "section_end:1:log"])
    Console(elsewhere).folded("log", "log of x", ["one", "two"])
    assert "one\nsection-end:1:log\n" in in_gitlab.getvalue()
    assert elsewhere.getvalue() == "log of x (2 log lines)\n"


def test_quiet_drops_what_is_said_and_keeps_warnings() -> None:
    stream = io.StringIO()
    console = Console(stream, quiet=True)
    console.say("hello")
    console.warn("careful")
    assert stream.getvalue() == "warning: careful\n"


def test_foreign_lines_take_colour_only_where_it_is_wanted() -> None:
    with_colour, without = io.StringIO(), io.StringIO()
    Console(with_colour, colour=True).foreign("\x1b[31mred")
    Console(without).foreign("\x1b[31mred", prefix="| ")
    assert with_colour.getvalue() == "\x1b[31mred\x1b[0m\n"
    assert without.getvalue() == "| red\n"
