"""What has been found of a flake, and what is still to be looked at. Pure bookkeeping.

Every attribute that the evaluator names becomes a task at once, and ends as an output, a failure, a set whose
names became tasks, or something that is no derivation. An evaluator may die at any moment: whatever is still
a task then is given to the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipelinegen import attrpath
from pipelinegen.attrpath import AttrPath
from pipelinegen.inventory.model import EvalFailure
from pipelinegen.inventory.records import (
    Caught,
    Enter,
    Found,
    Name,
    Report,
    SetDone,
    Unavailable,
)
from pipelinegen.inventory.rules import MAX_DEPTH, Item, Look, Rules, Visit

Key = tuple[AttrPath, Visit]


@dataclass(frozen=True)
class Task:
    """One attribute that is to be looked at in one way.

    Attributes:
        alone: in an evaluator of its own, since one that looked at other things, too, died with it.
    """

    path: AttrPath
    look: Look
    alone: bool = False

    @property
    def key(self) -> Key:
        """What tells tasks apart."""
        return self.path, self.look.visit


class Frontier:
    """The state of one inventory while it is being made.

    Attributes:
        found: what yields a derivation, by attribute path.
        failures: what failed, by attribute path.
        current: what the evaluator turned to last; null before its first word.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._pending: dict[Key, Task] = {}
        self._known: set[Key] = set()
        self._names: list[str] = []
        self.found: dict[AttrPath, Found | Unavailable] = {}
        self.failures: dict[AttrPath, EvalFailure] = {}
        self.current: Key | None = None
        self._add((), None)

    @property
    def known(self) -> int:
        """How many tasks there are so far, those that are done included."""
        return len(self._known)

    @property
    def finished(self) -> int:
        """How many tasks are done."""
        return len(self._known) - len(self._pending)

    def state(self) -> tuple[int, int, int]:
        """Differs from an earlier one if and only if something was achieved since."""
        alone = sum(task.alone for task in self._pending.values())
        return self.known, self.finished, alone

    def next_tasks(self) -> list[Task]:
        """For one evaluator: all that can share one, else one that must not; empty when all is done."""
        shared = [task for task in self._pending.values() if not task.alone]
        return shared or list(self._pending.values())[:1]

    def begin(self) -> None:
        """A new evaluator starts."""
        self.current = None
        self._names = []

    def take(self, report: Report) -> None:
        """Note what the evaluator said.

        Raises:
            ValueError: it makes no sense: names are missing.
        """
        key = (report.path, report.visit)
        if isinstance(report, Enter):
            self.current = key
            self._names = []
            return
        if isinstance(report, Name):
            self._names.append(report.name)
            return
        task = self._pending.pop(key, None)
        if task is None:
            return  # found in two ways, and looked at before
        if isinstance(report, SetDone):
            if len(self._names) != report.count:
                raise ValueError(f"{len(self._names)} names arrived of {report.count}")
            self._descend(task, self._names)
        elif isinstance(report, Found | Unavailable):
            self.found.setdefault(task.path, report)
        elif isinstance(report, Caught):
            self._fail(task, _without_message(task))
        elif report.strange:
            self._fail(task, _strange(task))

    def died(self, message: str, *, retry: bool) -> bool:
        """The evaluator ended early; the task it had turned to is to blame.

        Args:
            message: what it said, or why it was ended.
            retry: it may be innocent: others had used up what it lacked. It gets an evaluator of its own.

        Returns:
            False when nobody is to blame, because the evaluator never turned to an open task.
        """
        task = self._pending.get(self.current) if self.current else None
        if task is None:
            return False
        if retry and not task.alone:
            self._pending[task.key] = Task(task.path, task.look, alone=True)
        else:
            del self._pending[task.key]
            self._fail(task, message)
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
                self._pending[task.key] = task

    def _descend(self, task: Task, names: Iterable[str]) -> None:
        for name in names:
            self._add((*task.path, name), task.look.item)

    def _fail(self, task: Task, message: str) -> None:
        failure = EvalFailure(path=task.path, kind=self.rules.kind(task.path), message=message)
        self.failures.setdefault(task.path, failure)


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
