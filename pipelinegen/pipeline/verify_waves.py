"""Rules about what stands between the waves of a fleet: a canary that failed must never let the next wave start."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator

from pipelinegen.pipeline.model import Job
from pipelinegen.pipeline.subject import Subject, Trouble

_COLLECTOR = re.compile(r"wave [1-9][0-9]*")
_START = re.compile(r"start wave [1-9][0-9]*")
_AFTER_FAILURE = ("always", "on_failure")


def what_deploys_wait_for_counts(subject: Subject) -> Iterator[Trouble]:
    """A job that deployments wait for is skipped after a failure, or reads how each deployment ended.

    One that runs whatever happened, or is allowed to fail, opens the way for what is behind it. One with `needs` that
    runs whatever happened is started as soon as one of them is skipped, while others still run.
    """
    for name in _waited_for(subject, _deploys(subject)):
        job = subject.by_name[name]
        if job.manual:
            continue
        if job.allow_failure not in (None, False):
            yield name, "is allowed to fail, and deployments wait for it to pass"
        if job.when in _AFTER_FAILURE:
            if not _counts(job):
                yield name, f"runs `when: {job.when}` and counts nothing, and deployments wait for it to pass"
            elif job.when != "always" or job.needs is not None or not job.dependencies:
                yield name, "counts deployments, so it takes their reports as `dependencies` and has no `needs`"


def no_deploy_overtakes_a_wave(subject: Subject) -> Iterator[Trouble]:
    """A deployment is one of a wave, or waits for the wave's collector, or for a person's approval of its own."""
    collectors = [job for job in subject.jobs if _COLLECTOR.fullmatch(job.name)]
    if not collectors:
        return
    deploys = _deploys(subject)
    before = {job.name: _waited_for(subject, [job]) for job in (*collectors, *deploys)}
    for collector in collectors:
        in_wave = before[collector.name]
        for job in deploys:
            alone = any(_is_approval(subject, name) for name in before[job.name])
            if job.name not in in_wave and collector.name not in before[job.name] and not alone:
                yield job.name, f"deploys and is neither part of {collector.name!r} nor waits for it"


def reports_have_names_of_their_own(subject: Subject) -> Iterator[Trouble]:
    """Artifacts of several jobs are unpacked into one folder: the last of two files of one name stays."""
    for job in subject.jobs:
        if not _counts(job):
            continue
        owner: dict[str, str] = {}
        for name in job.dependencies or ():
            needed = subject.by_name.get(name)
            for path in needed.artifacts.paths if needed is not None and needed.artifacts is not None else ():
                if path in owner:
                    yield job.name, f"is given {path!r} by {owner[path]!r} and by {name!r}"
                owner.setdefault(path, name)


def _deploys(subject: Subject) -> list[Job]:
    return [job for job in subject.jobs if job.deploys]


def _counts(job: Job) -> bool:
    """Whether it reads the reports of deployments and counts failures."""
    return any({"run", "wave", "--max-failures"} <= set(_words(line)) for line in job.script)


def _words(line: str) -> Collection[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return ()


def _is_approval(subject: Subject, name: str) -> bool:
    job = subject.by_name.get(name)
    return job is not None and job.manual and not _START.fullmatch(name)


def _waited_for(subject: Subject, jobs: Iterable[Job]) -> dict[str, None]:
    """Names of the jobs of this file that must have ended first, directly or not, the nearest first.

    Of what counts, those are the jobs whose reports it reads: that others have ended means nothing to it.
    """
    found: dict[str, None] = {}
    left = list(jobs)
    while left:
        job = left.pop()
        for name in job.local_needs if job.needs is not None else job.dependencies or ():
            if name not in found and name in subject.by_name:
                found[name] = None
                left.append(subject.by_name[name])
    return found
