"""Tasks in GitLab's words. Pure: decisions are baked in, the file holds no condition of its own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pipelinegen import __version__, durations
from pipelinegen.cache.trust import PipelineClass, handoff_mode
from pipelinegen.config import Config
from pipelinegen.history import HISTORY_FILE, HISTORY_FOLDER, HISTORY_KEY, TIMES_FOLDER
from pipelinegen.job_names import HANDOFF, per_cache, slug, title
from pipelinegen.pipeline.compile_deploys import Deploys, stages_of_waves
from pipelinegen.pipeline.limits import MAX_TIMEOUT, supports
from pipelinegen.pipeline.model import (
    Artifacts,
    Cache,
    Default,
    Environment,
    Image,
    Job,
    Need,
    Pipeline,
    Reports,
    Retry,
)
from pipelinegen.pipeline.needs_tree import OUTPUTS_OF_ALL, fan_in
from pipelinegen.plan.model import Action, Plan, Planned, Stage, Task
from pipelinegen.plan.situation import few_needs, find_runner

INSPECT_JOB = "inspect"
"""The parent's job whose artifacts hold the handoff folder, unless it says that it has another name."""

PARENT = "$PARENT_PIPELINE_ID"
"""Set by the trigger job; GitLab wants the id of the parent as a string."""

FROM_PARENT = Need(pipeline=PARENT, job=INSPECT_JOB, artifacts=True)
"""Waits for nothing: the parent's job has passed before there is a child. It downloads the handoff folder."""


def from_parent(job: str) -> Need:
    """`FROM_PARENT` where the parent's job has this name."""
    return FROM_PARENT.model_copy(update={"job": job})


RETRY_AFTER = (
    "runner_system_failure",
    "stuck_or_timeout_failure",
    "api_failure",
    "data_integrity_failure",
    "scheduler_failure",
    "unknown_failure",
)
TRANSIENT_EXIT_CODE = 75

JUNIT = "junit.xml"
PUSH_REPORT = "push.json"
METRICS = "metrics.txt"
_TEST_REPORT = Artifacts(reports=Reports(junit=(JUNIT,)), when="always", expire_in="1 week")
SHORT_TIMEOUT = "10 minutes"


@dataclass(frozen=True)
class Surroundings:
    """What the jobs are told besides their task.

    Attributes:
        config_path: configuration file relative to the repository's top; null where it lies there under
            its usual name.
        flake_directory: folder of the flake relative to the repository's top, "" for the top.
        handoff: folder of the handoff relative to the repository's top.
        kind: the class of the pipeline, which decides whom its jobs trust.
        merge_request: whether this is a merge request pipeline.
        image: the container image of the job that plans, for jobs where the configuration names none.
        parent_job: name of the job that plans, whose artifacts the child's jobs take.
    """

    config_path: str | None = None
    flake_directory: str = ""
    handoff: str = HANDOFF
    kind: PipelineClass = PipelineClass.UNPROTECTED
    merge_request: bool = False
    image: str | None = None
    parent_job: str = INSPECT_JOB


def compile_pipeline(planned: Planned, config: Config, surroundings: Surroundings) -> Pipeline:
    """The child pipeline that carries out the plan, whatever its size (`children.make_files` divides it)."""
    whole = compile_tasks(planned, config, surroundings)
    gitlab = config.gitlab
    limit, room = few_needs(gitlab.max_needs), gitlab.max_artifact_mb
    jobs = fan_in(whole.jobs, limit, stages=whole.stages, max_artifact_mb=room)
    return whole.model_copy(update={"jobs": jobs})


def compile_tasks(planned: Planned, config: Config, surroundings: Surroundings) -> Pipeline:
    """One job per task, each with all its needs, however many."""
    records = any(task.action is Action.RECORD for task in planned.tasks)
    compiler = _Compiler(config, surroundings, records=records)
    deploys = any(task.action is Action.DEPLOY for task in planned.tasks)
    cancels = supports(config.gitlab.version, "workflow:auto_cancel:on_new_commit")
    return Pipeline(
        header_comment=_header(planned.plan),
        workflow_name=_title(planned) if supports(config.gitlab.version, "workflow:name") else None,
        auto_cancel_on_new_commit=("none" if deploys else "interruptible") if cancels else None,
        stages=(*Stage, *stages_of_waves(planned.tasks)),
        default=compiler.default(),
        # Evaluated again, a flake must look as it did to the parent's job, also to what asks for its depth.
        variables={} if config.handoff.derivations == "evaluate" else {"GIT_DEPTH": "1"},
        jobs=tuple(compiler.job(task) for task in planned.tasks),
    )


def anywhere(config: Config) -> tuple[str, ...]:
    """Runner tags of a job that runs on any system."""
    return config.runners[0].tags if config.runners else ()


def _header(plan: Plan) -> tuple[str, ...]:
    base = f"{plan.base.rev} ({plan.base.rule}: {plan.base.reason})" if plan.base else "none: everything is new"
    head = f"{plan.head.rev or 'no commit'}{' with uncommitted changes' if plan.head.dirty else ''}"
    return (f"Written by pipelinegen {__version__}; do not edit.", f"head: {head}", f"base: {base}")


def _title(planned: Planned) -> str:
    tasks = [task for task in planned.tasks if task.action is not Action.RECORD]
    counts = {stage: sum(1 for task in tasks if task.stage is stage) for stage in Stage}
    counts[Stage.DEPLOY] = sum(1 for task in planned.tasks if task.action is Action.DEPLOY)
    parts = [f"{count} {stage}" for stage, count in counts.items() if count]
    base = planned.plan.base
    since = f"since {base.rev[:8]}" if base and base.rev else "everything"
    return title(f"flake: {', '.join(parts)} ({since})")


class _Compiler:
    def __init__(self, config: Config, surroundings: Surroundings, *, records: bool) -> None:
        self.config = config
        self.surroundings = surroundings
        self.records = records
        self.artifacts = handoff_mode(config, surroundings.kind) == "artifacts"
        self.needs: dict[tuple[str, bool], Need] = {}
        self.deploys = Deploys(config, surroundings.kind, self)

    def default(self) -> Default:
        """What jobs take over unless they say otherwise."""
        image = self.config.gitlab.image or self.surroundings.image
        codes = (TRANSIENT_EXIT_CODE,) if supports(self.config.gitlab.version, "retry:exit_codes") else ()
        return Default(
            image=Image(name=image, entrypoint=("",)) if image else None,
            retry=Retry(max=2, when=RETRY_AFTER, exit_codes=codes),
            interruptible=True,
            before_script=self.config.gitlab.before_script or None,
        )

    def job(self, task: Task) -> Job:
        """One task as a job."""
        return {
            Action.BUILD: self._unit,
            Action.TEST: self._unit,
            Action.EVALUATION_FAILURE: self._evaluation_failure,
            Action.COMMAND: self._command,
            Action.FLAKE_CHECK: self._flake_check,
            Action.GATE: self._gate,
            Action.PUSH: self._push,
            Action.APPROVE: self.deploys.approve,
            Action.DEPLOY: self.deploys.deploy,
            Action.START: self.deploys.start,
            Action.WAVE: self.deploys.wave,
            Action.ROLL_BACK: self.deploys.roll_back,
            Action.RECORD: self._record,
            Action.SUMMARY: self._summary,
        }[task.action](task)

    def line(self, *arguments: str) -> str:
        """A command line of pipelinegen; `gitlab.command` is the user's own shell text."""
        words = ["--config", self.surroundings.config_path] if self.surroundings.config_path else []
        return f"{self.config.gitlab.command} {shlex.join([*words, *arguments])}"

    def tags_of(self, task: Task) -> tuple[str, ...]:
        """Tags of the runners that can do it."""
        runner = None
        if task.system:
            # A unit whose features no runner offers goes to one of its system, a unit of a system without
            # a runner to the first: Nix says what is missing, and that beats waiting for ever.
            runner = find_runner(self.config.runners, task.system, task.features)
            runner = runner or find_runner(self.config.runners, task.system, ())
        return runner.tags if runner else anywhere(self.config)

    def needs_of(self, task: Task) -> tuple[Need, ...]:
        """Its needs in GitLab's words."""
        takes = frozenset(task.takes) if self.artifacts else frozenset()
        wanted = [(name, name in takes) for name in task.needs]
        for name, artifacts in wanted:
            # One value for all jobs that need it: there may be a hundred thousand.
            if (name, artifacts) not in self.needs:
                self.needs[name, artifacts] = Need(job=name, artifacts=artifacts)
        needs = tuple(self.needs[one] for one in wanted)
        return (*needs, from_parent(self.surroundings.parent_job)) if task.needs_handoff else needs

    def _timeout(self, task: Task) -> str:
        configured = self.config.gitlab.timeout
        if task.timeout and task.timeout > (durations.seconds(configured) or 0):
            # A derivation may ask for more than GitLab takes, which would refuse the whole file.
            return durations.text(min(task.timeout, MAX_TIMEOUT))
        return configured

    def _with_report(self, command: str, *options: str, names: Sequence[str] = ()) -> tuple[tuple[str, ...], Artifacts]:
        """A line of `pipelinegen run`; foreign names come after `--`, where they cannot be options."""
        line = self.line("run", command, *options, "--junit", JUNIT, *(("--", *names) if names else ()))
        return (line,), _TEST_REPORT

    def _unit(self, task: Task) -> Job:
        subject = task.name.removeprefix(f"{task.action} ")
        options = ["--class", self.surroundings.kind, "--handoff", self.surroundings.handoff]
        paths: tuple[str, ...] = ()
        if self.records:
            paths = (f"{TIMES_FOLDER}/",)
            options += ["--times-dir", TIMES_FOLDER]
        script, artifacts = self._with_report(task.action, *options, names=[subject])
        if self.artifacts:
            paths = (*paths, f"{OUTPUTS_OF_ALL}{slug(task.name)}/")
        if paths:
            artifacts = artifacts.model_copy(update={"paths": paths})
        return self._worker(task, script, artifacts)

    def _worker(self, task: Task, script: Sequence[str], artifacts: Artifacts | None) -> Job:
        return Job(
            name=task.name,
            stage=task.stage,
            needs=self.needs_of(task),
            tags=self.tags_of(task),
            timeout=self._timeout(task),
            script=tuple(script),
            artifacts=artifacts,
        )

    def _evaluation_failure(self, task: Task) -> Job:
        line = self.line("run", "evaluation-failure", "--handoff", self.surroundings.handoff, "--", *task.targets)
        return self._worker(task, (line,), None).model_copy(update={"timeout": SHORT_TIMEOUT})

    def _command(self, task: Task) -> Job:
        script, artifacts = self._with_report("test", "--class", self.surroundings.kind, "--command", task.subject)
        test = next(test for test in self.config.tests if test.name == task.subject)
        return self._worker(task, script, artifacts).model_copy(update={"timeout": test.timeout})

    def _flake_check(self, task: Task) -> Job:
        flake = f"./{self.surroundings.flake_directory}" if self.surroundings.flake_directory else "."
        script, artifacts = self._with_report("test", "--class", self.surroundings.kind, "--flake-check", flake)
        return self._worker(task, script, artifacts)

    def _push(self, task: Task) -> Job:
        caches = [word for name in task.caches for word in ("--to", name)]
        touch = ["--touch"] if task.touch else []
        options = ("--class", self.surroundings.kind, *caches, *touch, "--report", PUSH_REPORT, "--metrics", METRICS)
        script, artifacts = self._with_report("push", *options, names=task.store_paths)
        paths, junit, metrics = (per_cache(file, task.caches) for file in (PUSH_REPORT, JUNIT, METRICS))
        update = {"paths": paths, "reports": Reports(junit=junit, metrics=metrics)}
        job = self._worker(task, script, artifacts.model_copy(update=update))
        name = self.config.gitlab.publish_environment
        # Not a deployment: it only lets the job have the variables that are scoped to this environment.
        return job.model_copy(update={"environment": Environment(name=name, action="access")}) if name else job

    def _record(self, task: Task) -> Job:
        """Runs behind all builds and tests however they end, and fails nothing.

        Without `needs` it waits for the stages before its own and downloads what their jobs uploaded. It has a
        checkout because making one also removes what an earlier pipeline left in the runner's folder.
        """
        options = ("--times-dir", TIMES_FOLDER, "--history", HISTORY_FILE, "--metrics", METRICS)
        line = self.line("run", "record", *options)
        # One report for all builds: GitLab compares by names, and which jobs there are differs from run to run.
        report = Artifacts(reports=Reports(metrics=(METRICS,)), when="always", expire_in="1 week")
        update = {
            "when": "always",
            "allow_failure": True,
            "needs": None,
            "timeout": SHORT_TIMEOUT,
            "cache": (Cache(key=HISTORY_KEY, paths=(f"{HISTORY_FOLDER}/",), policy="pull-push"),),
        }
        return self._worker(task, (line,), report).model_copy(update=update)

    def no_op(self, task: Task, lines: Sequence[str]) -> Job:
        """A job that only prints: no checkout, no tools, no download."""
        return Job(
            name=task.name,
            stage=task.stage,
            needs=self.needs_of(task),
            tags=self.tags_of(task),
            variables={"GIT_STRATEGY": "none"},
            timeout=SHORT_TIMEOUT,
            before_script=() if self.config.gitlab.before_script else None,
            script=tuple(f"echo {shlex.quote(line)}" for line in lines),
        )

    def _gate(self, task: Task) -> Job:
        return self.no_op(task, [f"passed: {len(task.needs)} jobs that must pass before anything leaves"])

    def _summary(self, task: Task) -> Job:
        return self.no_op(task, task.says)
