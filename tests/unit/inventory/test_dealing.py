"""Evaluators share the work so that they end together, and load the flake no more often than needed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Generator
from typing import Any

import pytest

from pipelinegen.inventory.dealing import (
    SMALL_SECONDS,
    USUAL_SECONDS,
    Pace,
    Stretch,
    best_stretch,
    deal,
    share_of,
    stretches,
)
from pipelinegen.inventory.frontier import Frontier, Task, Turn
from pipelinegen.inventory.model import Kind
from pipelinegen.inventory.records import Report
from pipelinegen.inventory.results import Result
from pipelinegen.inventory.rules import Item, Look, Rules
from tests.unit.inventory.flakes import Evaluator, explore

LOOK = Look("item", item=Item(Kind.NIXOS))


def tasks(names: str) -> tuple[Task, ...]:
    return tuple(Task((name,), LOOK) for name in names)


def at(name: str, ahead: str) -> Turn:
    """An evaluator that is at one attribute and will come to others."""
    turn = Turn(tasks(name + ahead))
    turn.enter(((name,), "item"))
    return turn


def one_second(_: Kind) -> float:
    return 1.0


def names(found: tuple[Task, ...] | list[Task]) -> str:
    return "".join(task.path[0] for task in found)


def test_the_line_is_cut_where_evaluators_are() -> None:
    turns = [at("g", "fe"), at("c", "de")]
    found = stretches(tasks("abdefhi"), turns)
    assert [(names(one.tasks), one.awaits) for one in found] == [("ab", False), ("def", True), ("hi", False)]


@pytest.mark.parametrize(
    ("stretch", "backwards", "order"),
    [
        pytest.param(Stretch(tasks("abcd")), False, "abcd", id="nobody comes"),
        pytest.param(Stretch(tasks("abcd")), True, "dcba", id="nobody comes, backwards"),
        pytest.param(Stretch(tasks("abcd"), awaits=True), False, "cd", id="one comes"),
        pytest.param(Stretch(tasks("abcd"), awaits=True), True, "ba", id="one comes, backwards"),
        pytest.param(Stretch(tasks("a"), awaits=True), False, "a", id="a single one"),
    ],
)
def test_a_further_evaluator_takes_the_half_that_is_further_away(stretch: Stretch, backwards: bool, order: str) -> None:
    assert names(share_of(stretch, one_second, backwards=backwards)) == order


def test_the_longest_work_for_each_evaluator_comes_first() -> None:
    short = Stretch(tasks("ab"))
    long = Stretch(tasks("cdefg"), awaits=True)
    longer = Stretch(tasks("hijklm"), awaits=True)
    assert best_stretch([short, long, longer], one_second) is longer
    assert best_stretch([Stretch(tasks("abcd")), longer], one_second) != longer
    assert best_stretch([Stretch(tasks("abc")), longer], one_second) == Stretch(tasks("abc"))


def test_what_is_done_soon_by_another_is_not_worth_an_evaluator_but_what_nobody_does_is() -> None:
    assert best_stretch([Stretch(tasks("abc"), awaits=True)], lambda _: SMALL_SECONDS) is None
    assert best_stretch([Stretch(tasks("a"))], lambda _: SMALL_SECONDS) is not None
    assert best_stretch([], one_second) is None


def test_pace_is_what_was_seen_and_what_takes_longer_counts_before_it_ends() -> None:
    pace = Pace()
    assert pace.seconds(Kind.NIXOS) == USUAL_SECONDS[Kind.NIXOS]
    assert pace.seconds(Kind.PACKAGE) == SMALL_SECONDS
    assert pace.seconds(Kind.PACKAGE, at_least=4.0) == 4.0
    pace.note(Kind.PACKAGE, 1.0)
    pace.note(Kind.PACKAGE, 3.0)
    assert pace.seconds(Kind.PACKAGE) == 2.0
    assert pace.seconds(Kind.PACKAGE, at_least=1.0) == 2.0
    assert pace.seconds(Kind.PACKAGE, at_least=5.0) == 3.0


def fleet(hosts: int) -> dict[str, Any]:
    return {"nixosConfigurations": {f"h{number:03}": "drv" for number in range(hosts)}}


def test_nothing_is_dealt_before_all_names_are_known() -> None:
    frontier = Frontier(Rules())
    first = deal(frontier, [], one_second)
    assert first is not None
    assert first.listing
    assert deal(frontier, [first], one_second) is None


def test_a_small_flake_has_one_evaluator() -> None:
    flake = {"packages": {"x86_64-linux": {f"p{number}": "drv" for number in range(20)}}}
    frontier = Frontier(Rules())
    first = deal(frontier, [], lambda _: SMALL_SECONDS)
    assert first is not None
    for report in Evaluator(flake, first, random.Random(0), 0.0).run():  # noqa: S311
        assert frontier.take(first, report)
        assert deal(frontier, [first], lambda _: SMALL_SECONDS) is None
    assert len(frontier.found) == 20
    assert not frontier.pending


def test_what_would_spoil_the_read_sets_of_others_comes_last() -> None:
    frontier = Frontier(Rules())
    frontier.recall(((), "set"), Result(names=("packages",)))
    frontier.recall((("packages",), "set"), Result(names=("x86_64-linux",)))
    frontier.recall((("packages", "x86_64-linux"), "set"), Result(names=tuple("abcd")))
    frontier.will_build((("packages", "x86_64-linux", "a"), "item"))
    frontier.will_read_metadata((("packages", "x86_64-linux", "b"), "item"))
    dealt = []
    while frontier.pending:
        turn = deal(frontier, [], one_second)
        assert turn is not None
        dealt.append("".join(task.path[-1] for task in turn.tasks))
        for task in turn.tasks:
            del frontier.pending[task.key]
    assert dealt == ["cd", "b", "a"]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
def test_no_work_is_done_twice_beyond_what_was_just_begun(workers: int) -> None:
    frontier = Frontier(Rules())
    started, visited = explore(frontier, fleet(100), workers=workers, chance=random.Random(workers))  # noqa: S311
    assert len(frontier.found) == 100
    hosts = [path for path in visited if len(path) == 2]
    assert len(hosts) <= 100 + started
    assert started <= 1 if workers == 1 else started <= 12 * workers


def simulated_seconds(durations: list[float], *, workers: int, start: float) -> tuple[float, int]:
    """The time of an inventory of hosts that take so long, and how many evaluators there were.

    Args:
        start: what loading the flake costs each evaluator.
    """
    frontier = Frontier(Rules())
    flake = fleet(len(durations))
    pace = Pace()
    events: list[tuple[float, int, Turn]] = []
    running: dict[Turn, Generator[Report]] = {}
    now, started = 0.0, 0
    while True:
        while len(running) < workers:
            turn = deal(frontier, list(running), pace.seconds)
            if turn is None:
                break
            running[turn] = Evaluator(flake, turn, random.Random(0), 0.0).run()  # noqa: S311
            started += 1
            heapq.heappush(events, (now + start, started, turn))
        if not running:
            return now, started
        now, number, turn = heapq.heappop(events)
        # Up to the next attribute that takes time; what is over before it does is noted.
        for report in running[turn]:
            if not frontier.take(turn, report):
                break
            if report.event == "derivation":
                pace.note(Kind.NIXOS, now - turn.since)
            if report.event == "enter" and len(report.path) == 2:
                turn.since = now
                heapq.heappush(events, (now + durations[int(report.path[1][1:])], number, turn))
                break
        if not any(event[2] is turn for event in events):
            frontier.release(turn)
            del running[turn]


@pytest.mark.parametrize("workers", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", ["equal", "rising", "one giant", "mixed"])
def test_evaluators_end_together(workers: int, shape: str) -> None:
    chance = random.Random(shape)  # noqa: S311
    durations = {
        "equal": [1.0] * 60,
        "rising": [0.1 + number / 30 for number in range(60)],
        "one giant": [0.5] * 40 + [6.0] + [0.5] * 19,
        "mixed": [chance.choice([0.1, 0.5, 2.0]) for _ in range(60)],
    }[shape]
    seconds, started = simulated_seconds(durations, workers=workers, start=0.4)
    assert started <= 4 * workers
    ideal = max(sum(durations) / workers, *durations)
    assert seconds <= ideal + 0.4 * started / workers + max(durations)


def test_two_evaluators_need_little_more_than_half_the_time_of_one() -> None:
    one, _ = simulated_seconds([0.4] * 20, workers=1, start=0.1)
    two, started = simulated_seconds([0.4] * 20, workers=2, start=0.1)
    assert started == 2
    assert two <= 0.53 * one
