"""Recorded build times of a plan: with what caches hold, and without it. Pure.

Only what this project's pipelines have built has a recorded time, so most of what everybody fetches from upstream
counts on neither side. But times are known by a package's name, and a closure has thousands of derivations that are
called `source`: of what caches hold each name counts once, which is too little rather than too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipelinegen import durations
from pipelinegen.history import History, package_name
from pipelinegen.plan.model import Choice, Plan, Planned, Stage
from pipelinegen.values import Value


class Recorded(Value):
    """Seconds of builds, added up over derivations; several at once take less time by the clock.

    Attributes:
        to_build: of what is to be built.
        spared: of what the same outputs and those in caches would need besides, each package once.
    """

    to_build: float
    spared: float

    def sentence(self) -> str:
        """For a person."""
        return (
            f"by recorded build times, builds take {durations.text(round(self.to_build))}, "
            f"and what is in caches spares {durations.text(round(self.spared))}"
        )


def covered(plan: Plan) -> dict[str, list[str]]:
    """System → derivations of the outputs that are to be built, or would be if a cache did not hold them."""
    found: dict[str, set[str]] = {}
    for output in plan.outputs:
        first = output.decisions.get(Stage.BUILD) or output.decisions.get(Stage.TEST)
        if output.drv_path is None or first is None:
            continue
        held = first.decision is Choice.SKIP and True in output.available.values()
        if held or first.decision is Choice.RUN:
            found.setdefault(output.system, set()).add(output.drv_path)
    return {system: sorted(found[system]) for system in sorted(found)}


def recorded(planned: Planned, closures: Mapping[str, Iterable[str]], history: History) -> Recorded:
    """What is known of the times.

    Args:
        planned: the plan.
        closures: system → paths of all derivations that its outputs of `covered` need, they themselves included.
        history: the recorded times.
    """
    builds = {(one.drv_path, unit.system) for unit in planned.work.units for one in unit.builds}
    paths = {path for path, _ in builds}
    spared = {
        (package_name(_name(path)), system) for system, some in closures.items() for path in some if path not in paths
    }
    names = ((_name(path), system) for path, system in builds)
    return Recorded(to_build=_seconds(names, history), spared=_seconds(spared, history))


def _seconds(names: Iterable[tuple[str, str]], history: History) -> float:
    found = (history.seconds_of(name, system) for name, system in sorted(names))
    return sum(seconds for seconds in found if seconds is not None)


def _name(drv_path: str) -> str:
    return drv_path.rpartition("/")[2].partition("-")[2].removesuffix(".drv")
