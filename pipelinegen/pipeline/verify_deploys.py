"""Rules about deployments and the people who release them."""

from __future__ import annotations

from collections.abc import Iterator

from pipelinegen.pipeline.model import Job
from pipelinegen.pipeline.subject import Subject, Trouble


def deploys_are_gates(subject: Subject) -> Iterator[Trouble]:
    """A failed job that is allowed to fail counts as passed for those that need it.

    A manual job is allowed to fail unless it blocks the pipeline, so approval is a job of its own that
    does nothing, and the deployment that needs it is automatic: else a failed deployment starts the next.
    """
    for job in subject.jobs:
        if not job.deploys:
            continue
        if job.manual:
            yield job.name, "deploys and is manual; put a manual job before it that does nothing"
        if job.allow_failure not in (None, False):
            yield job.name, "deploys and is allowed to fail, so what needs it goes on after a failure"


def manual_jobs_do_not_block(subject: Subject) -> Iterator[Trouble]:
    """A blocking manual job leaves the parent running for ever under `strategy: depend`."""
    for job in subject.jobs:
        if job.manual and job.allow_failure not in (None, True):
            yield job.name, "is manual and blocks the pipeline; it needs `allow_failure: true`"


def manual_jobs_say_so(subject: Subject) -> Iterator[Trouble]:
    """The default of `allow_failure` differs between manual jobs with and without rules."""
    for job in subject.jobs:
        if job.manual and job.allow_failure is None:
            yield job.name, "is manual and leaves `allow_failure` to GitLab's defaults"


def few_deployments(subject: Subject) -> Iterator[Trouble]:
    """The server's limit of jobs with an environment."""
    count = deployments(subject)
    if count > subject.limits.max_deployments:
        yield None, f"{count} jobs have an environment; GitLab allows {subject.limits.max_deployments}"


def deployments(subject: Subject) -> int:
    """How many jobs have an environment, `parallel` included."""
    return sum(job.instances for job in subject.jobs if job.environment is not None)


def one_deployment_each(subject: Subject) -> Iterator[Trouble]:
    """Two deployments to one environment in one pipeline: GitLab may call the second outdated and fail it."""
    first: dict[str, str] = {}
    for job in subject.jobs:
        if not job.deploys or job.environment is None:
            continue
        name = job.environment.name
        if name in first:
            yield job.name, f"deploys to {name!r}, as {first[name]!r} does; use `action: verify` or the like"
        first.setdefault(name, job.name)


def deploys_are_alone(subject: Subject) -> Iterator[Trouble]:
    """A deployment is neither cancelled half-way nor run twice at once."""
    default = subject.pipeline.default
    for job in _deploys(subject):
        interruptible = job.interruptible
        if interruptible is None and default is not None:
            interruptible = default.interruptible
        if interruptible:
            yield job.name, "deploys and is interruptible: a newer commit may cancel it half-way"
        if not job.resource_group:
            yield job.name, "deploys without a resource group: two pipelines may deploy at once"


def no_deploys_for_merge_requests(subject: Subject) -> Iterator[Trouble]:
    """What was only asked to be merged reaches no host."""
    if subject.merge_request:
        for job in _deploys(subject):
            yield job.name, "deploys in a merge request pipeline"


def deploys_wait_for_something(subject: Subject) -> Iterator[Trouble]:
    """A job whose optional needs are all absent starts at once."""
    for job in _deploys(subject):
        if job.needs and all(need.optional for need in job.needs):
            yield job.name, "deploys and all its needs are optional: without them it starts at once"


def _deploys(subject: Subject) -> Iterator[Job]:
    return (job for job in subject.jobs if job.deploys)
