"""Flakes as nested dictionaries, and evaluators that walk them as `walk.nix` does."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipelinegen.attrpath import AttrPath
from pipelinegen.inventory.dealing import SMALL_SECONDS, deal
from pipelinegen.inventory.frontier import Frontier, Key, Task, Turn
from pipelinegen.inventory.records import Report
from pipelinegen.inventory.rules import Look

SYSTEM = "x86_64-linux"
REPORT: TypeAdapter[Report] = TypeAdapter(Report)

Flake = dict[str, Any]
"""Nested dictionaries; leaves: see `LEAVES`."""

FAILING = {"throw", "abort", "killer"}
FINE = {"drv", "unlucky", "crowded"}

NAMES = st.sampled_from(["a", "b", "no", "x.y", "", "🚀"])
LEAVES = st.sampled_from(["drv", "drv", "drv", "text", *sorted(FAILING), "unlucky", "crowded"])
"""`unlucky` fails for an evaluator that looked at anything before, `crowded` where anything else runs."""
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


class DiedError(Exception):
    """The evaluator ended early."""

    def __init__(self, message: str, *, doubt: bool = False, killed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.doubt = doubt
        self.killed = killed


class Evaluator:
    """What `walk.nix` does, on dictionaries: a generator of reports.

    Args:
        mishap: how likely it is to be killed at each step for no reason of its own.
    """

    def __init__(self, flake: Flake, turn: Turn, chance: random.Random, mishap: float) -> None:
        self.flake = flake
        self.turn = turn
        self.chance = chance
        self.mishap = mishap
        self.visited: list[AttrPath] = []
        self.others = False

    def run(self) -> Generator[Report]:
        items: list[tuple[Task, Any]] = []
        for task in self.turn.tasks:
            value: Any = self.flake
            for name in task.path:
                value = value[name]
            items += yield from self.listed(task, value)
        for task, value in items:
            yield from self.visit(task, value)

    def listed(self, task: Task, value: Any) -> Generator[Report, None, list[tuple[Task, Any]]]:
        if task.look.visit == "item":
            return [(task, value)]
        yield self.say("enter", task.path, task.look)
        self.may_die(task.path, value)
        if not isinstance(value, dict):
            yield self.say("ignored", task.path, task.look, strange=task.look.strict)
            return []
        names = [name for name in sorted(value) if task.look.announce is None or name in task.look.announce]
        yield from self.names(task.path, task.look, names)
        found: list[tuple[Task, Any]] = []
        for name in names:
            following = task.look.child(name)
            if following is not None:
                found += yield from self.listed(Task((*task.path, name), following), value[name])
        return found

    def may_die(self, path: AttrPath, value: Any) -> None:
        self.visited.append(path)
        # What Nix says may depend on what it has looked at: here it always does.
        if value == "abort":
            raise DiedError(f"abort at {self.visited}", doubt=True)
        if value == "unlucky" and len(self.visited) > 1:
            raise DiedError("unlucky", doubt=True)
        if value == "killer" or (value == "crowded" and self.others):
            raise DiedError("killed", killed=True)
        if not self.turn.alone and self.chance.random() < self.mishap:
            raise DiedError("mishap", killed=True)

    def visit(self, task: Task, value: Any) -> Generator[Report]:
        path, look = task.path, task.look
        assert look.item is not None
        yield self.say("enter", path, look)
        self.may_die(path, value)
        if value == "throw":
            if self.turn.ask:
                raise DiedError(f"throw at {self.visited}", doubt=True)
            yield self.say("caught", path, look)
        elif isinstance(value, dict) and look.item.recurse and len(path) < look.item.unmarked_depth:
            yield from self.names(path, look, sorted(value))
            if look.follow:
                for name in sorted(value):
                    yield from self.visit(Task((*path, name), look), value[name])
        elif value in FINE:
            yield self.say(
                "derivation", path, look, suffix=(), drvPath="x", output="out", install=(), timeout=None, maxSilent=None
            )
        else:
            yield self.say("ignored", path, look, strange=False)

    def names(self, path: AttrPath, look: Look, names: Sequence[str]) -> Generator[Report]:
        for name in names:
            yield self.say("name", path, look, name=name)
        yield self.say("set", path, look, count=len(names))

    def say(self, event: str, path: AttrPath, look: Look, **more: Any) -> Report:
        return REPORT.validate_python({"event": event, "path": path, "visit": look.visit, **more})


def explore(
    frontier: Frontier, flake: Flake, *, workers: int, chance: random.Random, messages: int = 5, mishap: float = 0.0
) -> tuple[int, list[AttrPath]]:
    """Look at everything with so many evaluators, whose steps come in any order.

    Returns:
        How many evaluators it took, and what was looked at, again and again included.
    """
    running: dict[Turn, tuple[Evaluator, Generator[Report]]] = {}
    started = 0
    visited: list[AttrPath] = []
    while True:
        if not frontier.pending and not running:
            frontier.ask(messages)
        while len(running) < workers:
            turn = deal(frontier, list(running), lambda _: chance.choice([SMALL_SECONDS, 1.0]))
            if turn is None:
                break
            assert not (turn.alone and running)
            evaluator = Evaluator(flake, turn, chance, mishap)
            running[turn] = evaluator, evaluator.run()
            started += 1
        if not running:
            return started, visited
        turn = chance.choice(list(running))
        evaluator, reports = running[turn]
        evaluator.others = len(running) > 1
        try:
            if frontier.take(turn, next(reports)):
                continue
            frontier.release(turn)
        except StopIteration:
            frontier.release(turn)
        except DiedError as death:
            blamed = frontier.died(turn, death.message, doubt=death.doubt, killed=death.killed)
            assert blamed
        del running[turn]
        visited += evaluator.visited


def key(*path: str) -> Key:
    """The key of an item."""
    return path, "item"
