"""Reading a unit's journal, with a host that answers from memory; the real one is in the lab."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.console import Console
from pipelinegen.deploy import journal
from pipelinegen.deploy.journal import Journal, entries
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.process import Completed


def entry(number: int, message: object = "", **fields: object) -> bytes:
    return json.dumps({"__CURSOR": f"s={number}", "MESSAGE": message or f"line {number}", **fields}).encode() + b"\n"


@dataclass(frozen=True)
class Host(Target):
    """Has a journal of raw lines, entry N behind cursor `s=N`; `cuts` tells after which bytes a connection is lost."""

    address: str = "web1"
    lines: list[bytes] = field(default_factory=list)
    says: bytes = b""
    cuts: list[int | None] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, script: str, *arguments: str, **_: Any) -> Completed:
        self.asked.append(arguments)
        cut = self.cuts.pop(0) if self.cuts else None
        if cut is not None:
            raise UnreachableError("lost", why=f"after {cut} bytes")
        if script is journal._LAST:
            return Completed(0, b"".join(self.lines[-int(arguments[1]) :])[-int(arguments[2]) :], ())
        left = self.lines[int(arguments[1].removeprefix("s=") or 0) :]
        if script is journal._SKIP:
            small = {"__CURSOR": json.loads(left[0])["__CURSOR"]}
            return Completed(0, json.dumps(small).encode() + b"\n", ())
        return Completed(0, (self.says + b"".join(left))[: int(arguments[2])], ())


@dataclass
class Reader:
    """A journal of `host`, and what people saw of it."""

    host: Host
    shown: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.journal = Journal(self.host, "unit.service", Console(self.shown), prefix="| ")

    @property
    def lines(self) -> list[str]:
        return self.shown.getvalue().splitlines()


def numbered(count: int) -> list[bytes]:
    return [entry(number) for number in range(1, count + 1)]


def test_each_read_goes_on_where_the_last_one_ended() -> None:
    reader = Reader(Host(lines=numbered(2)))
    assert reader.journal.read()
    assert not reader.journal.read()
    reader.host.lines.append(entry(3))
    assert reader.journal.read()
    assert reader.lines == ["| line 1", "| line 2", "| line 3"]
    assert reader.host.asked[-1][1] == "s=2"


def test_a_lost_connection_loses_no_line_and_repeats_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PAGE_BYTES", 150)
    reader = Reader(Host(lines=numbered(20), cuts=[None, 10, None, None, 0]))
    lost = 0
    for _ in range(10):
        try:
            reader.journal.read()
        except UnreachableError:
            lost += 1
    assert lost == 2
    assert reader.lines == [f"| line {number}" for number in range(1, 21)]


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=30), page=st.integers(60, 500))
def test_however_pages_are_cut_no_line_is_lost_or_repeated(sizes: list[int], page: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "PAGE_BYTES", page)
        reader = Reader(Host(lines=[entry(n, f"{n} " + "x" * size) for n, size in enumerate(sizes, start=1)]))
        for _ in range(len(sizes) + 2):
            reader.journal.read()
    kept = [int(line.split()[1]) for line in reader.lines if "…" not in line]
    left_out = sum("an entry of more than" in line for line in reader.lines)
    assert kept == sorted(set(kept))
    assert len(kept) + left_out == len(sizes)
    assert all(len(reader.host.lines[n - 1]) > page for n in range(1, len(sizes) + 1) if n not in kept)


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        pytest.param(entry(1, "plain"), ("plain",), id="text"),
        pytest.param(entry(1, "a\nb"), ("a", "b"), id="several lines"),
        pytest.param(entry(1, list(b"\x1b[31mred \xff")), ("\x1b[31mred \ufffd",), id="bytes"),
        pytest.param(entry(1, ["one", list(b"two")]), ("one", "two"), id="the field twice"),
        pytest.param(entry(1, [300, -1, None, {}]), ("",), id="numbers that are no bytes"),
        pytest.param(b'{"__CURSOR":"s=1","MESSAGE":null}\n', (), id="null"),
        pytest.param(b'{"__CURSOR":"s=1","MESSAGE":7}\n', (), id="a number"),
    ],
)
def test_a_message_may_be_anything(raw: bytes, lines: tuple[str, ...]) -> None:
    found, others = entries(raw)
    assert others == []
    assert [one for one in found[0].lines if one] == [one for one in lines if one]


def test_broken_lines_are_passed_over() -> None:
    page = b"".join(
        [
            entry(1),
            b'{"__CURSOR":"s=2","MESS\n',
            b'{"MESSAGE":"without a cursor"}\n',
            b'{"__CURSOR":7}\n',
            b'{"a":' + b"[" * 100_000 + b"\n",
            b'{"n":' + b"9" * 10_000 + b"}\n",
            b"\xff\xfe\n\n",
            b"-- No entries --\n",
            entry(3),
            entry(4)[:-1],
        ]
    )
    found, others = entries(page)
    assert [one.cursor for one in found] == ["s=1", "s=3"]
    assert others == ["\ufffd\ufffd"]


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(page: bytes) -> None:
    entries(page)
    entries(b'{"__CURSOR":"s=1","MESSAGE":' + page.replace(b"\n", b"") + b"}\n")


def test_of_systemds_own_lines_only_bad_ones_are_shown() -> None:
    said = [
        entry(1, "Started unit.service.", _PID="1", PRIORITY="6"),
        entry(2, "ours", _PID="812", PRIORITY="6"),
        entry(3, "A process of this unit has been killed by the OOM killer.", _PID="1", PRIORITY="5"),
        entry(4, "the following units failed: not-said-by-the-switch.service", _PID="1", PRIORITY="3"),
    ]
    reader = Reader(Host(lines=said))
    reader.journal.read()
    assert [line.split()[1] for line in reader.lines] == ["ours", "A", "the"]
    assert reader.journal.units.failed == ()


def test_hostile_lines_are_harmless_and_long_ones_are_cut() -> None:
    hostile = "\x1b]0;title\x07\x1b[2Jsection_end:1:x\r\x1b[0K"
    reader = Reader(Host(lines=[entry(1, f"a\n{hostile}\x07b"), entry(2, "y" * 10_000)]))
    reader.journal.read()
    text = reader.shown.getvalue()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "section_end:" not in text
    assert len(reader.lines[-1]) < 4200
    assert "(10000 characters)" in reader.lines[-1]


def test_a_switch_is_understood_while_it_is_read() -> None:
    words = ["restarting the following units: b.service", "starting the following units: a.service"]
    reader = Reader(Host(lines=[entry(n, line) for n, line in enumerate(words, start=1)]))
    reader.journal.read()
    assert reader.journal.units.restarted == ("b.service",)
    assert reader.journal.units.started == ("a.service",)


def test_a_flood_is_cut_and_its_last_lines_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PAGE_BYTES", 4000)
    monkeypatch.setattr(journal, "SHOWN_CHARACTERS", 1000)
    reader = Reader(Host(lines=numbered(5000)))
    reader.journal.read()
    assert len(reader.shown.getvalue()) < 1200
    assert reader.lines[-1] == "| … the rest is not shown here; on the host: journalctl --unit=unit.service"
    # More than was to be read in one go: what nobody would see is left out.
    assert reader.journal.log == tuple(f"line {number}" for number in range(4951, 5001))
    reader.host.lines.append(entry(5001, "the following units failed: late.service"))
    reader.journal.read()
    assert reader.journal.log[-1] == "the following units failed: late.service"
    assert reader.journal.units.failed == ("late.service",)
    assert len(reader.shown.getvalue()) < 1200


def test_a_host_without_a_journal_is_told_once() -> None:
    reader = Reader(Host(says=b"No journal files were found.\n"))
    for _ in range(3):
        assert not reader.journal.read()
    assert reader.lines == ["warning: web1: the journal of unit.service: No journal files were found."]
