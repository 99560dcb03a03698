"""Netrc files as curl reads them."""

from __future__ import annotations

import netrc as standard
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipelinegen.cache.netrc import Entry, has_password, merged, parse, text


def shown(entries: list[Entry]) -> list[tuple[str | None, str, str]]:
    return [(one.machine, one.login, one.password.get_secret_value()) for one in entries]


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        ("", []),
        ("machine a login u password p", [("a", "u", "p")]),
        ("machine a\n  login u\n  password p\n", [("a", "u", "p")]),
        ("# machine x password y\nmachine a password p # machine b password q", [("a", "", "p")]),
        ("machine a login u password p machine b password q", [("a", "u", "p"), ("b", "", "q")]),
        ("default login u password p\nmachine a password q", [(None, "u", "p"), ("a", "", "q")]),
        ('machine a password "p \\"q\\" \\\\ r"', [("a", "", 'p "q" \\ r')]),
        ("MACHINE a PASSWORD p", [("a", "", "p")]),
        (
            "machine a password p\nmacdef m\nmachine b password q\n\nmachine c password r",
            [("a", "", "p"), ("c", "", "r")],
        ),
        ("machine a account x login u password p", [("a", "u", "p")]),
        ("machine machine password password", [("machine", "", "password")]),
        ("password lost\nnonsense", []),
    ],
    ids=[
        "empty",
        "line",
        "lines",
        "comments",
        "two",
        "default",
        "quoted",
        "capitals",
        "macro",
        "account",
        "words",
        "nonsense",
    ],
)
def test_a_file_is_read_as_curl_reads_it(content: str, entries: list[tuple[str | None, str, str]]) -> None:
    assert shown(parse(content)) == entries


def test_the_first_entry_of_a_host_counts_and_the_one_for_all_hosts_comes_last() -> None:
    entries = parse(
        "default password d\nmachine a login u password 1\nmachine A login u password 2\nmachine a login v password 3\n"
    )
    assert shown(merged(entries)) == [("a", "u", "1"), ("a", "v", "3"), (None, "", "d")]


def test_a_password_is_in_no_representation() -> None:
    assert "geheim" not in repr(parse("machine a login u password geheim"))


def test_a_host_without_an_entry_has_the_password_for_all_hosts() -> None:
    assert has_password(parse("machine A password p"), "a")
    assert not has_password(parse("machine a password p"), "b")
    assert has_password(parse("machine a password p default password q"), "b")


WORDS = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF, exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=4))
def test_what_is_written_is_read_back(entries: list[tuple[str, str, str]]) -> None:
    made = [Entry(machine, login, SecretStr(password)) for machine, login, password in entries]
    assert shown(parse(text(made))) == entries


def test_other_readers_understand_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text(text([Entry("cache.invalid", "pipelinegen", SecretStr("eyJ.e30.x-_"))]))
    assert standard.netrc(str(file)).authenticators("cache.invalid") == ("pipelinegen", "", "eyJ.e30.x-_")
