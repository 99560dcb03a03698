"""Fewer jobs where the server allows no more in a pipeline. Pure.

What does not fit even so becomes several pipelines when it is put into GitLab's words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pipelinegen.history import History
from pipelinegen.plan.failed import FailedOutput, share_jobs
from pipelinegen.plan.model import Action, Stage, Task
from pipelinegen.plan.situation import Situation, few_needs
from pipelinegen.plan.tasks import Judged, Tasks, make_tasks
from pipelinegen.plan.to_build import ToBuild
from pipelinegen.plan.units import Units, make_units
from pipelinegen.plan.waves import make_waves

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
    most_pushes = _most_pushes(situation, judged)
    # A job each costs nothing where there is room for it, and is what a person looks for.
    shared = share_jobs(failed) if len(failed) > least else failed

    def limit(others: int) -> int:
        return max(allowed - others, least)

    def make(others: int, *, few: bool) -> tuple[Units, Tasks, int]:
        # What takes artifacts cannot be divided later, so here the collectors must fit, too.
        whole = situation.hands_artifacts
        units = make_units(found, made, situation.config, history=history, limit=limit(others), keep_all_needs=whole)
        tasks = make_tasks(situation, units, judged, shared if few else failed, few=few, most_pushes=most_pushes)
        most = few_needs(situation.config.gitlab.max_needs)
        return units, tasks, len(tasks.tasks) + (_collectors(tasks.tasks, most) if whole else 0)

    pushes = sum(one.runs(Stage.PUSH) for one in judged)
    others = _others(situation, judged, failed)
    # Each target that is built has a job of its own where there is room.
    if len({output.drv_path for output in made} & found.builds.keys()) + others + pushes <= allowed:
        units, tasks, jobs = make(others + pushes, few=False)
        if jobs <= allowed and (most_pushes is None or _pushes(tasks) <= most_pushes):
            return units, tasks
    others = _others(situation, judged, shared) + min(pushes, least)
    units, tasks, jobs = make(others, few=True)
    if jobs > allowed and len(units.units) > limit(jobs - len(units.units)):
        # Units may be some more than asked for: they would be again.
        others = jobs - len(units.units) + max(len(units.units) - limit(others), 0)
        units, tasks, _ = make(others, few=True)
    return units, tasks


def _most_pushes(situation: Situation, judged: Sequence[Judged]) -> int | None:
    """Push jobs for which there is room beside the deployments: each has an environment, too.

    Where deployments leave none there will be several pipelines, and pushes are in an earlier one.
    """
    gitlab = situation.config.gitlab
    if not gitlab.publish_environment:
        return None
    each = 2 if situation.config.fleet.rollback_succeeded else 1
    room = gitlab.max_deployments - each * sum(one.runs(Stage.DEPLOY) for one in judged)
    return room if room > 0 else gitlab.max_deployments


def _pushes(tasks: Tasks) -> int:
    return sum(task.action is Action.PUSH for task in tasks.tasks)


def _collectors(tasks: Iterable[Task], most: int) -> int:
    """About how many jobs will stand between those that need more than `most` others and what they need.

    What the same jobs need is collected once for all of them; what is then still too much, for each alone.
    """
    wide = [task for task in tasks if len(task.needs) + task.needs_handoff > most]
    users: dict[str, list[str]] = {}
    for task in wide:
        for need in task.needs:
            users.setdefault(need, []).append(task.name)
    crowd_of = {need: tuple(names) for need, names in users.items()}
    trees = {crowd: -(-size // (most - 1)) for crowd, size in Counter(crowd_of.values()).items() if size > 1}
    alone = 0
    for task in wide:
        crowds = [crowd_of[need] for need in task.needs]
        left = sum(trees[crowd] for crowd in set(crowds) & trees.keys()) + sum(crowd not in trees for crowd in crowds)
        if left + task.needs_handoff > most:
            alone += -(-left // (most - 1))
    return sum(trees.values()) + alone


def _others(situation: Situation, judged: Sequence[Judged], failed: Sequence[FailedOutput]) -> int:
    """About how many jobs there are besides units and pushes.

    Each deployment has an approval at most, each wave one and a collector, and what was deployed may be brought back.
    """
    config = situation.config
    hosts = [one.output.path[-1] for one in judged if one.runs(Stage.DEPLOY)]
    waves = len(make_waves(hosts, config).waves)
    failures = len({one.job for one in failed})
    others = failures + len(config.tests) + GATES_AND_THE_LIKE
    return others + (3 if config.fleet.rollback_succeeded else 2) * len(hosts) + (2 * waves if waves > 1 else 0)
