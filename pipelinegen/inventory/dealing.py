"""Which evaluator looks at what. Pure.

All that is to be looked at lies in a line, ordered by attribute path, so that neighbours share work. Evaluators
move along it, all in the same direction. One that is free gets the further half of the stretch where it helps most;
whoever arrives at where another one began is free again.

Which direction tells the two evaluations of a flake apart by which its read sets are narrowed (`recording`): what
was looked at early in one must come late in the other. Hence not both directions at once.
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
        awaits: whether an evaluator will come to it.
    """

    tasks: tuple[Task, ...]
    awaits: bool = False


def deal(
    frontier: Frontier, turns: Sequence[Turn], seconds: Callable[[Kind], float], *, backwards: bool = False
) -> Turn | None:
    """What a free evaluator should do; null: nothing now.

    Args:
        turns: those of the evaluators that run. While there is none, something is dealt as long as anything
            is pending.
        seconds: how long an attribute of a kind takes.
        backwards: evaluators begin at the end of the line.
    """
    if any(turn.alone or turn.listing for turn in turns):
        return None
    positions = {turn.position for turn in turns}
    line = [task for task in frontier.in_order() if task.key not in positions]
    # What would spoil the read sets of others comes last; and of what builds meanwhile nothing is recorded.
    line = [task for task in line if not task.builds] or line
    line = [task for task in line if not task.reads_metadata] or line
    lonely = [task for task in line if task.alone]
    special = [task for task in line if (task.first or task.ask) and not task.alone]
    plain = [task for task in line if not (task.first or task.ask or task.alone)]
    # Names first. A set at which an evaluator failed is tried by itself.
    sets = [task for task in plain if task.look.visit == "set"]
    if sets:
        return Turn(sets)
    stretch = best_stretch(stretches(plain, turns), seconds)
    tasks = share_of(stretch, seconds, backwards=backwards) if stretch else []
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
            from_left = left is not None and tasks[0].key in left.ahead
            from_right = right is not None and tasks[-1].key in right.ahead
            found.append(Stretch(tasks, awaits=from_left or from_right))
        start = end
    return found


def best_stretch(found: Sequence[Stretch], seconds: Callable[[Kind], float]) -> Stretch | None:
    """Where one more evaluator helps most; null where it would not be worth its start."""
    loads = [(stretch, sum(_seconds(task, seconds) for task in stretch.tasks)) for stretch in found]
    worth = [(stretch, load) for stretch, load in loads if not stretch.awaits or load >= WORTH_SECONDS]
    return max(worth, key=lambda pair: pair[1] / (1 + pair[0].awaits))[0] if worth else None


def share_of(stretch: Stretch, seconds: Callable[[Kind], float], *, backwards: bool = False) -> list[Task]:
    """The tasks of a stretch in the order in which a further evaluator looks at them.

    All of them where nobody comes to it, else the half that is further away from who comes.
    """
    tasks = list(reversed(stretch.tasks)) if backwards else list(stretch.tasks)
    if not stretch.awaits:
        return tasks
    loads = list(accumulate(_seconds(task, seconds) for task in tasks))
    middle = next(number for number, load in enumerate(loads) if 2 * load > loads[-1])
    return tasks[middle:]


def _seconds(task: Task, seconds: Callable[[Kind], float]) -> float:
    return seconds(task.look.item.kind) if task.look.item else SMALL_SECONDS
