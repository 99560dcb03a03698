"""Fewer jobs where the server allows no more in a pipeline. Pure.

What does not fit even so becomes several pipelines when it is put into GitLab's words.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelinegen.history import History
from pipelinegen.plan.model import Stage
from pipelinegen.plan.situation import Situation
from pipelinegen.plan.tasks import FailedOutput, Judged, Tasks, make_tasks
from pipelinegen.plan.to_build import ToBuild
from pipelinegen.plan.units import Units, make_units

IN_ONE_FILE = 550
"""Jobs of usual size that fit a file whose parsed form GitLab limits; more than that are joined first."""

GATES_AND_THE_LIKE = 5
"""Jobs that are there once at most."""


def fit(
    situation: Situation, found: ToBuild, judged: Sequence[Judged], failed: Sequence[FailedOutput], history: History
) -> tuple[Units, Tasks]:
    """Units and tasks: as many as are best, else as many as are allowed."""
    allowed = min(situation.config.gitlab.max_jobs, IN_ONE_FILE)
    least = max((allowed - GATES_AND_THE_LIKE) // 2, 1)
    made = [one.output for one in judged if one.made]

    def make(others: int, *, few: bool) -> tuple[Units, Tasks]:
        limit = max(allowed - others, least)
        units = make_units(found, made, situation.config, history=history, limit=limit)
        return units, make_tasks(situation, units, judged, failed, few=few)

    pushes = sum(one.runs(Stage.PUSH) for one in judged)
    others = _others(situation, judged, failed)
    # Each target that is built has a job of its own where there is room.
    if len({output.drv_path for output in made} & found.builds.keys()) + others + pushes <= allowed:
        units, tasks = make(others + pushes, few=False)
        if len(tasks.tasks) <= allowed:
            return units, tasks
    units, tasks = make(others + min(pushes, least), few=True)
    rest = len(tasks.tasks) - len(units.units)
    if len(tasks.tasks) > allowed and len(units.units) > max(allowed - rest, least):
        return make(rest, few=True)
    return units, tasks


def _others(situation: Situation, judged: Sequence[Judged], failed: Sequence[FailedOutput]) -> int:
    """About how many jobs there are besides units and pushes; each deployment has an approval at most."""
    deploys = sum(one.runs(Stage.DEPLOY) for one in judged)
    return len(failed) + len(situation.config.tests) + GATES_AND_THE_LIKE + 2 * deploys
