"""Nothing that the evaluator names is ever lost, however often evaluators die."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipelinegen.attrpath import AttrPath
from pipelinegen.inventory.frontier import Frontier, Task
from pipelinegen.inventory.records import Report
from pipelinegen.inventory.rules import Look, Rules

SYSTEM = "x86_64-linux"
REPORT: TypeAdapter[Report] = TypeAdapter(Report)

Flake = dict[str, Any]
"""Nested dictionaries; leaves: `drv`, `text` (no derivation), `throw`, `abort`, `killer`, `unlucky`."""


class _DiedError(Exception):
    def __init__(self, *, retry: bool) -> None:
        self.retry = retry


class Evaluator:
    """What `walk.nix` does, on dictionaries."""

    def __init__(self, flake: Flake, frontier: Frontier, chance: random.Random) -> None:
        self.flake = flake
        self.frontier = frontier
        self.chance = chance
        self.visited: list[AttrPath] = []

    def run(self, tasks: list[Task], *, catch: bool) -> None:
        lonely = len(tasks) == 1
        for task in tasks:
            value: Any = self.flake
            for name in task.path:
                value = value[name]
            self.visit(task.path, task.look, value, catch=catch, lonely=lonely)

    def say(self, event: str, path: AttrPath, look: Look, **more: Any) -> None:
        self.frontier.take(REPORT.validate_python({"event": event, "path": path, "visit": look.visit, **more}))

    def visit(self, path: AttrPath, look: Look, value: Any, *, catch: bool, lonely: bool) -> None:
        self.say("enter", path, look)
        self.visited.append(path)
        if value == "abort" or (value == "throw" and not (catch and look.visit == "item")):
            raise _DiedError(retry=False)
        if value == "killer" or (value == "unlucky" and not lonely):
            raise _DiedError(retry=True)
        if self.chance.random() < 0.05 and not lonely:
            raise _DiedError(retry=True)
        if value == "throw":
            self.say("caught", path, look)
        elif look.item is not None:
            self.item(path, look, value, catch=catch, lonely=lonely)
        elif isinstance(value, dict):
            names = [name for name in sorted(value) if look.announce is None or name in look.announce]
            self.names(path, look, names)
            for name in names:
                following = look.named.get(name, look.each)
                if following is not None:
                    self.visit((*path, name), following, value[name], catch=catch, lonely=lonely)
        else:
            self.say("ignored", path, look, strange=look.strict)

    def item(self, path: AttrPath, look: Look, value: Any, *, catch: bool, lonely: bool) -> None:
        assert look.item is not None
        if isinstance(value, dict) and look.item.recurse and len(path) < look.item.unmarked_depth:
            self.names(path, look, sorted(value))
            if look.follow:
                for name in sorted(value):
                    self.visit((*path, name), look, value[name], catch=catch, lonely=lonely)
        elif value in {"drv", "unlucky"}:
            self.say(
                "derivation", path, look, suffix=(), drvPath="x", output="out", install=(), timeout=None, maxSilent=None
            )
        else:
            self.say("ignored", path, look, strange=False)

    def names(self, path: AttrPath, look: Look, names: list[str]) -> None:
        for name in names:
            self.say("name", path, look, name=name)
        self.say("set", path, look, count=len(names))


NAMES = st.sampled_from(["a", "b", "no", "x.y", "", "🚀"])
LEAVES = st.sampled_from(["drv", "drv", "drv", "text", "throw", "abort", "killer", "unlucky"])
NESTED = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12)
FLAKES = st.fixed_dictionaries(
    {},
    optional={
        "packages": st.dictionaries(st.just(SYSTEM), st.dictionaries(NAMES, LEAVES, max_size=6)),
        "checks": st.dictionaries(st.sampled_from([SYSTEM, "no"]), st.dictionaries(NAMES, LEAVES, max_size=4)),
        "hydraJobs": st.dictionaries(NAMES, NESTED, max_size=4),
        "images": st.dictionaries(NAMES, NESTED, max_size=4),
        "lib": NESTED,
    },
)


def expected(flake: Flake, excluded: str) -> tuple[set[AttrPath], set[AttrPath]]:
    """The paths of outputs and of failures."""
    found: set[AttrPath] = set()
    failed: set[AttrPath] = set()

    def leaf(path: AttrPath, value: Any) -> None:
        if value in {"drv", "unlucky"}:
            found.add(path)
        elif value in {"throw", "abort", "killer"}:
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


@settings(max_examples=300, deadline=None)
@given(FLAKES, st.sampled_from(["no", "none of them"]), st.booleans(), st.integers())
def test_every_attribute_ends_as_output_failure_or_nothing(flake: Flake, excluded: str, catch: bool, seed: int) -> None:
    frontier = Frontier(Rules(["images.**"], [f'**."{excluded}"']))
    evaluator = Evaluator(flake, frontier, random.Random(seed))  # noqa: S311
    while tasks := frontier.next_tasks():
        before = frontier.state()
        frontier.begin()
        try:
            evaluator.run(tasks, catch=catch)
        except _DiedError as death:
            blamed = frontier.died("message", retry=death.retry)
        else:
            blamed = True
        assert blamed
        assert frontier.state() != before
    found, failed = expected(flake, excluded)
    assert set(frontier.found) == found
    assert set(frontier.failures) == failed
    assert frontier.finished == frontier.known
    assert not [path for path in evaluator.visited if excluded in path]


def test_nobody_is_to_blame_before_the_evaluator_turned_to_anything() -> None:
    frontier = Frontier(Rules())
    frontier.begin()
    before = frontier.state()
    assert not frontier.died("no reason", retry=True)
    assert frontier.state() == before
