"""Deployments, and what stands between their waves, in GitLab's words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelinegen import durations
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_hosts import HostConfig
from pipelinegen.job_names import environment_name, resource_group, slug
from pipelinegen.pipeline.limits import MAX_TIMEOUT, supports
from pipelinegen.pipeline.model import Artifacts, Environment, Job, Need, Reports, Retry
from pipelinegen.plan.model import AFTER_WAVE, Stage, Task

DEPLOY_REPORT = "deploy.json"
"""The report of a deployment that no other job reads."""

DEPLOY_REPORTS = ".pipelinegen-deploys"
"""Folder of the reports that other jobs read, each in a file of its own: artifacts of several jobs meet there."""

JUNIT = "junit.xml"
METRICS = "metrics.txt"

AROUND_DEPLOYMENT = 15 * durations.MINUTE
"""Seconds that a job has besides the time of the deployment: checkout, tools, the report."""

COUNT_TIMEOUT = "10 minutes"

_NO_RETRY = Retry(max=0)
"""Only a person knows whether what broke off on a host should be tried again."""


class Words(Protocol):
    """What jobs of all stages have in common."""

    def line(self, *arguments: str) -> str:
        """A command line of pipelinegen."""

    def needs_of(self, task: Task) -> tuple[Need, ...]:
        """The needs of a task."""

    def tags_of(self, task: Task) -> tuple[str, ...]:
        """The runner tags of a task."""

    def no_op(self, task: Task, lines: Sequence[str]) -> Job:
        """A job that only prints."""


def report_file(host: str) -> str:
    """Where the report of a host's deployment lies that other jobs read."""
    return f"{DEPLOY_REPORTS}/{slug(host)}.json"


def stages_of_waves(tasks: Iterable[Task]) -> tuple[str, ...]:
    """The stages behind `deploy`, in their order: one behind each wave whose failures are counted."""
    return tuple(_stage(number) for number in sorted({task.behind for task in tasks if task.behind}))


def _stage(behind: int) -> str:
    return f"{AFTER_WAVE}{behind}" if behind else Stage.DEPLOY


@dataclass(frozen=True)
class Deploys:
    """Makes the jobs of the deploy stage and of those behind it."""

    config: Config
    kind: PipelineClass
    words: Words

    def approve(self, task: Task) -> Job:
        """A person releases a host."""
        return self._manual(task, f"Deploy {task.subject}?", f"approved: the deployment of {task.subject} starts now")

    def start(self, task: Task) -> Job:
        """A person releases a wave."""
        count = f"{len(task.hosts)} host{'' if len(task.hosts) == 1 else 's'}"
        return self._manual(
            task,
            f"Deploy wave {task.subject}, {count}?",
            f"approved: wave {task.subject} starts now: {', '.join(task.hosts)}",
        )

    def wave(self, task: Task) -> Job:
        """Passes when a wave has gone well."""
        if task.allowed is None:
            job = self.words.no_op(task, [f"wave {task.subject} has gone well: {', '.join(task.hosts)}"])
            return job.model_copy(update={"stage": _stage(task.behind), "allow_failure": False})
        line = self.words.line(
            "run", "wave", "--max-failures", str(task.allowed), "--reports", DEPLOY_REPORTS, "--", *task.hosts
        )
        # With `needs`, GitLab starts a job that is `when: always` as soon as one of them is skipped, although others
        # still run (`dag` in its lib/gitlab/ci/status/composite.rb). Without, it waits for all stages before.
        return Job(
            name=task.name,
            stage=_stage(task.behind),
            when="always",
            allow_failure=False,
            interruptible=False,
            dependencies=task.reads,
            tags=self.words.tags_of(task),
            timeout=COUNT_TIMEOUT,
            script=(line,),
        )

    def deploy(self, task: Task) -> Job:
        """Deploys a host."""
        host = self.config.hosts[task.subject]
        report = report_file(task.subject) if task.reported else DEPLOY_REPORT
        line = self.words.line(
            "run", "deploy", "--class", self.kind, "--system", task.store_paths[0],
            *_settings(task), *_report_options(report), "--", task.subject,
        )  # fmt: skip
        job = self._on_host(task, host, line, report)
        where = Environment(name=_environment(task.subject, host), url=host.url, deployment_tier=host.tier)
        return job.model_copy(update={"environment": where})

    def roll_back(self, task: Task) -> Job:
        """Brings a host back that was deployed, when a wave has failed."""
        host = self.config.hosts[task.subject]
        line = self.words.line(
            "run", "deploy", "--class", self.kind, "--undo", report_file(task.subject),
            *_settings(task), *_report_options(DEPLOY_REPORT), "--", task.subject,
        )  # fmt: skip
        job = self._on_host(task, host, line, DEPLOY_REPORT)
        needs = (*(job.needs or ()), *(Need(job=name, artifacts=True) for name in task.reads))
        # No deployment of its own: it only lets the job have the variables that are scoped to this environment.
        where = Environment(name=_environment(task.subject, host), action="access")
        return job.model_copy(update={"when": "on_failure", "needs": needs, "environment": where})

    def _on_host(self, task: Task, host: HostConfig, line: str, report: str) -> Job:
        return Job(
            name=task.name,
            stage=_stage(task.behind),
            allow_failure=False,
            interruptible=False,
            needs=self.words.needs_of(task),
            tags=host.tags or self.words.tags_of(task),
            timeout=_timeout(host),
            retry=_NO_RETRY,
            resource_group=resource_group(f"deploy-{task.subject}"),
            script=(line,),
            artifacts=Artifacts(
                paths=(report, _page(report)),
                reports=Reports(junit=(JUNIT,), metrics=(METRICS,)),
                when="always",
                expire_in="1 month",
            ),
        )

    def _manual(self, task: Task, asks: str, says: str) -> Job:
        update: dict[str, object] = {"when": "manual", "allow_failure": True, "stage": _stage(task.behind)}
        if supports(self.config.gitlab.version, "manual_confirmation"):
            update["manual_confirmation"] = asks
        return self.words.no_op(task, [says]).model_copy(update=update)


def _settings(task: Task) -> tuple[str, ...]:
    """What the job could only learn by evaluating the flake."""
    return ("--settings", task.settings) if task.settings else ()


def _report_options(report: str) -> tuple[str, ...]:
    return ("--report", report, "--markdown", _page(report), "--junit", JUNIT, "--metrics", METRICS)


def _page(report: str) -> str:
    """The page for people, beside the report."""
    return f"{report.removesuffix('.json')}.md"


def _environment(name: str, host: HostConfig) -> str:
    return host.environment or environment_name(name)


def _timeout(host: HostConfig) -> str:
    """The job's, which must end after the deployment has given up: that still has to say what the host runs."""
    return durations.text(min((durations.seconds(host.timeout) or 0) + AROUND_DEPLOYMENT, MAX_TIMEOUT))
