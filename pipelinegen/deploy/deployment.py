"""`run deploy`: make a built system the running one on a host, or leave the host as it was.

Look (pre-flight), bring the closure there, activate under supervision, judge, undo where the judgement is bad,
report. Nothing on the host is changed before every pre-flight check has passed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelinegen import durations
from pipelinegen.cache import trust
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console, clean
from pipelinegen.deploy import preflight, state, transfer
from pipelinegen.deploy.activation import Applied
from pipelinegen.deploy.change import Change
from pipelinegen.deploy.findings import Findings
from pipelinegen.deploy.generations import Wanted, pick
from pipelinegen.deploy.hosts import configured
from pipelinegen.deploy.preflight import Survey
from pipelinegen.deploy.report import (
    DEPLOYED,
    DRY_RUN,
    INTERRUPTED,
    UNCHANGED,
    Action,
    DeployReport,
    Phase,
)
from pipelinegen.deploy.report_files import NO_FILES, ReportFiles
from pipelinegen.deploy.say import remarks, verdict
from pipelinegen.deploy.ssh import Target, UnreachableError, connection
from pipelinegen.deploy.state import HostState
from pipelinegen.errors import (
    CommandError,
    DeployError,
    DeployOutcome,
    InterruptedRunError,
    PipelinegenError,
    ToolError,
)
from pipelinegen.run.exchange import HERE, Exchange, exchange
from pipelinegen.run.handoff import rooted
from pipelinegen.run.push import check_store_paths

NEVER_ASKED: Callable[[str], bool | None] = lambda _: None  # noqa: E731  # the default of a parameter


def run_deploy(
    name: str,
    system: str | None,
    *,
    config: Config,
    kind: PipelineClass,
    console: Console,
    action: Action | None = None,
    rollback: Wanted | None = None,
    dry_run: bool = False,
    allow_older: bool = False,
    revision: str | None = None,
    newer: Callable[[str], bool | None] = NEVER_ASKED,
    timeout: float | None = None,
    reports: ReportFiles = NO_FILES,
    outputs: Path = HERE,
    sleep: Callable[[float], None] = time.sleep,
) -> DeployReport:
    """Deploy `system`, or a generation that the host has, to a configured host.

    Args:
        name: of the host in the configuration.
        system: store path of its system; what the local store lacks is fetched from what other jobs left and
            from the trusted caches. Null with `rollback`.
        config, kind: hosts, caches and which of them are trusted.
        console: where people read along.
        action: what to do with the system; by default what the host's settings say.
        rollback: the generation to go back to.
        dry_run: stop before anything is changed.
        allow_older: also where the host runs a system of a later commit.
        revision: the commit that the system was made of.
        newer: whether a commit is a descendant of `revision`; null where that is not known.
        timeout: seconds for all of it; by default what the host's settings say.
        reports: files that say what was done, also when it ends badly.
        outputs: where other jobs leave artifacts, if they do.

    Returns:
        What was done; `DeployReport.raise_if_failed` is the answer.

    Raises:
        UsageError: no such host, or no store path.
        ConfigError, CredentialsError: the host's settings or keys are wrong or missing.
        InterruptedRunError: a signal arrived; what was begun on the host ends by itself there.
    """
    host = configured(name, config)
    if allow_older:
        host = host.model_copy(update={"on_newer": "warn"})
    if rollback is not None:
        # nixos-rebuild deploys what is here; a generation is there.
        host = host.model_copy(update={"engine": "supervised"})
    if system is not None:
        check_store_paths([system])
    deployment = _Deployment(
        name,
        host,
        config,
        console,
        system=system,
        action=action or host.action,
        revision=revision,
        newer=newer,
        deadline=console.clock() + (timeout or durations.seconds(host.timeout) or 0),
        sleep=sleep,
    )
    try:
        with (
            connection(host, where=f"hosts.{name}") as target,
            exchange(config, kind, outputs=outputs, console=console) as others,
            rooted(()) as roots,
        ):
            done = deployment.run(target, others, roots, rollback=rollback, dry_run=dry_run)
    except (PipelinegenError, InterruptedRunError) as error:
        _write(deployment.broken_off(error), reports, console)
        raise
    _write(done, reports, console)
    _tell(done, console)
    return done


class _Deployment:
    """One deployment on its way."""

    def __init__(
        self,
        name: str,
        host: HostConfig,
        config: Config,
        console: Console,
        *,
        system: str | None,
        action: Action,
        revision: str | None,
        newer: Callable[[str], bool | None],
        deadline: float,
        sleep: Callable[[float], None],
    ) -> None:
        self.name = name
        self.host = host
        self.config = config
        self.console = console
        self.system = system or ""
        self.action = action
        self.revision = revision
        self.newer = newer
        self.deadline = deadline
        self.sleep = sleep
        self.own_generation = False
        self.findings = Findings()
        self.phases: list[Phase] = []
        self.survey: Survey | None = None
        self.before: HostState | None = None

    def run(
        self, target: Target, others: Exchange, roots: Path, *, rollback: Wanted | None, dry_run: bool
    ) -> DeployReport:
        """Do it; everything but a signal and wrong settings becomes a report."""
        self.target, self.others, self.roots = target, others, roots
        try:
            with self._phase("preflight", "Looking at the host"):
                unchanged = self._preflight(rollback, dry_run=dry_run)
            if dry_run:
                return self._report(UNCHANGED if unchanged else DRY_RUN, after=self.before)
            if unchanged and self.action != "reboot":
                return self._report(UNCHANGED, after=self.before)
            assert self.before is not None  # noqa: S101  # the pre-flight refuses otherwise
            return self._change(self.before)
        except DeployError as error:
            return self._report(
                error.outcome.word,
                after=self.before,
                message=error.message,
                why=error.why,
                hint=error.hint,
                exit_code=error.exit_code,
            )

    def broken_off(self, error: PipelinegenError) -> DeployReport:
        """The report of a deployment that a signal or a wrong setting ended."""
        return self._report(
            INTERRUPTED if isinstance(error, InterruptedRunError) else "failed",
            message=error.message,
            why=error.why,
            hint=error.hint,
            exit_code=error.exit_code,
        )

    def _preflight(self, wanted: Wanted | None, *, dry_run: bool) -> bool:
        """Whether there is nothing to do.

        Raises:
            DeployError: REFUSED or LOCKED, with every finding.
        """
        findings = self.findings
        try:
            if wanted is not None:
                self._take_generation(wanted)
            self.survey = preflight.survey(
                self.target,
                self.name,
                self.host,
                self.system,
                findings,
                revision=None if self.own_generation else self.revision,
                newer=self.newer,
                fetch=None if wanted is not None else self._fetch,
                action=self.action,
                caches=trust.trusted_caches(self.config, self.others.kind),
                others=sorted(self.config.hosts.keys() - {self.name}),
                dry_run=dry_run,
            )
        except (UnreachableError, CommandError) as error:
            findings.refuse(": ".join(part for part in (error.message, error.why) if part), error.hint)
        if self.survey is not None:
            self.before = self.survey.state
        for note in findings.notes:
            self.console.say(note)
        for warning in findings.warnings:
            self.console.warn(warning)
        if findings.refusals:
            raise DeployError(
                "the host is not fit for a deployment; nothing was changed",
                outcome=DeployOutcome.LOCKED if findings.only_locked else DeployOutcome.REFUSED,
                why="\n".join(findings.refusals),
                hint="\n".join(dict.fromkeys(findings.hints)) or None,
            )
        if self.survey is None:
            return True
        if self.survey.state.runs(self.system):
            torn = preflight.cut_off(self.survey.last, self.system)
            if torn and self.action == "switch":
                self.action = "boot"  # all that is missing
            return not torn
        for line in preflight.describe(self.survey, self.target.address):
            self.console.say(line)
        self.action = self.survey.instead or self.action
        return False

    def _take_generation(self, wanted: Wanted) -> None:
        """A generation that the host has is what is to be deployed."""
        generation = pick(self.target, wanted)
        self.own_generation, self.system = True, generation.path
        # What the host is asked to remember, so that a later pipeline knows what it meets.
        self.revision = generation.revision
        self.console.say(f"going back to generation {generation.number} ({generation.date}): {generation.path}")

    def _fetch(self) -> list[str]:
        """Bring the system into the local store; why that is not possible."""
        if not self.others.fetch([self.system], self.roots):
            return []
        self.findings.hints.append(
            "`pipelinegen cache token` prints how to make the next token"
            if self.others.doubts
            else "run the job that builds it again"
        )
        return [f"{self.system} is in no trusted cache, nor in the local store", *self.others.doubts]

    def _change(self, before: HostState) -> DeployReport:
        session = transfer.Roots(self.target)
        try:
            session.keep(self.system, before.running)
        except (UnreachableError, CommandError) as error:
            raise transfer.refused("the host's garbage collector cannot be held off", error) from error
        try:
            if not self.own_generation:
                with self._phase("copy", "Bringing the system to the host"):
                    left = max(self.deadline - self.console.clock(), 1.0)
                    transfer.transfer(self.target, self.host, self.system, self.console, seconds=left)
            if self.action == "dry-activate":
                return self._dry_activate(before)
            change = Change(
                self.name,
                self.host,
                self.target,
                self.console,
                action=self.action,
                revision=self.revision,
                deadline=self.deadline,
                phase=self._phase,
                sleep=self.sleep,
            )
            applied = change.make(self.system, self._still(before))
            return self._applied(self._with_reboot_needed(applied))
        finally:
            session.release(self.console)

    def _with_reboot_needed(self, applied: Applied) -> Applied:
        """The policy on kernels and the like that only a boot brings."""
        needed = self.survey.reboot_needed if self.survey else ()
        if applied.outcome is not None or not needed or self.action != "switch":
            return applied
        if self.host.on_reboot_needed != "fail":
            return applied
        return dataclasses.replace(
            applied,
            outcome=DeployOutcome.REBOOT_REQUIRED,
            message="the new system runs, but parts of it need a reboot",
            why=f"other than what the host was booted with: {', '.join(needed)}",
            hint="reboot it, or deploy with --action reboot",
        )

    def _dry_activate(self, before: HostState) -> DeployReport:
        with self._phase("activate", "What a switch would do"):
            units = preflight.dry_activate(self.target, self.system, self.console)
        return self._report(DRY_RUN, after=before, units=units)

    def _still(self, before: HostState) -> HostState:
        """What the host runs right before the switch: copying may take long, and the way back leads there."""
        try:
            now = state.read_state(self.target)
        except (UnreachableError, CommandError) as error:
            raise transfer.refused("the host cannot be asked what it runs", error) from error
        if (now.running, now.profile) != (before.running, before.profile):
            self.console.warn(f"{self.target.address} was given another system meanwhile: {now.running}")
        self.before = now
        return now

    def _applied(self, applied: Applied) -> DeployReport:
        outcome = applied.outcome
        return self._report(
            DEPLOYED if outcome is None else outcome.word,
            after=applied.state,
            message=applied.message,
            why=applied.why,
            hint=applied.hint,
            exit_code=0 if outcome is None else int(outcome),
            switch_exit_code=applied.exit_code,
            newly_failed=applied.newly_failed,
            tolerated=applied.tolerated,
            units=applied.units,
            health=applied.health,
            smoke=applied.smoke,
            log=applied.log,
            log_file=applied.log_file,
            activation=applied.activation,
        )

    def _report(self, result: str, **fields: object) -> DeployReport:
        survey, after = self.survey, fields.get("after")
        values: dict[str, object] = {
            "host": self.name,
            "address": self.host.address,
            "system": self.system,
            "action": self.action,
            "engine": self.host.engine,
            "revision": self.revision,
            "result": result,
            "before": self.before,
            "generation_before": self.before.generation if self.before else None,
            "generation_after": after.generation if isinstance(after, HostState) else None,
            "refusals": tuple(self.findings.refusals),
            "warnings": tuple(self.findings.warnings),
            "phases": tuple(self.phases),
        }
        if survey is not None:
            values |= {
                "missing_bytes": survey.missing_bytes,
                "reboot_needed": survey.reboot_needed,
                "diff": survey.diff,
            }
            if survey.would is not None:
                values["units"] = survey.would
        return DeployReport.model_validate(values | fields)

    @contextlib.contextmanager
    def _phase(self, name: str, title: str) -> Iterator[None]:
        started = self.console.clock()
        try:
            with self.console.section(f"deploy-{name}", f"{title} ({self.name})"):
                yield
        finally:
            self.phases.append(Phase(name=name, seconds=self.console.clock() - started))


def _write(report: DeployReport, reports: ReportFiles, console: Console) -> None:
    """What became of the host is what counts: a report that cannot be written changes no exit code."""
    try:
        reports.write(report)
    except ToolError as error:
        console.warn(": ".join(part for part in (error.message, error.why) if part))


def _tell(report: DeployReport, console: Console) -> None:
    for remark in remarks(report):
        console.write(clean(remark, colour=False) + "\n")
    console.say(verdict(report))
