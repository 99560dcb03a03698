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

IN_ONE_FILE = 1500
"""Jobs of usual size that fit a file whose parsed form GitLab limits; more than that are joined first."""


def fit(
    situation: Situation, found: ToBuild, judged: Sequence[Judged], failed: Sequence[FailedOutput], history: History
) -> tuple[Units, Tasks]:
    """Units and tasks: as many as are best, else as many as are allowed."""
    allowed = min(situation.config.gitlab.max_jobs, IN_ONE_FILE)
    made = [one.output for one in judged if one.made]

    def make(limit: int | None) -> tuple[Units, Tasks]:
        units = make_units(found, made, situation.config, history=history, limit=limit)
        return units, make_tasks(situation, units, judged, failed, few=limit is not None)

    # Each target that is built has a job of its own where there is room; where not, no try is needed to know.
    if len({output.drv_path for output in made} & found.builds.keys()) <= allowed:
        units, tasks = make(None)
        if len(tasks.tasks) <= allowed:
            return units, tasks
    least = allowed // 2
    units, tasks = make(max(allowed - _others(situation, judged, failed, least), least))
    others = len(tasks.tasks) - len(units.units)
    if len(tasks.tasks) > allowed and len(units.units) > max(allowed - others, least):
        return make(max(allowed - others, least))
    return units, tasks


def _others(situation: Situation, judged: Sequence[Judged], failed: Sequence[FailedOutput], most_pushes: int) -> int:
    """About how many jobs there are besides units: each deployment has an approval at most, pushes share jobs."""
    pushes = sum(one.runs(Stage.PUSH) for one in judged)
    deploys = sum(one.runs(Stage.DEPLOY) for one in judged)
    gates_and_the_like = 5
    return len(failed) + len(situation.config.tests) + gates_and_the_like + 2 * deploys + min(pushes, most_pushes)
