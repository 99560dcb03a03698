"""Rules about the values of single keywords."""

from __future__ import annotations

from collections.abc import Iterator

from pipelinegen import durations, job_names
from pipelinegen.pipeline.limits import (
    MAX_DELAY,
    MAX_FALLBACK_KEYS,
    MAX_INCLUDES,
    MAX_PARALLEL,
    MAX_RETRIES,
    MAX_TAGS,
    MAX_TIMEOUT,
)
from pipelinegen.pipeline.model import Artifacts, Cache, Environment, Job, Retry
from pipelinegen.pipeline.subject import Subject, Trouble

WHEN = ("on_success", "on_failure", "always", "manual", "delayed")
ARTIFACTS_WHEN = ("on_success", "on_failure", "always")
ACCESS = ("all", "developer", "maintainer", "none")
POLICIES = ("pull", "push", "pull-push")
TIERS = ("production", "staging", "testing", "development", "other")
ACTIONS = ("start", "prepare", "stop", "verify", "access")
STRATEGIES = ("depend", "mirror")
ON_NEW_COMMIT = ("conservative", "interruptible", "none")
ON_JOB_FAILURE = ("all", "none")
PULL_POLICIES = ("always", "if-not-present", "never")
RETRY_WHEN = (
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
)
"""The documented values; the schema knows more, that servers in use do not."""

_NOT_ON_TRIGGER_JOBS = (
    *("tags", "image", "id_tokens", "timeout", "retry", "cache", "before_script", "script", "artifacts"),
    *("dependencies", "start_in", "manual_confirmation"),
)
"""Fields that a trigger job must not have (`Gitlab::Ci::Config::Entry::Bridge`)."""


def group_names(subject: Subject) -> Iterator[Trouble]:
    """Environments and resource groups: letters, digits, spaces and `-_/${}.`, no slash at an end."""
    for job in subject.jobs:
        for kind, name in (
            ("environment", job.environment.name if job.environment else None),
            ("resource group", job.resource_group),
        ):
            if name is None:
                continue
            if not job_names.GROUP_NAME.fullmatch(name):
                yield job.name, f"{kind} {name[:80]!r}: only letters, digits, spaces and -_/${{}}. are allowed"
            if len(name) > job_names.MAX_GROUP_NAME:
                yield job.name, f"{kind}: {len(name)} characters, GitLab allows {job_names.MAX_GROUP_NAME}"


def closed_lists(subject: Subject) -> Iterator[Trouble]:
    """Keywords whose value is one word of a list."""
    pipeline = subject.pipeline
    yield from _listed(None, "workflow:auto_cancel:on_new_commit", pipeline.auto_cancel_on_new_commit, ON_NEW_COMMIT)
    yield from _listed(None, "workflow:auto_cancel:on_job_failure", pipeline.auto_cancel_on_job_failure, ON_JOB_FAILURE)
    for job in subject.jobs:
        yield from _listed(job, "when", job.when, WHEN)
        for keyword, word, words in (*_artifact_words(job.artifacts), *_environment_words(job.environment)):
            yield from _listed(job, keyword, word, words)
        for cache in job.cache:
            yield from _listed(job, "cache:policy", _unless_variable(cache.policy), POLICIES)
            yield from _listed(job, "cache:when", cache.when, ARTIFACTS_WHEN)
        if job.trigger is not None:
            yield from _listed(job, "trigger:strategy", job.trigger.strategy, STRATEGIES)
        if job.image is not None and not isinstance(job.image, str):
            for policy in job.image.pull_policy:
                yield from _listed(job, "image:pull_policy", policy, PULL_POLICIES)


def _artifact_words(artifacts: Artifacts | None) -> tuple[tuple[str, str | None, tuple[str, ...]], ...]:
    if artifacts is None:
        return ()
    return (
        ("artifacts:when", artifacts.when, ARTIFACTS_WHEN),
        ("artifacts:access", artifacts.access, ACCESS),
    )


def _environment_words(environment: Environment | None) -> tuple[tuple[str, str | None, tuple[str, ...]], ...]:
    if environment is None:
        return ()
    return (
        ("environment:deployment_tier", _unless_variable(environment.deployment_tier), TIERS),
        ("environment:action", environment.action, ACTIONS),
    )


def _unless_variable(word: str | None) -> str | None:
    return None if word is not None and "$" in word else word


def _listed(job: Job | None, keyword: str, word: str | None, words: tuple[str, ...]) -> Iterator[Trouble]:
    if word is not None and word not in words:
        yield job.name if job else None, f"`{keyword}` is {word[:80]!r}; GitLab knows {', '.join(words)}"


def durations_parse(subject: Subject) -> Iterator[Trouble]:
    """GitLab refuses the file when it cannot read a duration; no offline tool notices."""
    for job in subject.jobs:
        yield from _duration(job, "timeout", job.timeout, MAX_TIMEOUT)
        yield from _duration(job, "start_in", job.start_in, MAX_DELAY)
        if job.environment is not None:
            yield from _duration(job, "environment:auto_stop_in", _unless_variable(job.environment.auto_stop_in))
        expiry = job.artifacts.expire_in if job.artifacts else None
        if expiry is not None and not durations.is_expiry(expiry):
            yield job.name, f"`artifacts:expire_in` is {expiry[:80]!r}, which is no duration and not `never`"


def _duration(job: Job, keyword: str, text: str | None, longest: int | None = None) -> Iterator[Trouble]:
    if text is None:
        return
    seconds = durations.seconds(text)
    if not seconds:
        yield job.name, f"`{keyword}` is {text[:80]!r}, which is no duration"
    elif longest is not None and seconds > longest:
        yield job.name, f"`{keyword}` is {text[:80]!r}; GitLab allows {durations.text(longest)}"


def scripts_exist(subject: Subject) -> Iterator[Trouble]:
    """Each job has something to run, and no line of it is empty."""
    for job in subject.jobs:
        if job.trigger is not None:
            continue
        if not job.script:
            yield job.name, "has no script"
        elif not all(line.strip() for line in job.script):
            yield job.name, "has an empty line in its script"


def trigger_jobs(subject: Subject) -> Iterator[Trouble]:
    """A trigger job has few keywords, and its file comes from an artifact of a job before it."""
    defaults = {name: field.get_default(call_default_factory=True) for name, field in Job.model_fields.items()}
    for job in subject.jobs:
        if job.trigger is None:
            continue
        for name in _NOT_ON_TRIGGER_JOBS:
            if getattr(job, name) != defaults[name]:
                yield job.name, f"is a trigger job, which cannot have `{name}`"
        if any(need.pipeline is not None for need in job.needs or ()):
            yield job.name, "is a trigger job, which cannot need a job of another pipeline"
        if not 1 <= len(job.trigger.include) <= MAX_INCLUDES:
            yield job.name, f"includes {len(job.trigger.include)} files; GitLab takes 1 to {MAX_INCLUDES}"
        for include in job.trigger.include:
            if not include.artifact.endswith((".yml", ".yaml")):
                yield job.name, f"includes {include.artifact!r}, which does not end in .yml"
            source = subject.by_name.get(include.job or "")
            if source is None:
                yield job.name, f"includes an artifact of {include.job!r}, which does not exist"
            elif source is job or subject.is_later(source, than=job):
                yield job.name, f"includes an artifact of {include.job!r}, which does not run before it"
            elif job.needs is not None and source.name not in job.local_needs:
                yield job.name, f"includes an artifact of {include.job!r}, which is not one of its needs"


def children_are_waited_for(subject: Subject) -> Iterator[Trouble]:
    """A trigger job without a strategy passes as soon as its child exists, whatever becomes of it."""
    if not subject.child:
        return
    for job in subject.jobs:
        if job.trigger is not None and job.trigger.strategy is None:
            yield job.name, "starts a child pipeline and does not wait for it; it needs `strategy: depend`"


def retries(subject: Subject) -> Iterator[Trouble]:
    """`retry:max` is 0 to 2, `retry:when` a documented failure."""
    default = subject.pipeline.default
    if default is not None and default.retry is not None:
        yield from ((None, f"default: {message}") for message in _retry(default.retry))
    for job in subject.jobs:
        if job.retry is not None:
            yield from ((job.name, message) for message in _retry(job.retry))


def _retry(retry: Retry) -> Iterator[str]:
    if not 0 <= retry.max <= MAX_RETRIES:
        yield f"`retry:max` is {retry.max}; GitLab takes 0 to {MAX_RETRIES}"
    for failure in retry.when:
        if failure not in RETRY_WHEN:
            yield f"`retry:when` is {failure[:80]!r}; GitLab knows {', '.join(RETRY_WHEN)}"


def caches(subject: Subject) -> Iterator[Trouble]:
    """Few entries per job; a key is no path."""
    for job in subject.jobs:
        if len(job.cache) > subject.limits.max_cache:
            yield job.name, f"has {len(job.cache)} caches; GitLab allows {subject.limits.max_cache}"
        for cache in job.cache:
            yield from ((job.name, message) for message in _cache(cache))


def _cache(cache: Cache) -> Iterator[str]:
    for key in (cache.key, *cache.fallback_keys):
        if "/" in key or not key.strip("."):
            yield f"cache key {key[:80]!r}: a key has no slash and is more than dots"
    if len(cache.fallback_keys) > MAX_FALLBACK_KEYS:
        yield f"a cache has {len(cache.fallback_keys)} fallback keys; GitLab allows {MAX_FALLBACK_KEYS}"


def few_tags(subject: Subject) -> Iterator[Trouble]:
    """Fewer than 50 runner tags, none empty."""
    for job in subject.jobs:
        if len(job.tags) > MAX_TAGS:
            yield job.name, f"has {len(job.tags)} tags; GitLab allows {MAX_TAGS}"
        if not all(job.tags):
            yield job.name, "has an empty tag"


def few_copies(subject: Subject) -> Iterator[Trouble]:
    """`parallel` makes 1 to 200 jobs."""
    for job in subject.jobs:
        if not 1 <= job.instances <= MAX_PARALLEL:
            yield job.name, f"`parallel` makes {job.instances} jobs; GitLab makes 1 to {MAX_PARALLEL}"


def rules_alone(subject: Subject) -> Iterator[Trouble]:
    """`rules` do not go together with the keywords that they replace."""
    for job in subject.jobs:
        if not job.rules:
            continue
        for keyword, value in (("only", job.only), ("except", job.except_), ("start_in", job.start_in)):
            if value:
                yield job.name, f"has both `rules` and `{keyword}`"


def delays(subject: Subject) -> Iterator[Trouble]:
    """`when: delayed` and `start_in` go together."""
    for job in subject.jobs:
        if job.when == "delayed" and job.start_in is None:
            yield job.name, "is delayed without `start_in`"
        if job.when != "delayed" and job.start_in is not None:
            yield job.name, "has `start_in` without `when: delayed`"


def parent_pipelines_are_text(subject: Subject) -> Iterator[Trouble]:
    """GitLab refuses a number in `needs:pipeline`."""
    for job in subject.jobs:
        for need in job.needs or ():
            if isinstance(need.pipeline, int):
                yield job.name, f"`needs:pipeline` is the number {need.pipeline}; GitLab wants text"


def unconditional_workflow(subject: Subject) -> Iterator[Trouble]:
    """Without `workflow:rules` GitLab drops every job of a child in a merge request pipeline."""
    rules = subject.pipeline.workflow_rules
    if subject.child and not (len(rules) == 1 and rules[0].when == "always" and rules[0].if_ is None):
        yield None, "`workflow:rules` must be the one rule `when: always`"


def unconditional_jobs(subject: Subject) -> Iterator[Trouble]:
    """A child holds decisions, not conditions: what must not run is not in it."""
    if not subject.child:
        return
    for job in subject.jobs:
        for keyword, value in (("rules", job.rules), ("only", job.only), ("except", job.except_)):
            if value:
                yield job.name, f"has `{keyword}`; decide before writing the file"


def timeouts_exist(subject: Subject) -> Iterator[Trouble]:
    """Without `timeout` the project's setting decides; `default:timeout` has no effect."""
    for job in subject.jobs:
        if job.timeout is None and job.trigger is None:
            yield job.name, "has no timeout"
