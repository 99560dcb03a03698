"""Nothing that an evaluator names is ever lost, however often evaluators die, and no verdict depends on luck."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.attrpath import AttrPath
from pipelinegen.inventory.dealing import deal
from pipelinegen.inventory.frontier import Frontier, Turn
from pipelinegen.inventory.rules import Rules
from tests.unit.inventory.flakes import FAILING, FINE, FLAKES, REPORT, SYSTEM, Flake, explore


def expected(flake: Flake, excluded: str) -> tuple[set[AttrPath], set[AttrPath]]:
    """The paths of outputs and of failures."""
    found: set[AttrPath] = set()
    failed: set[AttrPath] = set()

    def leaf(path: AttrPath, value: Any) -> None:
        if value in FINE:
            found.add(path)
        elif value in FAILING:
            failed.add(path)

    def nested(path: AttrPath, value: Any) -> None:
        if path[-1] == excluded:
            return
        if isinstance(value, dict):
            for name, inner in value.items():
                nested((*path, name), inner)
        else:
            leaf(path, value)

    for top in ("packages", "checks"):
        for system, items in flake.get(top, {}).items():
            if system != excluded:
                for name, value in items.items():
                    if name != excluded:
                        leaf((top, system, name), value)
    for top in ("hydraJobs", "images"):
        for name, value in flake.get(top, {}).items():
            nested((top, name), value)
    return found, failed


WORKERS = st.sampled_from([1, 2, 3, 5])
EXCLUDED = st.sampled_from(["no", "none of them"])


def new_frontier(excluded: str) -> Frontier:
    return Frontier(Rules(["images.**"], [f'**."{excluded}"']))


@settings(max_examples=300, deadline=None)
@given(FLAKES, EXCLUDED, WORKERS, st.integers())
def test_every_attribute_ends_as_output_failure_or_nothing(
    flake: Flake, excluded: str, workers: int, seed: int
) -> None:
    frontier = new_frontier(excluded)
    _, visited = explore(frontier, flake, workers=workers, chance=random.Random(seed), mishap=0.05)  # noqa: S311
    found, failed = expected(flake, excluded)
    assert set(frontier.found) == found
    assert set(frontier.failures) == failed
    assert frontier.finished == frontier.known
    assert not [path for path in visited if excluded in path]


@settings(max_examples=300, deadline=None)
@given(FLAKES, EXCLUDED, st.integers(), st.integers(min_value=0, max_value=3))
def test_the_result_is_the_same_for_any_number_of_evaluators_and_any_timing(
    flake: Flake, excluded: str, seed: int, messages: int
) -> None:
    results = []
    for workers in (1, 2, 5):
        frontier = new_frontier(excluded)
        chance = random.Random(f"{seed} {workers}")  # noqa: S311
        explore(frontier, flake, workers=workers, chance=chance, messages=messages, mishap=0.02)
        results.append((frontier.found, sorted(frontier.failures.items())))
    assert results[0] == results[1] == results[2]


def begun(names: list[str]) -> tuple[Frontier, Turn]:
    """A frontier and an evaluator that has named some packages, and turned to none of them."""
    frontier = Frontier(Rules())
    turn = deal(frontier, [], lambda _: 1.0)
    assert turn is not None
    for path, inner in (((), ["packages"]), (("packages",), [SYSTEM]), (("packages", SYSTEM), names)):
        assert tell(frontier, turn, "enter", path, "set")
        for name in inner:
            tell(frontier, turn, "name", path, "set", name=name)
        assert tell(frontier, turn, "set", path, "set", count=len(inner))
    return frontier, turn


def tell(frontier: Frontier, turn: Turn, event: str, path: AttrPath, visit: str = "item", **more: Any) -> bool:
    return frontier.take(turn, REPORT.validate_python({"event": event, "path": path, "visit": visit, **more}))


def test_nobody_is_to_blame_before_the_evaluator_turned_to_anything() -> None:
    frontier = Frontier(Rules())
    turn = deal(frontier, [], lambda _: 1.0)
    assert turn is not None
    assert not frontier.died(turn, "no reason", doubt=True)
    assert (frontier.known, frontier.finished) == (1, 0)


def test_an_evaluator_that_turns_to_what_another_one_looks_at_is_to_end() -> None:
    frontier, one = begun(["a", "b"])
    assert tell(frontier, one, "enter", ("packages", SYSTEM, "a"))
    other = deal(frontier, [one], lambda _: 1.0)
    assert other is not None
    assert tell(frontier, other, "enter", ("packages", SYSTEM, "b"))
    assert not tell(frontier, one, "enter", ("packages", SYSTEM, "b"))
    assert tell(frontier, other, "ignored", ("packages", SYSTEM, "b"), strange=False)
    assert not tell(frontier, one, "enter", ("packages", SYSTEM, "b"))


def test_only_the_first_messages_are_asked_for_in_order_of_the_paths() -> None:
    frontier, turn = begun(["a", "b", "c"])
    for name in ("c", "a", "b"):
        tell(frontier, turn, "enter", ("packages", SYSTEM, name))
        tell(frontier, turn, "caught", ("packages", SYSTEM, name))
    assert not frontier.pending
    assert frontier.finished == frontier.known - 3
    frontier.ask(1)
    assert [task.path[-1] for task in frontier.in_order()] == ["a"]
    assert {path[-1]: failure.message[:39] for path, failure in frontier.failures.items()} == {
        "b": "evaluation failed with `throw` or a fai",
        "c": "evaluation failed with `throw` or a fai",
    }
