"""Rules about secrets: who may have which, and where their names never stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelinegen.pipeline.model import Default, Image, Job, Variable, Variables
from pipelinegen.pipeline.secret_names import pattern
from pipelinegen.pipeline.subject import Subject, Trouble
from pipelinegen.plan.model import Stage

MAKING = (Stage.BUILD, Stage.TEST)
"""Stages whose jobs run what anybody wrote who may push the ref."""


def builds_have_no_environment(subject: Subject) -> Iterator[Trouble]:
    """Variables that are scoped to an environment reach every job that has it."""
    if not subject.child:
        return
    for job in subject.jobs:
        if job.stage in MAKING and job.environment is not None:
            yield job.name, f"builds or tests and has environment {job.environment.name[:80]!r}, with its secrets"


def secrets_stay_where_they_are_used(subject: Subject) -> Iterator[Trouble]:
    """Publish secrets are for push jobs alone, deploy secrets for deployments.

    Whatever a job that builds can read belongs to everybody who can push the ref.
    """
    found = {stage: pattern(subject.secrets.kept_from(stage)) for stage in {job.stage for job in subject.jobs}}
    default = subject.pipeline.default or Default()
    for job in subject.jobs:
        forbidden = found[job.stage]
        if forbidden is None:
            continue
        for where, text in _texts(_with_defaults(job, default)):
            if match := forbidden.search(text):
                yield job.name, f"names {match[0]!r} in `{where}`, a secret of another stage"
                break


def secrets_are_in_no_variable(subject: Subject) -> Iterator[Trouble]:
    """A variable of the file hands on what it names to whoever inherits or prints it, or hides it."""
    secret = pattern(subject.secrets.all)
    if secret is None:
        return
    places: list[tuple[str | None, Variables]] = [(None, subject.pipeline.variables)]
    places += [(job.name, job.variables) for job in subject.jobs]
    for name, variables in places:
        for text in _words(variables):
            if match := secret.search(text):
                yield name, f"names the secret {match[0]!r} in `variables`"
                break


def secrets_are_not_shared(subject: Subject) -> Iterator[Trouble]:
    """One token for handing over and for publishing lets a build publish what no test has seen."""
    for name in subject.secrets.shared:
        yield None, f"builds have {name!r}, too, which publishes or deploys; use one for each"


def _with_defaults(job: Job, default: Default) -> Job:
    """The job as it runs; trigger jobs take nothing over that runs."""
    missing: dict[str, object] = {}
    if job.before_script is None and default.before_script and job.trigger is None:
        missing["before_script"] = default.before_script
    if job.image is None and default.image is not None and job.trigger is None:
        missing["image"] = default.image
    return job.model_copy(update=missing) if missing else job


def _texts(job: Job) -> Iterator[tuple[str, str]]:
    """Keyword and text of all that the job runs with; names of jobs are the flake's words."""
    yield from (("script", line) for line in job.script)
    yield from (("before_script", line) for line in job.before_script or ())
    yield from (("variables", text) for text in _words(job.variables))
    if job.environment is not None:
        yield from (("environment", text) for text in (job.environment.name, job.environment.url) if text)
    if job.image is not None:
        yield "image", job.image.name if isinstance(job.image, Image) else job.image
    if job.artifacts is not None:
        yield from (("artifacts", path) for path in (*job.artifacts.paths, job.artifacts.name or ""))
    for cache in job.cache:
        yield from (("cache", path) for path in (cache.key, *cache.fallback_keys, *cache.paths))
    yield from (("tags", tag) for tag in job.tags)
    if job.trigger is not None:
        inputs: Iterable[str] = (text for include in job.trigger.include for text in include.inputs.values())
        yield from (("trigger", text) for text in inputs)


def _words(variables: Variables) -> Iterator[str]:
    for name, value in variables.items():
        yield name
        yield value.value if isinstance(value, Variable) else value
