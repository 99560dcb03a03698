"""What has been found of a flake, and what is still to be looked at. Pure bookkeeping.

Every attribute that an evaluator names becomes a task at once, and ends as an output, a failure, a set whose
names became tasks, or something that is no derivation. An evaluator may die at any moment: whatever is still
a task then is given to another one.

The result must not depend on how tasks were dealt, so no verdict of a failure does. What a flake's `throw`
says is asked of an evaluator that looks at nothing else; any other failure counts only when the evaluator had
looked at nothing before; and one that was killed is believed only when nothing else ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipelinegen import attrpath
from pipelinegen.attrpath import AttrPath
from pipelinegen.inventory.model import EvalFailure, FlakeOutput
from pipelinegen.inventory.records import (
    Caught,
    Enter,
    Found,
    Name,
    Report,
    SetDone,
    Unavailable,
)
from pipelinegen.inventory.results import Result
from pipelinegen.inventory.rules import MAX_DEPTH, Item, Look, Rules, Visit

Key = tuple[AttrPath, Visit]


@dataclass(frozen=True)
class Task:
    """One attribute that is to be looked at in one way.

    Attributes:
        first: an evaluator must begin with it: one that had looked at other things failed at it.
        alone: nothing else may run meanwhile: it was killed, maybe for what others used up.
        ask: nothing is caught, so that Nix says why it fails; the evaluator gets nothing else.
        builds: evaluating it has to build something, which it may not where reading is recorded.
        reads_metadata: it reads what `self` says of the source, and so would all that its evaluator looks at later
            seem to.
    """

    path: AttrPath
    look: Look
    first: bool = False
    alone: bool = False
    ask: bool = False
    builds: bool = False
    reads_metadata: bool = False

    @property
    def key(self) -> Key:
        """What tells tasks apart, and their order."""
        return self.path, self.look.visit


class Turn:
    """What one evaluator is given, and how far it is.

    Args:
        tasks: in the order in which it looks at them; either all sets, or all items.

    Attributes:
        ahead: what it will come to by itself.
        current: what it turned to last; null before its first word.
        since: when it turned to that (for the caller).
        useful: whether anything was achieved.
        number: tells those that run at once apart (for the caller).
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tuple(tasks)
        self.ahead = {task.key for task in self.tasks}
        self.current: Key | None = None
        self.since = 0.0
        self.useful = False
        self.number = 0
        self._entered = 0
        self._names: list[str] = []

    @property
    def ask(self) -> bool:
        """Whether it is there for the message of its only task."""
        return self.tasks[0].ask

    @property
    def builds(self) -> bool:
        """Whether its tasks may build something."""
        return self.tasks[0].builds

    @property
    def alone(self) -> bool:
        """Whether nothing else may run meanwhile."""
        return self.tasks[0].alone

    @property
    def position(self) -> Key:
        """What it is at, or will begin with."""
        return self.current or self.tasks[0].key

    @property
    def listing(self) -> bool:
        """Whether it still names attributes and has not turned to any of them."""
        return self.tasks[0].look.visit == "set" and (self.current is None or self.current[1] == "set")

    @property
    def at_its_first(self) -> bool:
        """Whether it has looked at nothing but its first task."""
        return self._entered == 1 and self.current == self.tasks[0].key

    def enter(self, key: Key) -> None:
        """It turns to something."""
        self.current = key
        self._entered += 1
        self._names = []

    def name(self, name: str) -> None:
        """It names an attribute of what it is at."""
        self._names.append(name)

    def names(self, count: int) -> list[str]:
        """The names that it gave.

        Raises:
            ValueError: some are missing.
        """
        if len(self._names) != count:
            raise ValueError(f"{len(self._names)} names arrived of {count}")
        return self._names


class Frontier:
    """The state of one inventory while it is being made.

    Attributes:
        pending: what is to be looked at.
        found: what yields a derivation, by attribute path.
        sets: what is a set, with its names.
        ignored: what is no derivation and is not searched, with whether that is strange.
        builders: what had to build something to be evaluated.
        recalled: derivations that were known before.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.pending: dict[Key, Task] = {}
        self.found: dict[AttrPath, Found | Unavailable] = {}
        self.sets: dict[Key, tuple[str, ...]] = {}
        self.ignored: dict[Key, bool] = {}
        self.builders: set[Key] = set()
        self.recalled: dict[AttrPath, FlakeOutput] = {}
        self._known: set[Key] = set()
        self._failures: dict[Key, EvalFailure] = {}
        self._caught: dict[Key, Task] = {}
        self._asked = 0
        self._at: dict[Key, Turn] = {}
        self._done_by: dict[Key, Turn] = {}
        self._order: list[Key] = []
        self._add((), None)

    @property
    def known(self) -> int:
        """How many tasks there are so far, those that are done included."""
        return len(self._known)

    @property
    def finished(self) -> int:
        """How many tasks are done."""
        return len(self._known) - len(self.pending) - len(self._caught)

    @property
    def failures(self) -> dict[AttrPath, EvalFailure]:
        """What failed, by attribute path. What failed both as an item and as a set is told as an item."""
        return {path: self._failures[path, visit] for path, visit in sorted(self._failures, reverse=True)}

    def in_order(self) -> list[Task]:
        """All that is pending, by attribute path: neighbours are likely to share work."""
        if len(self._order) < len(self.pending):
            self._order = sorted(self.pending)
        self._order = [key for key in self._order if key in self.pending]
        return [self.pending[key] for key in self._order]

    def take(self, turn: Turn, report: Report) -> bool:
        """Note what an evaluator said.

        Returns:
            Whether it should go on: it should not with what another one looks at or has looked at.

        Raises:
            ValueError: it makes no sense: names are missing.
        """
        key = (report.path, report.visit)
        if isinstance(report, Enter):
            return self._enter(turn, key)
        if isinstance(report, Name):
            turn.name(report.name)
            return True
        task = self.pending.pop(key, None)
        self._at.pop(key, None)
        turn.ahead.discard(key)
        if task is None:
            return True  # found in two ways, and looked at before
        turn.useful = True
        self._done_by[key] = turn
        if task.builds:
            self.builders.add(key)
        if isinstance(report, SetDone):
            self.sets[key] = tuple(turn.names(report.count))
            self._descend(task, self.sets[key], turn)
        elif isinstance(report, Found | Unavailable):
            self.found.setdefault(task.path, report)
        elif isinstance(report, Caught):
            self._caught[key] = task
        else:
            self._ignore(task, strange=report.strange)
        return True

    def recall(self, key: Key, result: Result) -> None:
        """Note of a pending task what it is known to evaluate to."""
        task = self.pending.pop(key)
        if result.names is not None:
            self._descend(task, result.names)
        elif result.output is not None:
            self.recalled[task.path] = result.output
        else:
            self._ignore(task, strange=result.strange)

    def will_build(self, key: Key) -> None:
        """Evaluating a pending task has to build something."""
        self.pending[key] = replace(self.pending[key], builds=True)

    def will_read_metadata(self, key: Key) -> None:
        """A pending task reads what `self` says of the source."""
        self.pending[key] = replace(self.pending[key], reads_metadata=True)

    def release(self, turn: Turn) -> None:
        """The evaluator has ended."""
        self._at = {key: holder for key, holder in self._at.items() if holder is not turn}

    def died(
        self, turn: Turn, message: str, *, doubt: bool = False, killed: bool = False, builds: bool = False
    ) -> bool:
        """The evaluator ended early; the task it had turned to is to blame.

        Args:
            message: what it said, or why it was ended.
            doubt: it may be innocent, where its evaluator had looked at other things.
            killed: it may be innocent, where anything else ran.
            builds: it has to build something and might not.

        Returns:
            False when nobody is to blame, because the evaluator never turned to an open task.
        """
        self.release(turn)
        task = self.pending.get(turn.current) if turn.current else None
        if task is None:
            return False
        if builds:
            self.pending[task.key] = replace(task, builds=True)
        elif killed and not turn.alone:
            self.pending[task.key] = replace(task, alone=True)
        elif doubt and not turn.at_its_first:
            self.pending[task.key] = replace(task, first=True)
        else:
            del self.pending[task.key]
            self._fail(task, message)
        return True

    def ask(self, limit: int) -> None:
        """Make tasks of what was caught, to learn why: the first ones, `limit` in all.

        To be called when nothing is pending; the others are failures without Nix's message.
        """
        for key in sorted(self._caught):
            task = self._caught.pop(key)
            if self._asked < limit:
                self._asked += 1
                # What it says it must say with all that it may do.
                self.pending[key] = replace(task, ask=True, builds=True)
                self._order = []
            else:
                self._fail(task, _without_message(task))

    def _enter(self, turn: Turn, key: Key) -> bool:
        task = self.pending.get(key)
        if task is None:
            # Found in two ways: for who has looked at it, looking again costs nothing.
            turn.enter(key)
            return self._done_by.get(key) is turn or key not in self._known
        if self._at.get(key, turn) is not turn or ((task.first or task.alone or task.ask) and task != turn.tasks[0]):
            return False
        if task.builds and not turn.builds:
            return False
        self._at = {held: holder for held, holder in self._at.items() if holder is not turn} | {key: turn}
        turn.enter(key)
        return True

    def _add(self, path: AttrPath, found_in: Item | None) -> None:
        for look in self.rules.looks(path, found_in):
            task = Task(path, look)
            if task.key in self._known:
                continue
            self._known.add(task.key)
            if len(path) > MAX_DEPTH:
                self._fail(task, f"attribute sets are nested more than {MAX_DEPTH} deep; is there an end to them?")
            else:
                self.pending[task.key] = task
                self._order = []

    def _descend(self, task: Task, names: Iterable[str], turn: Turn | None = None) -> None:
        for name in names:
            path = (*task.path, name)
            self._add(path, task.look.item)
            following = task.look.child(name)
            if turn is not None and following is not None:
                turn.ahead.add((path, following.visit))

    def _ignore(self, task: Task, *, strange: bool) -> None:
        self.ignored[task.key] = strange
        if strange:
            self._fail(task, _strange(task))

    def _fail(self, task: Task, message: str) -> None:
        self._failures[task.key] = EvalFailure(path=task.path, kind=self.rules.kind(task.path), message=message)


def _strange(task: Task) -> str:
    item = task.look.item
    if item is None:
        return "this is no attribute set"
    return f"{attrpath.show((*task.path, *item.suffix))} is no derivation"


def _without_message(task: Task) -> str:
    suffix = task.look.item.suffix if task.look.item else ()
    return (
        "evaluation failed with `throw` or a failed assertion; so many outputs failed that Nix was not asked why; "
        f"`nix eval` of {attrpath.show((*task.path, *suffix, 'drvPath'))} tells it"
    )
