"""`run build` and the checks of `run test`: carry out one unit of work.

Import the derivations, fetch by name what other jobs or earlier pipelines made, realise exactly the named
outputs, and hand over what was made: also when something else failed, since it need not be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import local_store, nix
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.console import Console
from pipelinegen.errors import PipelinegenError, TransientError
from pipelinegen.plan.model import Realise, Unit, Work
from pipelinegen.run import handoff, nix_events, reproduce, times, trouble
from pipelinegen.run.build_log import BuildLog, name_of
from pipelinegen.run.exchange import HERE, Exchange, exchange
from pipelinegen.run.handoff import Evaluate
from pipelinegen.run.heartbeat import duration
from pipelinegen.run.result import ItemResult, Reports, Status, StepResult

LOG_LINES = 25
"""Last lines of a failing derivation's log that are repeated at the end."""


def run_unit(
    work: Work,
    unit: Unit,
    *,
    folder: Path,
    config: Config,
    kind: PipelineClass,
    console: Console,
    reports: Reports | None = None,
    again: str | None = None,
    outputs: Path = HERE,
    evaluate: Evaluate | None = None,
) -> StepResult:
    """Do the work of one build or test job.

    Args:
        work, unit: from the handoff.
        folder: the handoff's folder.
        config, kind: which caches are trusted, and through which one outputs are handed over.
        console: where people read along.
        reports: files to write when it ends, also when it ends badly.
        again: the command line that runs this job again, shown when something failed.
        outputs: where jobs leave artifacts, if they do.
        evaluate: evaluates the flake, for a handoff without derivations.

    Returns:
        What was made, judged from the store; `StepResult.raise_if_failed` is the answer.

    Raises:
        UsageError: the handoff is unusable.
        FlakeError: the flake cannot be evaluated here, or gives other derivations.
        CredentialsError, TransientError, StepFailedError: everything was made and handing it over failed.
    """
    started = console.clock()
    drv_paths = [one.drv_path for one in unit.builds]
    handoff.obtain_derivations(folder, work, unit, evaluate=evaluate, console=console)
    with exchange(config, kind, outputs=outputs, console=console) as others, handoff.rooted(drv_paths) as roots:
        made = make(unit, others, roots, reports=reports)
        handover = others.hand_over(unit.job, made.paths, by_content=made.by_content, taken=unit.taken)
    result = _result(unit, made, handover, console.clock() - started)
    (reports or Reports()).write(result)
    _tell(work, unit, result, console, again)
    if handover is not None and all(item.status in {Status.OK, Status.PRESENT} for item in made.items):
        raise handover
    return result


@dataclass(frozen=True)
class Made:
    """What became of a unit's work.

    Attributes:
        items: each derivation, judged from the store.
        paths: what is there now.
        by_content: those derivations of which only their build could tell the paths, as `nix-store --realise`
            takes them.
        present: derivations that needed nothing.
        log: what Nix said.
    """

    items: tuple[ItemResult, ...]
    paths: list[str]
    by_content: list[str]
    present: frozenset[str]
    log: BuildLog


def make(unit: Unit, others: Exchange, roots: Path, *, reports: Reports | None = None) -> Made:
    """Fetch by name what is not to be built, then realise exactly the named outputs.

    Args:
        unit: its derivations are in the local store.
        others: where to fetch from.
        roots: folder for links that keep all of it from the garbage collector.
        reports: `times` of them is written as soon as the builds end.
    """
    _fetch_inputs(unit, others, roots)
    log = BuildLog(others.console)
    try:
        outcome = _realise(unit, others, roots, log)
    finally:
        times.leave(reports, log, unit.system, others.console)
    paths = outcome.made_paths()
    local_store.root_paths(paths, roots / "made")
    return Made(outcome.items(), paths, outcome.made_by_content(), outcome.present, log)


@dataclass(frozen=True)
class _Outcome:
    """What the store holds of a unit's outputs, before and after.

    Attributes:
        outputs: derivation path → paths of its wanted outputs, as far as they are known beforehand.
        unknown: derivations whose output paths are not (content-addressed ones).
        present: derivations that needed nothing.
        invalid: output paths that are not there in the end.
        log: what Nix said.
    """

    unit: Unit
    outputs: dict[str, list[str]]
    unknown: frozenset[str]
    present: frozenset[str]
    invalid: frozenset[str]
    log: BuildLog

    def made(self, one: Realise) -> bool:
        if one.drv_path in self.unknown:
            return bool(local_store.realised_outputs(one.installable))
        return not self.invalid.intersection(self.outputs[one.drv_path])

    def made_paths(self) -> list[str]:
        paths: list[str] = []
        for one in self.unit.builds:
            if one.drv_path in self.unknown:
                paths += local_store.realised_outputs(one.installable)
            else:
                paths += [path for path in self.outputs[one.drv_path] if path not in self.invalid]
        return list(dict.fromkeys(paths))

    def made_by_content(self) -> list[str]:
        """Those made of which only their build could tell the paths, as `nix-store --realise` takes them."""
        return [one.installable for one in self.unit.builds if one.drv_path in self.unknown and self.made(one)]

    def items(self) -> tuple[ItemResult, ...]:
        said = self.log.failed
        # Anybody who can print can claim that something failed; it did where its outputs are absent.
        culprits = {path: why for path, why in said.items() if not _all_there(path)}
        items = [self._item(one, culprits) for one in self.unit.builds]
        if any(item.status is Status.NOT_TRIED for item in items):
            # Its wanted outputs are there, and another one that something here needs could not be made.
            items = [self._failed(item.name, culprits[item.name]) if item.name in culprits else item for item in items]
        listed = {one.drv_path for one in self.unit.builds}
        items += [self._failed(path, why) for path, why in culprits.items() if path not in listed]
        return tuple(items)

    def _item(self, one: Realise, culprits: dict[str, str]) -> ItemResult:
        build = self.log.builds.get(one.drv_path)
        seconds = build.seconds if build else None
        if self.made(one):
            status = Status.PRESENT if one.drv_path in self.present else Status.OK
            return ItemResult(name=one.drv_path, status=status, seconds=seconds)
        if one.drv_path in culprits:
            return self._failed(one.drv_path, culprits[one.drv_path])
        causes = [path for path in local_store.requisites([one.drv_path]) if path in culprits]
        if causes:
            message = f"not tried because {name_of(causes[0])} failed"
            return ItemResult(name=one.drv_path, status=Status.NOT_TRIED, message=message)
        return self._failed(one.drv_path, (self.log.errors or ["Nix did not make it and did not say why"])[-1])

    def _failed(self, drv_path: str, why: str) -> ItemResult:
        build = self.log.builds.get(drv_path)
        lines = tuple(build.log.last(LOG_LINES)) if build else ()
        seconds = build.seconds if build else None
        return ItemResult(name=drv_path, status=Status.FAILED, seconds=seconds, message=why, log=lines)


def _all_there(drv_path: str) -> bool:
    outputs = local_store.realised_outputs(drv_path)
    return bool(outputs) and not nix.invalid_paths(outputs)


def _fetch_inputs(unit: Unit, others: Exchange, roots: Path) -> None:
    for path in others.fetch(unit.fetch, roots) if unit.fetch else ():
        others.console.warn(f"{others.nobody} has {path}; it is built here instead")


def _realise(unit: Unit, others: Exchange, roots: Path, log: BuildLog) -> _Outcome:
    console = others.console
    outputs, unknown = _output_paths(unit.builds)
    known = [path for paths in outputs.values() for path in paths]
    before = set(nix.invalid_paths(known))
    # By name, too: an earlier try of this job may have made what Nix would rather build than fetch.
    if made_before := others.handed_over(sorted(before)):
        others.fetch(made_before, roots)
        before = set(nix.invalid_paths(known))
    present = frozenset(
        drv_path for drv_path, paths in outputs.items() if drv_path not in unknown and not before.intersection(paths)
    )
    wanted = [one.installable for one in unit.builds if one.drv_path not in present]
    if wanted:
        console.say(f"building {len(wanted)} of {len(unit.builds)} derivations")
        # What a cache promised and cannot deliver is built.
        options = [*nix_events.OPTIONS, "--fallback"]
        if unit.timeout is not None:
            options += ["--option", "timeout", str(unit.timeout)]
        if unit.max_silent is not None:
            options += ["--option", "max-silent-time", str(unit.max_silent)]
        left = len(known) + 1
        while True:
            nix.realise(wanted, others.sources, options=options, on_line=log.line, on_idle=log.idle)
            log.settle(_all_there)
            if not log.confused or (still := len(nix.invalid_paths(known))) >= left:
                break
            left = still
            log.forget_confused()
            console.say("Nix overlooked outputs that were there before others of their derivation; going on")
    return _Outcome(unit, outputs, unknown, present, frozenset(nix.invalid_paths(known)), log)


def _output_paths(builds: Iterable[Realise]) -> tuple[dict[str, list[str]], frozenset[str]]:
    """Derivation path → paths of its wanted outputs, and the derivations whose paths are not known yet."""
    by_output: dict[str, list[str]] = {}
    for one in builds:
        for output in one.outputs:
            by_output.setdefault(output, []).append(one.drv_path)
    paths: dict[str, list[str]] = {one.drv_path: [] for one in builds}
    unknown: set[str] = set()
    for output, drv_paths in by_output.items():
        for drv_path, path in local_store.output_paths(drv_paths, output).items():
            if path is None:
                unknown.add(drv_path)
            else:
                paths[drv_path].append(path)
    return paths, frozenset(unknown)


def _result(unit: Unit, made: Made, handover: PipelinegenError | None, seconds: float) -> StepResult:
    items, builds = made.items, made.log.builds
    failed = [item for item in items if item.status is Status.FAILED]
    skipped = [item for item in items if item.status is Status.NOT_TRIED]
    message = why = None
    transient = False
    if failed:
        message = f"{name_of(failed[0].name) if len(failed) == 1 else f'{len(failed)} derivations'} failed"
        if skipped:
            message += f", {len(skipped)} {'was' if len(skipped) == 1 else 'were'} not tried"
        passing = trouble.passing([item.message or "" for item in failed] + made.log.errors)
        began = any(item.name in builds and builds[item.name].log for item in failed)
        transient = passing is not None and not began
        why = passing if transient else failed[0].message
    elif handover is not None:
        message, why = handover.message, handover.why
        transient = isinstance(handover, TransientError)
    return StepResult(
        step=unit.stage.value,
        what=unit.job,
        seconds=seconds,
        items=items,
        built=tuple(path for path, build in builds.items() if build.failure is None),
        counts={
            "wanted": len(unit.builds),
            "present": len(made.present),
            "built": sum(build.failure is None for build in builds.values()),
            "fetched": len(made.log.fetched),
            "failed": len(failed),
            "not_tried": len(skipped),
        },
        message=message,
        why=why,
        transient=transient,
    )


def _tell(work: Work, unit: Unit, result: StepResult, console: Console, again: str | None) -> None:
    counts = result.counts
    console.say(
        f"{unit.job}: {counts['built']} built, {counts['fetched']} fetched, {counts['present']} already there, "
        f"{counts['failed']} failed, {counts['not_tried']} not tried ({duration(result.seconds)})"
    )
    tell_failures(result.items, console, again=lambda drv_path: reproduce.lines(work, unit, drv_path, again))


def tell_failures(
    items: Sequence[ItemResult], console: Console, *, again: Callable[[str], Iterable[str]] = lambda _: ()
) -> None:
    """Say what failed, with the ends of the logs and how to do it `again`, and what was therefore not tried."""
    failed = [item for item in items if item.status is Status.FAILED]
    for item in items:
        if item.status is Status.NOT_TRIED:
            console.write(f"{name_of(item.name)}: {item.message}\n")
    for item in failed:
        console.write("\n" + console.style(f"{name_of(item.name)} failed: {item.message}", "red") + "\n")
        for line in item.log:
            console.foreign(line, "  | ")
        for line in again(item.name):
            console.foreign(line, "  again: ")
