"""The jobs of the child pipeline as tasks: builds, tests, gates, pushes, approvals, deployments. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelinegen import attrpath
from pipelinegen.config_words import Gate
from pipelinegen.errors import ConfigError
from pipelinegen.inventory.model import FlakeOutput
from pipelinegen.job_names import job_name
from pipelinegen.plan import pushing
from pipelinegen.plan.deploys import Deployment, deploy_job, deploy_tasks
from pipelinegen.plan.failed import FailedOutput, failure_tasks
from pipelinegen.plan.model import RECORD_JOB, Action, Choice, Stage, Task, Unit
from pipelinegen.plan.pushing import Push
from pipelinegen.plan.rules import Verdict, missing_in, pushed_to
from pipelinegen.plan.situation import Situation
from pipelinegen.plan.units import Units
from pipelinegen.plan.waves import make_waves


@dataclass
class Tasks:
    """The tasks, and which job carries out which decision.

    Attributes:
        tasks: in the order of the pipeline file.
        jobs_of: (attribute path, stage) → job name, for what runs or fails.
        mixed: push jobs in which a failed build holds up outputs that do not need it.
        waves: attribute path of a host → in which wave it is deployed, where there are several.
    """

    tasks: tuple[Task, ...] = ()
    jobs_of: dict[tuple[str, Stage], str] = field(default_factory=dict)
    mixed: tuple[str, ...] = ()
    waves: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """An output and what the rules said for each of its stages."""

    output: FlakeOutput
    verdicts: Mapping[Stage, Verdict]

    def runs(self, stage: Stage) -> bool:
        """Whether the stage runs for this output."""
        return stage in self.verdicts and self.verdicts[stage].choice is Choice.RUN

    @property
    def made(self) -> bool:
        """Whether it is built or tested in this pipeline."""
        return self.runs(Stage.BUILD) or self.runs(Stage.TEST)


def make_tasks(
    situation: Situation,
    units: Units,
    judged: Sequence[Judged],
    failed: Iterable[FailedOutput],
    *,
    few: bool = False,
    most_pushes: int | None = None,
) -> Tasks:
    """All tasks of one pipeline.

    Args:
        few: push many outputs by one job where they come from the same jobs and go to the same caches.
        most_pushes: with `few`: push jobs that there should be; null: any number.
    """
    maker = _Maker(situation, units, judged, tuple(failed), few=few, most_pushes=most_pushes)
    return maker.make()


class _Maker:
    def __init__(
        self,
        situation: Situation,
        units: Units,
        judged: Sequence[Judged],
        failed: tuple[FailedOutput, ...],
        *,
        few: bool,
        most_pushes: int | None,
    ) -> None:
        self.situation = situation
        self.units = units
        self.judged = judged
        self.failed = failed
        self.few = few
        self.most_pushes = most_pushes
        self.jobs_of: dict[tuple[str, Stage], str] = {}
        self.gates: dict[str, Task] = {}
        self.pushes: dict[str, Task] = {}
        self.mixed: list[str] = []

    def make(self) -> Tasks:
        failures = failure_tasks(self.failed)
        units = [_unit_task(unit) for unit in self.units.units]
        self._note_builds()
        commands = self._commands()
        _refuse_equal_names(units, commands)
        self.gate_all = sorted(
            {self._own_job(output) for output in self._running(Stage.TEST)}
            | {task.name for task in commands}
            | {task.name for task in failures}
        )
        self.commands = {task.subject: task for task in commands}
        pushes = [self._push(push) for push in self._to_push()]
        deployments = [self._deployment(output) for output in self._running(Stage.DEPLOY)]
        rollout = make_waves((one.host for one in deployments), self.situation.config)
        deploys = deploy_tasks(deployments, rollout, self.situation.config)
        gates = [self.gates[name] for name in sorted(self.gates)]
        tasks = [*failures, *units, *commands, *gates, *pushes, *self._record(units), *deploys]
        if not _some_job_ends_by_itself(tasks):
            tasks.append(self._summary(tasks))
        waves = {one.output.attr: reason for one in deployments if (reason := rollout.reason(one.host))}
        return Tasks(tuple(tasks), self.jobs_of, tuple(self.mixed), waves)

    def _running(self, stage: Stage) -> list[FlakeOutput]:
        return [one.output for one in self.judged if one.runs(stage)]

    def _own_job(self, output: FlakeOutput) -> str:
        return self.units.job_of[output.drv_path]

    def _note_builds(self) -> None:
        for stage in (Stage.BUILD, Stage.TEST):
            for output in self._running(stage):
                self.jobs_of[output.attr, stage] = self._own_job(output)
        jobs = {one.path: one.job for one in self.failed}
        for one in self.judged:
            for stage, verdict in one.verdicts.items():
                if verdict.choice is Choice.FAIL:
                    self.jobs_of[one.output.attr, stage] = jobs[one.output.path]

    def _build_needs(self, outputs: Iterable[FlakeOutput]) -> list[str]:
        jobs = (self.units.job_of.get(output.drv_path) for output in outputs)
        return sorted({job for job in jobs if job is not None})

    def _commands(self) -> list[Task]:
        """The integration commands of the configuration, and `nix flake check`."""
        tasks = []
        if self.situation.config.flake_check and self.situation.changes.evaluation_skipped is None:
            tasks.append(Task(name="test flake check", action=Action.FLAKE_CHECK, stage=Stage.TEST))
        active = {
            output.path: output for stage in (Stage.BUILD, Stage.TEST, Stage.DEPLOY) for output in self._running(stage)
        }
        # What an earlier pipeline built was perhaps kept back by this very test.
        pushed = (output for output in self._running(Stage.PUSH) if missing_in(output, self.situation))
        active |= {output.path: output for output in pushed}
        for test in self.situation.config.tests:
            targets = [output for output in active.values() if _named(test.targets, output.path)]
            if test.targets and not targets:
                continue
            tasks.append(
                Task(
                    name=job_name("test", test.name),
                    action=Action.COMMAND,
                    stage=Stage.TEST,
                    targets=tuple(sorted(output.attr for output in targets)),
                    needs=tuple(self._build_needs(targets)),
                    subject=test.name,
                )
            )
        return tasks

    def _gate(
        self, mode: Gate, patterns: Iterable[str], outputs: Sequence[FlakeOutput], subject: str
    ) -> tuple[str, ...]:
        """The collector job that must pass first, as a list of no or one name.

        Where this pipeline has nothing to wait for there is no collector either. `subject` names a gate of
        its own: what releases a push is not what releases a deployment.
        """
        needs = self.gate_all if mode == "all" else self._related(tuple(patterns), outputs)
        if not needs:
            return ()
        name = "gate" if mode == "all" else job_name("gate", subject)
        self.gates[name] = Task(name=name, action=Action.GATE, stage=Stage.TEST, needs=tuple(needs))
        return (name,)

    def _related(self, patterns: tuple[str, ...], outputs: Sequence[FlakeOutput]) -> list[str]:
        tests = {self._own_job(check) for check in self._running(Stage.TEST) if _named(patterns, check.path)}
        # What fails may be the set in which the checks are: then they are missing, not passed.
        failures = {one.job for one in self.failed if _may_hold(patterns, one.path)}
        commands = {
            self.commands[test.name].name
            for test in self.situation.config.tests
            if test.name in self.commands and any(_named(test.targets, one.path) for one in outputs)
        }
        return sorted(tests | failures | commands)

    def _to_push(self) -> list[Push]:
        """One push job for two names of the same paths; with `few`, one for all that the same jobs make."""
        pushes = [
            Push(
                made_by=tuple(self._build_needs([output])),
                caches=pushed_to(output, self.situation),
                outputs=(output,),
                touch=bool(self.situation.warmed(output)),
            )
            for output in self._running(Stage.PUSH)
        ]
        return pushing.few(pushes, self.most_pushes) if self.few else pushing.same_paths(pushes)

    def _push(self, push: Push) -> Task:
        outputs = push.outputs
        caches = [self.situation.config.caches[name] for name in push.caches]
        # One job serves several caches: it waits for the strictest of their gates.
        mode: Gate = "all" if any(cache.gate == "all" for cache in caches) else "related"
        patterns = [pattern for cache in caches for pattern in cache.checks]
        gate = self._gate(mode, patterns, outputs, f"push {outputs[0].attr}")
        paths = tuple(dict.fromkeys(path for output in outputs for path in output.wanted_paths))
        more = f" (+{len(outputs) - 1})" if len(paths) > len(outputs[0].wanted_paths) else ""
        task = Task(
            name=job_name("push", outputs[0].attr + more),
            action=Action.PUSH,
            stage=Stage.PUSH,
            targets=tuple(output.attr for output in outputs),
            needs=(*push.made_by, *gate),
            takes=push.made_by,
            store_paths=paths,
            caches=push.caches,
            touch=push.touch,
        )
        if push.mixed:
            self.mixed.append(task.name)
        for output in outputs:
            self.pushes[output.attr] = task
            self.jobs_of[output.attr, Stage.PUSH] = task.name
        return task

    def _deployment(self, output: FlakeOutput) -> Deployment:
        settings = self.situation.config.hosts[output.path[-1]]
        builds = tuple(self._build_needs([output]))
        gate = self._gate(settings.gate, settings.checks, [output], output.attr)
        self.jobs_of[output.attr, Stage.DEPLOY] = deploy_job(output.path[-1])
        needs = (*builds, *gate, *self._push_before(output, gate))
        return Deployment(output, needs, takes=builds, settings=self.situation.host_settings.get(output.path[-1], ""))

    def _push_before(self, output: FlakeOutput, gate: tuple[str, ...]) -> tuple[str, ...]:
        """The push that a deployment waits for, so that the host can fetch its system.

        None where the push waits for more than the host's own build and gate: the system is then copied there.
        """
        push = self.pushes.get(output.attr)
        if push is None or not self._waits(push.needs) <= self._waits((*self._build_needs([output]), *gate)):
            return ()
        return (push.name,)

    def _waits(self, needs: Iterable[str]) -> set[str]:
        """The jobs that must pass, of which gates are only collectors."""
        return {job for name in needs for job in (self.gates[name].needs if name in self.gates else (name,))}

    def _record(self, units: list[Task]) -> list[Task]:
        """The job that keeps build times for later pipelines; nothing waits for it.

        It waits for all builds and tests, more than a job can need: the stage it is in does that.
        """
        config = self.situation.config
        # It would download what all of them uploaded, and with it every output.
        if not units or not config.packing.record or self.situation.hands_artifacts:
            return []
        return [Task(name=RECORD_JOB, action=Action.RECORD, stage=Stage.PUSH)]

    def _summary(self, tasks: list[Task]) -> Task:
        """GitLab refuses a pipeline without an automatic job, and this one says why there is no other."""
        changes = self.situation.changes
        lines = ["nothing to do" if not tasks else "everything else waits for an approval"]
        if changes.evaluation_skipped:
            lines.append(changes.evaluation_skipped)
        elif not tasks:
            skipped = len(self.judged)
            lines.append(f"{skipped} outputs: each is in a cache, or is skipped with a reason that the plan gives")
        lines.append(f"compared with {changes.base.rev or 'nothing'}: {changes.base.reason}")
        name = "summary" if tasks else "nothing-to-do"
        return Task(name=name, action=Action.SUMMARY, stage=Stage.BUILD, says=tuple(lines))


def _refuse_equal_names(units: Iterable[Task], commands: Iterable[Task]) -> None:
    """The names of commands are the user's; those of all other jobs cannot meet."""
    taken = {task.name for task in units}
    twice: list[str] = []
    for task in commands:
        if task.name in taken:
            twice.append(f"tests: {task.subject!r} would be the second job of the name {task.name!r}")
        taken.add(task.name)
    if twice:
        raise ConfigError("a test of the configuration has the name of another job", problems=twice)


def _named(patterns: Iterable[str], path: tuple[str, ...]) -> bool:
    return any(attrpath.matches(attrpath.parse_pattern(pattern), path) for pattern in patterns)


def _may_hold(patterns: Iterable[str], path: tuple[str, ...]) -> bool:
    """Whether something at or below `path` is named."""
    return any(attrpath.could_contain(attrpath.parse_pattern(pattern), path) for pattern in patterns)


def _some_job_ends_by_itself(tasks: Iterable[Task]) -> bool:
    """Whether a job runs without anybody's approval: a child of only waiting jobs counts as skipped."""
    waiting: set[str] = set()
    by_itself = False
    for task in tasks:  # approvals stand before what needs them
        if task.action in (Action.APPROVE, Action.START) or waiting & set(task.needs):
            waiting.add(task.name)
        else:
            by_itself = True
    return by_itself


def _unit_task(unit: Unit) -> Task:
    return Task(
        name=unit.job,
        action=Action.TEST if unit.stage is Stage.TEST else Action.BUILD,
        stage=unit.stage,
        targets=unit.targets,
        needs=unit.needs,
        takes=unit.needs,
        derivations=len(unit.builds),
        system=unit.system,
        features=unit.features,
        # Twice what is expected, where that is more than the usual limit.
        timeout=max(unit.timeout or 0, math.ceil(2 * unit.seconds)) or None,
        needs_handoff=True,
    )
