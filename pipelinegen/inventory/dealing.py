"""Which evaluator looks at what. Pure.

All that is to be looked at lies in a line, ordered by attribute path, so that neighbours share work. Evaluators
move along it. One that is free gets the stretch where it helps most, and begins at the end of it that nobody
comes to: two evaluators on one stretch move towards each other, and whoever arrives at what the other has
looked at is free again. So a stretch is divided where both end together, without anybody knowing before how long
things take, and no evaluator loads the flake more often than needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pipelinegen.inventory.frontier import Frontier, Task, Turn
from pipelinegen.inventory.model import Kind

USUAL_SECONDS = {Kind.NIXOS: 1.0, Kind.DARWIN: 1.0, Kind.HOME: 0.5}
"""How long an attribute of a kind takes while nothing else is known; all others are small."""
SMALL_SECONDS = 0.02

WORTH_SECONDS = 0.6
"""Work that another evaluator should come to for a further one to be started for it, which loads the flake again."""


class Pace:
    """How long attributes take, by kind, as far as it was seen."""

    def __init__(self) -> None:
        self._seen: dict[Kind, tuple[float, int]] = {}

    def note(self, kind: Kind, seconds: float) -> None:
        """One attribute was looked at."""
        total, count = self._seen.get(kind, (0.0, 0))
        self._seen[kind] = total + seconds, count + 1

    def seconds(self, kind: Kind, *, at_least: float = 0.0) -> float:
        """The mean; one that has not ended yet counts as soon as it takes longer.

        Args:
            at_least: for how long an evaluator has been at one of this kind.
        """
        total, count = self._seen.get(kind, (0.0, 0))
        mean = total / count if count else USUAL_SECONDS.get(kind, SMALL_SECONDS)
        return max(mean, (total + at_least) / (count + 1))


@dataclass(frozen=True)
class Stretch:
    """Neighbours that nobody is at.

    Attributes:
        from_left, from_right: whether an evaluator will come to it from there.
    """

    tasks: tuple[Task, ...]
    from_left: bool = False
    from_right: bool = False

    @property
    def comers(self) -> int:
        """How many evaluators will come to it."""
        return self.from_left + self.from_right


def deal(frontier: Frontier, turns: Sequence[Turn], seconds: Callable[[Kind], float]) -> Turn | None:
    """What a free evaluator should do; null: nothing now.

    Args:
        turns: those of the evaluators that run. While there is none, something is dealt as long as anything
            is pending.
        seconds: how long an attribute of a kind takes.
    """
    if any(turn.alone or turn.listing for turn in turns):
        return None
    positions = {turn.position for turn in turns}
    line = [task for task in frontier.in_order() if task.key not in positions]
    lonely = [task for task in line if task.alone]
    special = [task for task in line if (task.first or task.ask) and not task.alone]
    plain = [task for task in line if not (task.first or task.ask or task.alone)]
    # Names first. A set at which an evaluator failed is tried by itself.
    sets = [task for task in plain if task.look.visit == "set"]
    if sets:
        return Turn(sets)
    stretch = best_stretch(stretches(plain, turns), seconds)
    tasks = from_its_free_end(stretch, seconds) if stretch else []
    if special:
        mixed = special[0].look.visit == "item" and not special[0].ask
        return Turn([special[0], *tasks] if mixed else special[:1])
    if tasks:
        return Turn(tasks)
    return Turn(lonely[:1]) if lonely and not turns else None


def stretches(line: Sequence[Task], turns: Sequence[Turn]) -> list[Stretch]:
    """The line, cut where evaluators are.

    Args:
        line: items that nobody is at, in order.
    """
    marks = sorted(turns, key=lambda turn: turn.position)
    found: list[Stretch] = []
    start = 0
    for number in range(len(marks) + 1):
        left = marks[number - 1] if number else None
        right = marks[number] if number < len(marks) else None
        end = start
        while end < len(line) and (right is None or line[end].key < right.position):
            end += 1
        tasks = tuple(line[start:end])
        if tasks:
            found.append(
                Stretch(
                    tasks,
                    from_left=left is not None and tasks[0].key in left.ahead,
                    from_right=right is not None and tasks[-1].key in right.ahead,
                )
            )
        start = end
    return found


def best_stretch(found: Sequence[Stretch], seconds: Callable[[Kind], float]) -> Stretch | None:
    """Where one more evaluator helps most; null where it would not be worth its start."""
    loads = [(stretch, sum(_seconds(task, seconds) for task in stretch.tasks)) for stretch in found]
    worth = [(stretch, load) for stretch, load in loads if not stretch.comers or load >= WORTH_SECONDS]
    return max(worth, key=lambda pair: pair[1] / (1 + pair[0].comers))[0] if worth else None


def from_its_free_end(stretch: Stretch, seconds: Callable[[Kind], float]) -> list[Task]:
    """The tasks of a stretch in the order in which a further evaluator looks at them."""
    if stretch.from_left and stretch.from_right:
        loads = list(accumulate(_seconds(task, seconds) for task in stretch.tasks))
        middle = next(number for number, load in enumerate(loads) if 2 * load > loads[-1])
        return list(stretch.tasks[middle:])
    if stretch.from_left:
        return list(reversed(stretch.tasks))
    return list(stretch.tasks)


def _seconds(task: Task, seconds: Callable[[Kind], float]) -> float:
    return seconds(task.look.item.kind) if task.look.item else SMALL_SECONDS
