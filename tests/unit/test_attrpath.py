"""Attribute paths: any name survives printing and reading; patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen import attrpath
from pipelinegen.errors import UsageError

NAMES = st.text(max_size=40)


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_reading_what_was_printed_gives_the_same_path(names: list[str]) -> None:
    assert attrpath.parse(attrpath.show(names)) == tuple(names)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("packages", "x86_64-linux", "hello"), "packages.x86_64-linux.hello"),
        (("packages", "a.b"), 'packages."a.b"'),
        (("p", "${x}"), 'p."\\${x}"'),
        (("p", "if"), 'p."if"'),
        (("p", ""), 'p.""'),
        (("p", 'q"uote'), 'p."q\\"uote"'),
        (("p", "4x"), 'p."4x"'),
    ],
)
def test_names_are_quoted_as_nix_does(path: tuple[str, ...], shown: str) -> None:
    assert attrpath.show(path) == shown


@pytest.mark.parametrize("text", ["", ".", "a.", "a..b", '"a', '"a"b', 'a"b"'])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        attrpath.parse(text)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("packages.*.hello", ("packages", "x86_64-linux", "hello"), True),
        ("packages.*", ("packages", "x86_64-linux", "hello"), False),
        ("nixosTests.**", ("nixosTests", "a", "b"), True),
        ("nixosTests.**", ("nixosTests",), True),
        ("**.vm", ("a", "b", "vm"), True),
        ("a.web-?", ("a", "web-1"), True),
        ("a.web-?", ("a", "web-12"), False),
    ],
)
def test_patterns(pattern: str, path: tuple[str, ...], *, fits: bool) -> None:
    assert attrpath.matches(attrpath.parse_pattern(pattern), path) is fits


@given(st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=4), st.lists(st.sampled_from("ab")))
def test_a_search_never_stops_above_something_that_fits(pattern: list[str], path: list[str]) -> None:
    if attrpath.matches(pattern, path):
        assert all(attrpath.could_contain(pattern, path[:depth]) for depth in range(len(path)))
