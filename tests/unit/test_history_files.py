"""Files of recorded times: a missing one is nothing, an unusable one is nothing and is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.errors import ToolError
from pipelinegen.history import BuildTime, Entry, History, Times
from pipelinegen.history_files import MAX_BYTES, read_history, read_times, write_history, write_times

HISTORY = History(entries={"x86_64-linux": {"hello": Entry(recent=(1.5, 2.0), builds=2, ago=3)}})


def entry(**changes: object) -> str:
    fields = {"recent": [1.0], "builds": 1, **changes}
    return json.dumps({"format_version": "1.0", "entries": {"x86_64-linux": {"hello": fields}}})


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "history.json"
    write_history(file, HISTORY)
    assert read_history(file) == (HISTORY, None)


def test_times_are_read_as_they_were_written(tmp_path: Path) -> None:
    times = Times(builds=(BuildTime(name="hello-1.0", system="x86_64-linux", seconds=3),))
    write_times(tmp_path / "a.json", times)
    assert read_times(tmp_path / "a.json") == (times, None)


@pytest.mark.parametrize("name", ["absent", "absent/history.json"])
def test_a_missing_file_is_an_empty_history_and_not_worth_a_word(tmp_path: Path, name: str) -> None:
    assert read_history(tmp_path / name) == (History(), None)
    assert read_times(tmp_path / name) == (Times(), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}x",
        '{"format_version": "2.0"}',
        '{"format_version": 1}',
        '{"entries": {}, "more": 1}',
        '{"entries": []}',
        '{"entries": {"x86_64-linux": {"hello": [1]}}}',
        '{"entries": {"x86 64": {}}}',
        '{"entries": {"x86_64-linux": {"a/b": {"recent": [1.0]}}}}',
        '{"entries": {"x86_64-linux": {"' + "n" * 300 + '": {"recent": [1.0]}}}}',
        entry(recent=[]),
        entry(recent=[1.0] * 4),
        entry(recent=["1"]),
        entry(recent=[True]),
        entry(recent=[-1]),
        entry(recent=[1e300]),
        entry(recent=[10**400]),
        entry(recent=[float("nan")]),
        entry(recent=[float("inf")]),
        entry(builds=-1),
        entry(builds=1.5),
        entry(ago=10**30),
        "[" * 100_000,
        '{"a":' * 50_000,
        '"\\ud800"',
        "1" * 100_000,
    ],
    ids=lambda text: text[:60] or "empty",
)
def test_a_torn_foreign_or_hostile_history_is_empty_and_is_said(tmp_path: Path, text: str) -> None:
    file = tmp_path / "history.json"
    file.write_text(text)
    history, trouble = read_history(file)
    assert history == History()
    assert trouble is not None
    assert "history.json" in trouble
    assert "\n" not in trouble


@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes"
    file.write_bytes(data)
    assert read_history(file)[0] == History()
    assert read_times(file)[0] == Times()


@given(cut=st.integers(0, len(HISTORY.to_json()) - 2))
def test_half_a_history_is_none(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    file = tmp_path_factory.getbasetemp() / "half"
    file.write_text(HISTORY.to_json()[:cut])
    history, trouble = read_history(file)
    assert history == History()
    assert trouble is not None


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    with file.open("wb") as opened:
        opened.truncate(1 << 30)  # takes no room
    history, trouble = read_history(file)
    assert history == History()
    assert trouble == f"the recorded build times are not used: {file}: it is larger than {MAX_BYTES >> 20} MiB"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for place in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        history, trouble = read_history(place)
        assert history == History()
        assert trouble is not None
    assert read_history(tmp_path / "loop")[0] == History()
    assert read_history(Path("a\0b"))[0] == History()


def test_a_history_that_cannot_be_written_is_an_error_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError):
        write_history(tmp_path / "file" / "history.json", HISTORY)
