"""Nix's records become sections, failures and heartbeats; recorded from Nix 2.8 and 2.34, shortened."""

from __future__ import annotations

import io
import json
import re

import pytest

from pipelinegen.console import Console
from pipelinegen.run import build_log, nix_events
from pipelinegen.run.build_log import BuildLog, Tail, name_of

A, B, C = (f"/nix/store/{letter * 32}-{letter}.drv" for letter in "abc")


def record(**fields: object) -> str:
    return "@nix " + json.dumps(fields)


def start(activity: int, drv_path: str) -> str:
    return record(action="start", id=activity, level=3, text="", type=105, fields=[drv_path, "", 1, 1])


def said(activity: int, text: str) -> str:
    return record(action="result", id=activity, type=101, fields=[text])


def stop(activity: int) -> str:
    return record(action="stop", id=activity)


def progress(done: int, running: int, failed: int = 0) -> str:
    return record(action="result", id=1, type=105, fields=[done, 9, running, failed])


def error(message: str) -> str:
    return record(action="msg", level=0, msg=f"\x1b[31;1merror:\x1b[0m {message}")


BUILDS = record(action="start", id=1, level=0, text="", type=104)


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A build log and what it shows."""

    def __init__(self, *, sections: bool = False) -> None:
        self.stream = io.StringIO()
        self.clock = Clock()
        self.log = BuildLog(Console(self.stream, sections=sections, clock=self.clock))
        self.feed(BUILDS)

    def feed(self, *lines: str) -> None:
        for line in lines:
            self.log.line(line)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def built(self) -> list[str]:
        return re.findall(r"^built (\S+)", self.text, re.MULTILINE)


def worked(screen: Screen) -> dict[str, float | None]:
    """The seconds that are worth recording."""
    return {name_of(path): build.worked for path, build in screen.log.builds.items()}


def test_how_long_a_build_worked_is_known_where_nix_says_that_it_ended() -> None:
    screen = Screen()
    screen.feed(start(2, A), start(3, B), progress(0, 2))
    screen.clock.now += 5
    screen.feed(stop(2), progress(1, 1))
    screen.clock.now += 2
    screen.feed(stop(3), progress(2, 0))
    assert worked(screen) == {"a": 5, "b": 7}


def test_a_build_beside_others_that_only_ends_with_all_worked_up_to_its_last_line() -> None:
    # As up to Nix 2.26: nothing is stopped as long as something runs.
    screen = Screen()
    screen.feed(start(2, A), start(3, B), start(4, C), progress(0, 3))
    screen.clock.now += 5
    screen.feed(said(2, "ready"), progress(1, 2), progress(2, 1))
    screen.clock.now += 3600
    screen.feed(said(4, "ready"), progress(3, 0))
    assert worked(screen) == {"a": 5, "b": None, "c": 3605}


def test_of_a_failed_or_unfinished_build_no_time_is_known() -> None:
    screen = Screen()
    screen.feed(start(2, A), progress(0, 1))
    screen.clock.now += 5
    screen.feed(progress(1, 0), start(3, B), start(4, C), said(4, "begun"), progress(1, 2))
    screen.clock.now += 5
    screen.feed(error(f"builder for '{B}' failed with exit code 1"))
    assert worked(screen) == {"a": 5, "b": None, "c": None}


def test_a_build_is_one_folded_block_with_a_plain_line_that_counts_it() -> None:
    screen = Screen(sections=True)
    screen.feed(start(2, A), start(3, B), said(2, "a1"), said(3, "b1"), said(2, "a2"))
    assert screen.text == ""
    screen.clock.now += 3
    screen.feed(stop(2))
    assert screen.text == (
        f"\x1b[0Ksection_start:1003:log-{'a' * 32}[collapsed=true]\r\x1b[0Klog of a\na1\na2\n"
        f"\x1b[0Ksection_end:1003:log-{'a' * 32}\r\x1b[0K\nbuilt {A} (3.0 s)\n"
    )


def test_a_build_without_a_log_has_no_section() -> None:
    screen = Screen(sections=True)
    screen.feed(start(2, A), stop(2))
    assert screen.text == f"built {A} (0.0 s)\n"


def test_an_old_nix_that_stops_nothing_is_understood_when_nothing_runs() -> None:
    screen = Screen()
    screen.feed(start(2, A), progress(0, 1), start(3, B), progress(0, 2), progress(1, 1))
    assert screen.built == []
    screen.feed(progress(2, 0), start(4, C))
    assert screen.built == [A, B]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        pytest.param(
            [progress(0, 0, 1), error(f"builder for '{B}' failed with exit code 3"), stop(2)],
            "builder failed with exit code 3",
            id="Nix 2.8",
        ),
        pytest.param(
            [
                progress(0, 0, 1),
                stop(2),
                error(
                    f"Cannot build '{B}'.\n       Reason: builder failed with exit code 3.\n       Output paths:\n  x"
                ),
            ],
            "builder failed with exit code 3",
            id="Nix 2.34",
        ),
        pytest.param(
            [
                progress(0, 0, 1),
                stop(2),
                error(f"hash mismatch in fixed-output derivation '{B}':\n specified: x\n got: y"),
            ],
            f"hash mismatch in fixed-output derivation '{B}'",
            id="a download that changed",
        ),
    ],
)
def test_a_failure_is_shown_unfolded_with_its_reason(lines: list[str], reason: str) -> None:
    screen = Screen(sections=True)
    screen.feed(start(2, B), said(2, "why it fails"), *lines)
    assert screen.log.failed == {B: reason}
    assert "section_start" not in screen.text
    assert screen.text.startswith(f"failed {B} (0.0 s)\n")
    assert "  | why it fails\n" in screen.text
    assert screen.built == []


def test_dependents_of_a_failure_are_not_failures_themselves() -> None:
    screen = Screen()
    screen.feed(
        error(f"1 dependencies of derivation '{C}' failed to build"),
        error(f"Cannot build '{C}'.\n Reason: 1 dependency failed.\n Output paths:\n  x"),
        error(f"build of '{B}', '{C}' failed"),
    )
    assert screen.log.failed == {}


def test_a_derivation_that_cannot_begin_has_failed() -> None:
    screen = Screen()
    screen.feed(
        error(f"Cannot build '{A}'.\n Reason: platform mismatch\n Required system: 'riscv'\n Current system: 'x'")
    )
    assert screen.log.failed == {A: "platform mismatch; Required system: 'riscv'"}


def test_what_nix_left_open_is_judged_by_what_was_made() -> None:
    screen = Screen()
    screen.feed(start(2, A), start(3, B), progress(0, 2), error("timed out after 5 seconds"))
    assert screen.log.unsettled == [A, B]
    screen.log.settle(lambda drv_path: drv_path == A)
    assert screen.built == [A]
    assert screen.log.failed == {B: "timed out after 5 seconds"}


def test_a_forged_claim_does_not_hide_a_later_true_one() -> None:
    screen = Screen()
    screen.feed(
        start(2, A), start(3, B), error(f"builder for '{B}' failed"), stop(2), error(f"builder for '{A}' failed")
    )
    assert set(screen.log.failed) == {A, B}


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[0Ksection_end:1:x\r\x1b[0K", "section_start:1:x", f"built {C}", "\x1b[2J\x1b[H", "@nix {}"],
)
def test_a_log_cannot_forge_sections_or_counts(hostile: str) -> None:
    for ending in ([stop(2)], [progress(0, 0, 1), stop(2), error(f"builder for '{A}' failed")]):
        screen = Screen()
        screen.feed(start(2, A), said(2, hostile), *ending)
        assert not re.search("section_(start|end)", screen.text)
        assert set(screen.built) <= {A}


def test_what_is_no_derivation_is_not_counted() -> None:
    screen = Screen()
    screen.feed(start(2, f"/nix/store/{'a' * 32}-x\nbuilt {C}"), stop(2), start(3, "x.drv\n"), stop(3))
    assert screen.text == ""


def test_silence_is_broken_by_saying_what_is_built() -> None:
    screen = Screen()
    screen.feed(start(2, A), said(2, "compiling"))
    screen.clock.now += 29
    screen.log.idle()
    assert screen.text == ""
    screen.clock.now += 2
    screen.log.idle()
    assert screen.text == "… still building a (31 s); last line: compiling\n"
    screen.clock.now += 29
    screen.log.idle()
    assert screen.text.count("…") == 1


def test_a_build_that_prints_much_is_silent_for_us_and_has_a_heartbeat_too() -> None:
    screen = Screen()
    screen.feed(start(2, A))
    for _ in range(100):
        screen.clock.now += 1
        screen.feed(said(2, "line"))
    assert screen.text.count("… still building a") == 3


def test_many_builds_are_named_in_one_line() -> None:
    screen = Screen()
    screen.feed(*(start(number, f"/nix/store/{number:032d}-p{number}.drv") for number in range(10, 18)))
    screen.clock.now += 60
    screen.log.idle()
    assert "p10 (60 s), p11 (60 s)" in screen.text
    assert "and 3 more" in screen.text


def test_fetched_paths_are_not_built_ones() -> None:
    screen = Screen()
    screen.feed(record(action="start", id=5, level=4, text="", type=108, fields=["/nix/store/x", "file:///c"]))
    assert (screen.log.fetched, screen.log.builds) == (["/nix/store/x"], {})


def test_warnings_and_errors_of_nix_are_shown_and_chatter_is_not() -> None:
    screen = Screen()
    screen.feed(
        record(action="msg", level=1, msg="warning: cache is slow"),
        record(action="msg", level=3, msg="these 4 derivations will be built:"),
        record(action="msg", level=1, msg="warning: you did not specify '--add-root'; …"),
        "something that is no record",
    )
    assert screen.text == "nix: warning: cache is slow\n"


@pytest.mark.parametrize(
    "line",
    [
        "@nix",
        "@nix ",
        "@nix {",
        "@nix []",
        "@nix 3",
        '@nix {"action":"start"}',
        '@nix {"action":"start","id":"x","type":105}',
        '@nix {"action":"start","id":2,"type":105,"fields":[]}',
        '@nix {"action":"result","id":2,"type":101,"fields":[]}',
        '@nix {"action":"dance"}',
        '@nix {"action":"msg","level":null,"msg":3}',
    ],
)
def test_records_of_another_shape_do_no_harm(line: str) -> None:
    screen = Screen()
    screen.feed(line, start(2, A), stop(2))
    assert screen.built == [A]


def test_a_record_that_arrives_in_pieces_is_put_together() -> None:
    screen = Screen()
    whole = said(2, "x" * 200_000)
    pieces = [whole[position : position + 65536] for position in range(0, len(whole), 65536)]
    screen.feed(start(2, A), *pieces, said(2, "next"), stop(2))
    assert len(screen.log.builds[A].log) == 2


def test_a_record_without_an_end_is_given_up() -> None:
    parser = nix_events.Parser()
    parser.feed('@nix {"action":"msg","msg":"')
    for _ in range(100):
        parser.feed("x" * 65536)
    assert parser.feed(stop(2)) == nix_events.Stopped(2)


def test_a_log_is_bounded_and_says_what_is_missing() -> None:
    tail = Tail()
    for number in range(build_log.KEPT_LINES + 500):
        tail.add(f"line {number}")
    assert tail.last()[:2] == ["[500 earlier lines are not shown]", "line 500"]
    assert tail.last(2) == [f"[{len(tail) - 2} earlier lines are not shown]", *tail.last()[-2:]]


def test_long_lines_are_bounded_too() -> None:
    tail = Tail()
    for _ in range(1000):
        tail.add("x" * 100_000)
    assert sum(map(len, tail.last())) < build_log.KEPT_CHARACTERS + 100


@pytest.mark.parametrize(
    ("path", "name"),
    [(A, "a"), ("/nix/store/x-hello-1.0.drv", "hello-1.0"), ("/nix/store/x", "unnamed"), ("", "unnamed")],
)
def test_names_are_read_from_paths(path: str, name: str) -> None:
    assert name_of(path) == name


def test_a_failure_by_which_nix_only_lost_sight_of_an_output_can_be_forgotten() -> None:
    screen = Screen()
    overlooked = f"derivation '{B}' requires non-existent output 'dev' from input derivation '{A}'"
    screen.feed(start(2, A), progress(0, 1), stop(2), progress(1, 0), error(overlooked), progress(1, 0, 1))
    screen.log.settle(lambda path: path == A)
    assert screen.log.confused == [B]
    screen.log.forget_confused()
    assert (screen.log.failed, screen.log.confused) == ({}, [])
    screen.feed(start(2, B), progress(0, 1), stop(2), progress(1, 0))
    assert screen.built == [A, B]
