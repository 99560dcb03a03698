"""Lines of an evaluator's stderr, as Nix 2.8, 2.26 and 2.34 write them."""

from __future__ import annotations

import json

import pytest

from pipelinegen.inventory.records import (
    BuildLog,
    BuildStarted,
    Caught,
    Enter,
    Found,
    Ignored,
    LineReader,
    Message,
    Name,
    Said,
    SetDone,
    Subject,
    Unavailable,
)

WORD = "0123456789abcdef0123456789abcdef"


def read(line: str) -> Said | None:
    return LineReader(WORD).read(line)


def trace(report: object, word: str = WORD) -> str:
    text = f"trace: {word} {json.dumps(report, ensure_ascii=False)}"
    return "@nix " + json.dumps({"action": "msg", "level": 0, "msg": text}, ensure_ascii=False)


SUBJECT = {"path": ["packages", "a.b"], "visit": "item"}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"event": "enter"}, Enter),
        ({"event": "name", "name": "🚀\n\u0001"}, Name),
        ({"event": "set", "count": 3}, SetDone),
        ({"event": "ignored", "strange": False}, Ignored),
        ({"event": "caught"}, Caught),
        ({"event": "unavailable", "suffix": [], "marks": ["broken"], "name": "x", "system": ""}, Unavailable),
        (
            {
                "event": "derivation",
                "suffix": ["config"],
                "drvPath": "/nix/store/x.drv",
                "output": "out",
                "install": ["out", "man"],
                "timeout": 5,
                "maxSilent": None,
            },
            Found,
        ),
    ],
)
def test_reports_are_read(report: dict[str, object], expected: type) -> None:
    said = read(trace(SUBJECT | report))
    assert isinstance(said, expected)
    assert isinstance(said, Subject)
    assert said.model_dump(include={"path", "visit"}) == {"path": ("packages", "a.b"), "visit": "item"}


def test_traces_with_another_word_are_of_no_interest() -> None:
    assert read(trace(SUBJECT | {"event": "enter"}, word="f" * 32)) is None
    assert read("@nix " + json.dumps({"action": "msg", "level": 0, "msg": "trace: error: x"})) is None


def test_a_damaged_report_is_no_silence() -> None:
    with pytest.raises(ValueError, match="event"):
        read(trace(SUBJECT))
    with pytest.raises(ValueError, match="JSON"):
        read("@nix " + json.dumps({"action": "msg", "level": 0, "msg": f"trace: {WORD} {{"}))


BUILD_STARTS = (
    # 2.8
    '@nix {"action":"start","fields":["/nix/store/n28k-e.drv","",1,1],"id":9,"level":3,"text":"building","type":105}',
    # 2.26 and 2.34
    '@nix {"action":"start","fields":["/nix/store/n28k-e.drv","",1,1],"id":9,"parent":0,"text":"b","type":105}',
)


@pytest.mark.parametrize("line", BUILD_STARTS)
def test_a_build_that_starts_is_named(line: str) -> None:
    assert read(line) == BuildStarted(drv_path="/nix/store/n28k-e.drv")


def test_build_logs_are_cleaned() -> None:
    line = '@nix {"action":"result","fields":["\\u001b[2Jhello section_start:1:x"],"id":9,"type":101}'
    assert read(line) == BuildLog(text="hello section-start:1:x")


@pytest.mark.parametrize(
    "line",
    [
        '@nix {"action":"start","id":1,"level":5,"text":"querying info about missing paths","type":0}',
        '@nix {"action":"stop","id":1}',
        '@nix {"action":"result","fields":[1,2,0,0],"id":1,"type":105}',
        '@nix {"action":"msg","level":1,"msg":"warning: Git tree is dirty"}',
        "",
        "   ",
    ],
)
def test_everything_else_is_of_no_interest(line: str) -> None:
    assert read(line) is None


def test_lines_in_no_format_are_kept_for_when_the_evaluator_dies() -> None:
    line = "error: stack overflow (possible infinite recursion)"
    assert read(line) == Message(text=line)
    assert read("\x1b[31mGC Warning: Out of Memory!\x1b[0m") == Message(text="GC Warning: Out of Memory!")


def test_a_record_behind_an_unfinished_line_is_read() -> None:
    assert isinstance(read("Enter passphrase: " + trace(SUBJECT | {"event": "enter"})), Enter)


def test_a_long_line_that_arrives_in_pieces_is_read() -> None:
    reader = LineReader(WORD)
    line = trace(SUBJECT | {"event": "name", "name": "x}" * 500})
    pieces = [line[start : start + 100] for start in range(0, len(line), 100)]
    said = [reader.read(piece) for piece in pieces]
    assert said[:-1] == [None] * (len(pieces) - 1)
    assert isinstance(said[-1], Name)
    assert isinstance(reader.read(trace(SUBJECT | {"event": "enter"})), Enter)


def test_a_line_that_was_cut_off_does_not_spoil_the_next() -> None:
    reader = LineReader(WORD)
    assert reader.read(trace(SUBJECT | {"event": "enter"})[:40]) is None
    assert isinstance(reader.read(trace(SUBJECT | {"event": "caught"})), Caught)
