"""From a situation to a plan: ask the rules, walk to what must be built, make the tasks. Pure.

The two callbacks are the only way to the world, and both only read: derivations from the store, answers
from caches.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import replace

from pipelinegen import attrpath
from pipelinegen.cache.trust import PipelineClass, handoff_cache
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig
from pipelinegen.config_hosts import HostConfig, Policy
from pipelinegen.console import clean
from pipelinegen.errors import ConfigError
from pipelinegen.history import History
from pipelinegen.inventory.model import EvalFailure, FlakeOutput, Inventory, Kind
from pipelinegen.plan import rules, to_build
from pipelinegen.plan.failed import FailedOutput
from pipelinegen.plan.fit import fit
from pipelinegen.plan.model import (
    Attribute,
    Choice,
    Decision,
    Evaluation,
    Failure,
    Plan,
    Planned,
    PlannedJob,
    PlannedOutput,
    Stage,
    Task,
    Unit,
    Work,
)
from pipelinegen.plan.situation import ANY_SYSTEM, Situation
from pipelinegen.plan.tasks import Judged, Tasks
from pipelinegen.plan.units import Units
from pipelinegen.plan.waves import is_named

EXPORT_NAME = "derivations.export.gz"
"""Name of the exported derivations beside `work.json`."""


NOTHING_RECORDED = History()


def make_plan(
    situation: Situation, *, load: to_build.Load, ask: to_build.Ask, history: History = NOTHING_RECORDED
) -> Planned:
    """Decide everything for one push.

    Args:
        situation: what the rules look at; its availability covers the wanted paths of all outputs.
        load: reads derivations.
        ask: asks the trusted caches.
        history: how long derivations took to build in earlier pipelines.

    Raises:
        ConfigError: the configuration names a host that the flake does not have.
    """
    inventory = situation.inventory
    if situation.changes.evaluation_skipped is None:
        _check_hosts(situation.config, inventory)
    situation = replace(situation, shut=rules.shut_caches(situation))
    judged = [_judge(output, situation) for output in inventory.outputs]
    made = [one.output for one in judged if one.made]
    found = to_build.find(_wanted(made), load, ask)
    failed = _failed(inventory, judged)
    units, tasks = fit(situation, found, judged, failed, history)
    plan = Plan(
        flake=situation.flake,
        base=situation.changes.base if situation.changes.base.rev or situation.changes.base.empty else None,
        head=situation.changes.head,
        outputs=tuple(_planned_output(one, tasks, situation) for one in judged),
        removed=situation.changes.removed,
        failures=tuple(Failure(attr=failure.attr, message=failure.message) for failure in inventory.failures),
        jobs=_planned_jobs(tasks.tasks, units),
        notes=(*_notes(situation), *_notes_on_units(units, situation), *_notes_on_pushes(tasks, situation)),
    )
    evaluation = _evaluation(inventory, made) if situation.config.handoff.derivations == "evaluate" else None
    work = Work(
        flake=situation.flake,
        units=_with_readers(units, tasks),
        failures=tuple(Failure(attr=one.attr, message=one.message) for one in failed),
        derivations=EXPORT_NAME if units.units and evaluation is None else None,
        evaluation=evaluation,
    )
    return Planned(plan=plan, work=work, tasks=tasks.tasks)


def _judge(output: FlakeOutput, situation: Situation) -> Judged:
    return Judged(output, {stage: rules.decide(stage, output, situation) for stage in rules.stages_of(output)})


def _wanted(made: list[FlakeOutput]) -> dict[str, set[str]]:
    """Derivation path → the output names wanted of it, by whatever attribute."""
    wanted: dict[str, set[str]] = {}
    for output in made:
        wanted.setdefault(output.drv_path, set()).update(output.wanted)
    return wanted


def _with_readers(units: Units, tasks: Tasks) -> tuple[Unit, ...]:
    """The units, each knowing whether another job reads what it makes."""
    taken = {name for task in tasks.tasks for name in task.takes}
    return tuple(unit if unit.job in taken else unit.model_copy(update={"taken": False}) for unit in units.units)


def _evaluation(inventory: Inventory, made: list[FlakeOutput]) -> Evaluation:
    attributes = {
        output.attr: Attribute(
            path=output.path, suffix=output.drv_attr_path[len(output.path) :], drv_path=output.drv_path
        )
        for output in made
    }
    source = inventory.source
    return Evaluation(rev=source.rev, nix_version=source.nix_version, attributes=attributes)


def _failed(inventory: Inventory, judged: list[Judged]) -> list[FailedOutput]:
    failed = [FailedOutput.of(failure.path, failure.kind, failure.message) for failure in inventory.failures]
    for one in judged:
        bad = [verdict for verdict in one.verdicts.values() if verdict.choice is Choice.FAIL]
        if bad:
            failed.append(FailedOutput.of(one.output.path, one.output.kind, "\n".join(bad[0].reasons)))
    return sorted(failed, key=lambda one: one.path)


def _check_hosts(config: Config, inventory: Inventory) -> None:
    systems = {output.path[-1] for output in inventory.outputs if output.kind is Kind.NIXOS}
    systems |= {failure.path[-1] for failure in inventory.failures if _hides_hosts(failure)}
    if any(failure.path == ("nixosConfigurations",) for failure in inventory.failures):
        return  # the whole set failed to evaluate; its job says so
    unknown = sorted(set(config.hosts) - systems)
    if unknown:
        known = ", ".join(attrpath.show_name(name) for name in sorted(systems)) or "none"
        raise ConfigError(
            "the configuration names hosts that the flake does not have",
            problems=[
                f"hosts.{attrpath.show_name(name)}: there is no such nixosConfigurations entry" for name in unknown
            ],
            hint=f"nixosConfigurations has: {known}",
        )


def _hides_hosts(failure: EvalFailure) -> bool:
    return failure.path[0] == "nixosConfigurations"


def _planned_output(one: Judged, tasks: Tasks, situation: Situation) -> PlannedOutput:
    output = one.output
    wave = tasks.waves.get(output.attr)
    more = {Stage.DEPLOY: (wave,)} if wave else {}
    return PlannedOutput(
        attr=output.attr,
        drv_attr=output.drv_attr,
        kind=output.kind,
        system=output.system,
        drv_path=output.drv_path or None,
        status=situation.status(output),
        available=situation.available(output),
        decisions={
            stage: Decision(
                decision=verdict.choice,
                job=tasks.jobs_of.get((output.attr, stage)),
                reasons=(*verdict.reasons, *more.get(stage, ())),
            )
            for stage, verdict in one.verdicts.items()
        },
    )


def _planned_jobs(tasks: Iterable[Task], units: Units) -> tuple[PlannedJob, ...]:
    by_job = {unit.job: unit for unit in units.units}
    jobs = []
    for task in tasks:
        unit = by_job.get(task.name)
        jobs.append(
            PlannedJob(
                name=task.name,
                stage=task.stage,
                targets=task.targets,
                serves=unit.serves if unit else (),
                served=unit.served if unit else 0,
                needs=(*task.needs, *task.reads),
                derivations=task.derivations,
                repeats=len(unit.repeats) if unit else 0,
                seconds=round(unit.seconds, 1) if unit else 0.0,
            )
        )
    return tuple(jobs)


def _notes(situation: Situation) -> tuple[str, ...]:
    base = situation.changes.base
    notes = []
    if base.rev is None and not base.empty:
        notes.append(f"everything counts as changed: {base.reason} (rule {base.rule})")
    if situation.changes.evaluation_skipped:
        notes.append(f"nothing was evaluated: {situation.changes.evaluation_skipped}")
    if situation.changes.head.dirty:
        notes.append("the working tree has uncommitted changes; they are part of this plan")
    notes += [f"cache {name} did not answer: {why}" for name, why in sorted(situation.availability.trouble.items())]
    notes += _open_gates(situation)
    notes += _notes_on_canaries(situation)
    config = situation.config
    if config.handoff.mode == "cache" and handoff_cache(config, situation.ref.kind) is None:
        fork = situation.ref.kind is PipelineClass.FORK
        why = "merge requests from forks write to no cache" if fork else f"handoff.{situation.ref.kind} names no cache"
        notes.append(f"{why}, so jobs of this pipeline hand outputs over as artifacts")
    built = situation.inventory.built_during_evaluation
    if built:
        names = ", ".join(path.rsplit("/", 1)[-1].split("-", 1)[-1].removesuffix(".drv") for path in built)
        notes.append(f"evaluation had to build {len(built)} derivations (import from derivation): {names}")
    return tuple(notes)


def _notes_on_units(units: Units, situation: Situation) -> list[str]:
    notes = []
    if units.mixed:
        notes.append(
            f"gitlab.max_jobs = {situation.config.gitlab.max_jobs} leaves no room for a job per part: in "
            f"{len(units.mixed)} jobs a failure holds up outputs that do not need what failed"
        )
    repeated = {drv for unit in units.units for drv in unit.repeats}
    if repeated:
        notes.append(
            f"{len(repeated)} derivations are built by several jobs each: that is cheaper than handing them over"
        )
    nowhere = sorted({unit.system for unit in units.units if situation.runner(unit.system, ()) is None} - {ANY_SYSTEM})
    notes += [f"no runner is configured for {system}, which something that is wanted needs" for system in nowhere]
    return notes


def _notes_on_canaries(situation: Situation) -> list[str]:
    config = situation.config
    nobody = [
        f"fleet.canary: {clean(pattern, colour=False)!r} names no host that is configured"
        for pattern in config.fleet.canary
        if not any(fnmatch.fnmatchcase(name, pattern) for name in config.hosts)
    ]
    return nobody + [
        f"hosts.{attrpath.show_name(name)} is no canary, although fleet.canary names it: it waits for an approval, "
        "perhaps for ever"
        for name, host in sorted(config.hosts.items())
        if host.policy is Policy.MANUAL and is_named(name, config.fleet)
    ]


def _notes_on_pushes(tasks: Tasks, situation: Situation) -> list[str]:
    if not tasks.mixed:
        return []
    room = f"gitlab.max_deployments = {situation.config.gitlab.max_deployments} leaves no room for a push job per build"
    held = f"in {len(tasks.mixed)} jobs a failed build holds up outputs that do not need it"
    return [f"{room} (each has an environment): {held}"]


def _open_gates(situation: Situation) -> list[str]:
    """Patterns of related gates that name no check: perhaps a slip, and then nothing is waited for."""
    inventory = situation.inventory
    if situation.changes.evaluation_skipped is not None:
        return []
    checks = [output.path for output in inventory.outputs if output.kind is Kind.CHECK]
    gates: list[tuple[str, HostConfig | CacheConfig]] = []
    gates += [(f"hosts.{attrpath.show_name(name)}", host) for name, host in sorted(situation.config.hosts.items())]
    gates += [(f"caches.{name}", cache) for name, cache in sorted(situation.config.caches.items())]
    notes = []
    for where, settings in gates:
        for pattern in settings.checks if settings.gate == "related" else ():
            parsed = attrpath.parse_pattern(pattern)
            failing = any(attrpath.could_contain(parsed, failure.path) for failure in inventory.failures)
            if not failing and not any(attrpath.matches(parsed, path) for path in checks):
                notes.append(f"{where}.checks: {pattern} names no check of the flake, so nothing waits for it")
    return notes
