"""Rules about names, stages, and who waits for whom."""

from __future__ import annotations

import graphlib
from collections import Counter
from collections.abc import Iterator

from pipelinegen import job_names as names
from pipelinegen.pipeline.limits import MAX_STAGE_NAME, MAX_WORKFLOW_NAME
from pipelinegen.pipeline.model import Job
from pipelinegen.pipeline.subject import EDGE_STAGES, Subject, Trouble


def starts_by_itself(subject: Subject) -> Iterator[Trouble]:
    """A pipeline of only manual, hidden or edge-stage jobs is empty or skipped: the trigger job fails.

    A job that waits for one of those, over however many others, starts as little as they do.
    """
    idle = [job for job in subject.jobs if not job.automatic]
    waiting = {job.name for job in idle}
    while idle:
        for dependent in subject.dependents.get(idle.pop().name, ()):
            if dependent.name not in waiting:
                waiting.add(dependent.name)
                idle.append(dependent)
    if not any(
        job.name not in waiting and job.stage not in EDGE_STAGES and not job.name.startswith(".")
        for job in subject.jobs
    ):
        yield None, "no job starts by itself: the child would be empty or skipped, and its trigger job fail"


def stages_exist(subject: Subject) -> Iterator[Trouble]:
    """Each job's stage is listed."""
    for job in subject.jobs:
        if job.stage not in subject.stage_order:
            yield job.name, f"stage {job.stage!r} is not listed in `stages`"


def targets_exist(subject: Subject) -> Iterator[Trouble]:
    """What `needs`, `dependencies` and `on_stop` name is there, and of the right kind."""
    for job in subject.jobs:
        for need in job.needs or ():
            if need.pipeline is None and not need.optional and need.job not in subject.by_name:
                yield job.name, f"needs {need.job!r}, which does not exist"
        yield from _dependencies_exist(subject, job)
        yield from _stop_job_exists(subject, job)


def _dependencies_exist(subject: Subject, job: Job) -> Iterator[Trouble]:
    needed = None if job.needs is None else frozenset(job.local_needs)
    for name in job.dependencies or ():
        target = subject.by_name.get(name)
        if target is None:
            yield job.name, f"depends on {name!r}, which does not exist"
        elif needed is not None and name not in needed:
            yield job.name, f"depends on {name!r}, which is not one of its needs"
        elif needed is None and not subject.is_later(job, than=target):
            yield job.name, f"depends on {name!r}, which is in no earlier stage"


def _stop_job_exists(subject: Subject, job: Job) -> Iterator[Trouble]:
    if job.environment is None or job.environment.on_stop is None:
        return
    name = job.environment.on_stop
    target = subject.by_name.get(name)
    if target is None:
        yield job.name, f"is stopped by {name!r}, which does not exist"
    elif target.environment is None or target.environment.action != "stop":
        yield job.name, f"is stopped by {name!r}, which has no environment with `action: stop`"
    elif target.environment.name != job.environment.name:
        yield job.name, f"is stopped by {name!r}, which stops another environment"


def no_cycles(subject: Subject) -> Iterator[Trouble]:
    """No job waits for itself, directly or over others. Names one cycle."""
    graph: dict[str, list[str]] = {}
    for job in subject.jobs:
        needs = job.local_needs
        if job.name in needs:
            yield job.name, "needs itself"
        graph.setdefault(job.name, []).extend(name for name in needs if name != job.name)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        # graphlib lists who must come first; told the other way round it reads as "needs".
        cycle = list(reversed(error.args[1]))
        yield cycle[0], f"waits for itself: {' needs '.join(repr(name) for name in cycle)}"


def no_duplicate_needs(subject: Subject) -> Iterator[Trouble]:
    """Each need stands once."""
    for job in subject.jobs:
        counts = Counter((need.pipeline, need.job) for need in job.needs or ())
        for (_, name), count in counts.items():
            if count > 1:
                yield job.name, f"needs {name!r} {count} times"


def needs_go_back(subject: Subject) -> Iterator[Trouble]:
    """A needed job is in the same or an earlier stage."""
    for job in subject.jobs:
        for name in job.local_needs:
            target = subject.by_name.get(name)
            if target is not None and subject.is_later(target, than=job):
                yield job.name, f"needs {name!r}, which is in the later stage {target.stage!r}"


def few_needs(subject: Subject) -> Iterator[Trouble]:
    """The server's limit, counted after `parallel` has multiplied the needed jobs."""
    for job in subject.jobs:
        count = sum(_instances(subject, name) for name in job.local_needs)
        count += sum(need.pipeline is not None for need in job.needs or ())
        if count > subject.limits.max_needs:
            yield job.name, f"needs {count} jobs; GitLab allows {subject.limits.max_needs}"


def _instances(subject: Subject, name: str) -> int:
    target = subject.by_name.get(name)
    return 1 if target is None else target.instances


def names_are_sound(subject: Subject) -> Iterator[Trouble]:
    """Names of jobs, stages and the pipeline: length, reserved words, no two alike."""
    seen: set[str] = set()
    for job in subject.jobs:
        limit = names.MAX_NEEDED_NAME if job.name in subject.needed else names.MAX_JOB_NAME
        if not 1 <= len(job.name) <= limit:
            needed = "a job that others need" if job.name in subject.needed else "a job"
            yield job.name, f"the name of {needed} has 1 to {limit} characters, this one {len(job.name)}"
        if job.name in names.RESERVED:
            yield job.name, "the name is reserved"
        if job.name.startswith("."):
            yield job.name, "the leading dot hides the job"
        if job.name in seen:
            yield job.name, "there is another job of this name"
        seen.add(job.name)
    for stage in subject.pipeline.stages:
        if not 1 <= len(stage) <= MAX_STAGE_NAME:
            yield None, f"a stage's name has 1 to {MAX_STAGE_NAME} characters, {stage[:40]!r}… {len(stage)}"
    title = subject.pipeline.workflow_name
    if title is not None and not 1 <= len(title) <= MAX_WORKFLOW_NAME:
        yield None, f"`workflow:name` has 1 to {MAX_WORKFLOW_NAME} characters, this one {len(title)}"


def no_accidental_groups(subject: Subject) -> Iterator[Trouble]:
    """GitLab's graph shows jobs as one whose names differ only in such an ending."""
    for job in subject.jobs:
        if len(job.name) <= names.MAX_JOB_NAME and names.GROUPED.search(job.name):
            yield job.name, "GitLab's graph cuts off the end of this name and shows a group of jobs"
