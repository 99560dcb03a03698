"""Rules about what the server can take: totals, sizes, keywords that it does not know yet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from pipelinegen.pipeline.limits import (
    ANNOTATIONS,
    ANNOTATIONS_BYTES,
    DOTENV_BYTES,
    DOTENV_VARIABLES,
    SINCE,
    memory_estimate,
)
from pipelinegen.pipeline.model import Default, Image, Job, Pipeline
from pipelinegen.pipeline.subject import Subject, Trouble
from pipelinegen.pipeline.verify_deploys import deployments


def few_jobs(subject: Subject) -> Iterator[Trouble]:
    """The plan's limit, `parallel` included."""
    count = _jobs(subject)
    if count > subject.limits.max_jobs:
        yield None, f"{count} jobs; the server's plan allows {subject.limits.max_jobs}"


def _jobs(subject: Subject) -> int:
    return sum(job.instances for job in subject.jobs)


def small_file(subject: Subject) -> Iterator[Trouble]:
    """The artifact that carries the file, and the memory of the parsed file."""
    if subject.yaml_bytes is None:
        return
    if subject.yaml_bytes > subject.limits.max_bytes:
        yield None, f"the file has {subject.yaml_bytes} bytes; at most {subject.limits.max_bytes} fit"
    memory, allowed = memory_estimate(subject.yaml_bytes), subject.limits.max_memory
    if memory > allowed:
        yield None, f"{subject.yaml_bytes} bytes take GitLab about {memory} bytes of memory; it allows {allowed}"


def near_limits(subject: Subject) -> Iterator[Trouble]:
    """Totals that grow with the flake. Needs are left out: they are spread over collector jobs anyway."""
    size = subject.yaml_bytes or 0
    for what, count, limit in (
        ("jobs", _jobs(subject), subject.limits.max_jobs),
        ("jobs with an environment", deployments(subject), subject.limits.max_deployments),
        ("bytes of YAML", size, subject.limits.max_bytes),
        ("bytes of parsed YAML (estimated)", memory_estimate(size), subject.limits.max_memory),
    ):
        if subject.limits.warn_at * limit < count <= limit:
            yield None, f"{count} of {limit} {what}: {count * 100 // limit} % of the limit"


def known_keywords(subject: Subject) -> Iterator[Trouble]:
    """A server refuses the whole file for one keyword that it does not know."""
    for ability, used_by in PIPELINE_USES.items():
        if SINCE[ability] > subject.version and used_by(subject.pipeline):
            yield None, _too_new(ability, subject)
    too_new = {ability: used for ability, used in JOB_USES.items() if SINCE[ability] > subject.version}
    default = _as_job(subject.pipeline.default)
    for job in (default, *subject.jobs):
        for ability, used in too_new.items():
            if used(job):
                yield None if job is default else job.name, _too_new(ability, subject)


def _too_new(ability: str, subject: Subject) -> str:
    (major, minor), (our_major, our_minor) = SINCE[ability], subject.version
    return f"{ability} needs GitLab {major}.{minor}; this file is for {our_major}.{our_minor}"


def _as_job(default: Default | None) -> Job:
    values = {} if default is None else {name: getattr(default, name) for name in Default.model_fields}
    return Job(name="default", stage="", **values)


def _image(job: Job) -> Image:
    return job.image if isinstance(job.image, Image) else Image(name=job.image or "")


PIPELINE_USES: dict[str, Callable[[Pipeline], bool]] = {
    "workflow:name": lambda pipeline: pipeline.workflow_name is not None,
    "workflow:auto_cancel:on_new_commit": lambda pipeline: pipeline.auto_cancel_on_new_commit is not None,
    "workflow:auto_cancel:on_job_failure": lambda pipeline: pipeline.auto_cancel_on_job_failure is not None,
    "default:id_tokens": lambda pipeline: pipeline.default is not None and bool(pipeline.default.id_tokens),
}
"""Ability (a key of `limits.SINCE`) → whether the file itself uses it."""

JOB_USES: dict[str, Callable[[Job], bool]] = {
    "id_tokens": lambda job: bool(job.id_tokens),
    "image:pull_policy": lambda job: bool(_image(job).pull_policy),
    "image:docker:user": lambda job: _image(job).docker is not None,
    "image:kubernetes:user": lambda job: _image(job).kubernetes is not None,
    "cache:unprotect": lambda job: any(cache.unprotect is not None for cache in job.cache),
    "cache:fallback_keys": lambda job: any(cache.fallback_keys for cache in job.cache),
    "artifacts:reports:annotations": lambda job: bool(
        job.artifacts and job.artifacts.reports and job.artifacts.reports.annotations
    ),
    "artifacts:access": lambda job: bool(job.artifacts and job.artifacts.access),
    "artifacts:access: maintainer": lambda job: bool(job.artifacts and job.artifacts.access == "maintainer"),
    "environment on a trigger job": lambda job: bool(job.trigger and job.environment),
    "interruptible on a trigger job": lambda job: bool(job.trigger and job.interruptible is not None),
    "manual_confirmation": lambda job: job.manual_confirmation is not None,
    "manual_confirmation on a stop job": lambda job: bool(
        job.manual_confirmation is not None and job.environment and job.environment.action == "stop"
    ),
    "retry:exit_codes": lambda job: bool(job.retry and job.retry.exit_codes),
    "trigger:forward": lambda job: bool(job.trigger and job.trigger.forward),
    "trigger:include:inputs": lambda job: bool(job.trigger and any(include.inputs for include in job.trigger.include)),
    "trigger:strategy: mirror": lambda job: bool(job.trigger and job.trigger.strategy == "mirror"),
    "variables in environment:deployment_tier": lambda job: bool(
        job.environment and "$" in (job.environment.deployment_tier or "")
    ),
}
"""Ability (a key of `limits.SINCE`) → whether a job uses it."""


_DOTENV_LINE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\r]*")


def check_dotenv(text: str) -> tuple[str, ...]:
    """What GitLab would refuse in a dotenv report (L27): one sentence each, none when it is sound.

    GitLab fails the job's upload for a file beyond its budget, a comment, a blank line or a bad name.
    """
    problems = []
    lines = text.removesuffix("\n").split("\n") if text else []
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > DOTENV_BYTES:
        problems.append(f"dotenv: {size} bytes; GitLab takes {DOTENV_BYTES}")
    if len(lines) > DOTENV_VARIABLES:
        problems.append(f"dotenv: {len(lines)} variables; GitLab takes {DOTENV_VARIABLES}")
    problems += [
        f"dotenv: line {number} is no NAME=value"
        for number, line in enumerate(lines, 1)
        if not _DOTENV_LINE.fullmatch(line)
    ]
    return tuple(problems)


def check_annotations(text: str) -> tuple[str, ...]:
    """What GitLab would refuse in an annotations report (L27): one sentence each, none when it is sound.

    The report is a JSON object: section → list of `{"external_link": {"label": …, "url": …}}`. The limit
    of 20 is held for the links of all sections together, the stricter reading of the documentation.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > ANNOTATIONS_BYTES:
        return (f"annotations: {size} bytes; GitLab takes {ANNOTATIONS_BYTES}",)
    try:
        report = json.loads(text)
    except (ValueError, RecursionError) as error:
        return (f"annotations: no JSON ({error})",)
    if not isinstance(report, dict) or not all(isinstance(links, list) for links in report.values()):
        return ("annotations: not an object of lists",)
    links = [link for section in report.values() for link in section]
    problems = []
    if len(links) > ANNOTATIONS:
        problems.append(f"annotations: {len(links)} links; GitLab takes {ANNOTATIONS}")
    if not all(_is_link(link) for link in links):
        problems.append("annotations: an entry is no external_link with label and url")
    return tuple(problems)


def _is_link(entry: object) -> bool:
    link = entry.get("external_link") if isinstance(entry, dict) else None
    return isinstance(link, dict) and {"label", "url"} == {key for key, text in link.items() if isinstance(text, str)}
