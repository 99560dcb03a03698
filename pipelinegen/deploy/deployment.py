"""`run deploy`: make a built system the running one on a host, or leave the host as it was.

Look (pre-flight), bring the closure there, switch, judge, restore the previous system where the judgement is
bad, report. Nothing on the host is changed before every pre-flight check has passed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelinegen import files
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console, clean
from pipelinegen.deploy import preflight, state, transfer
from pipelinegen.deploy.activate import Activation, Applied, SimpleActivation
from pipelinegen.deploy.preflight import Findings
from pipelinegen.deploy.report import DeployReport, Phase
from pipelinegen.deploy.ssh import Target, UnreachableError, connection
from pipelinegen.deploy.state import HostState
from pipelinegen.deploy.switch import TIMEOUT
from pipelinegen.errors import CommandError, DeployError, DeployOutcome, UsageError
from pipelinegen.run.exchange import HERE, Exchange, exchange
from pipelinegen.run.handoff import rooted
from pipelinegen.run.heartbeat import duration
from pipelinegen.run.push import check_store_paths


def run_deploy(
    name: str,
    system: str,
    *,
    config: Config,
    kind: PipelineClass,
    console: Console,
    dry_run: bool = False,
    report: Path | None = None,
    timeout: float = TIMEOUT,
    activation: Callable[[Target, Console], Activation] | None = None,
    outputs: Path = HERE,
) -> DeployReport:
    """Deploy `system` to a configured host.

    Args:
        name: of the host in the configuration.
        system: store path of its system; what the local store lacks is fetched from what other jobs left and
            from the trusted caches.
        config, kind: hosts, caches and which of them are trusted.
        console: where people read along.
        dry_run: stop before anything is changed.
        report: where the report goes as JSON, also when it ends badly.
        timeout: seconds the switch may take.
        activation: how the switch is made; `SimpleActivation` without.
        outputs: where other jobs leave artifacts, if they do.

    Returns:
        What was done; `DeployReport.raise_if_failed` is the answer.

    Raises:
        UsageError: no such host, or no store path.
        ConfigError, CredentialsError: the host's settings or keys are wrong or missing.
        InterruptedRunError: a signal arrived; a switch that was begun goes on by itself.
    """
    if name not in config.hosts:
        known = ", ".join(sorted(config.hosts)) or "none"
        raise UsageError(f"there is no host {name!r} in the configuration", why=f"configured: {known}")
    host = config.hosts[name]
    check_store_paths([system])
    with (
        connection(host, where=f"hosts.{name}") as target,
        exchange(config, kind, outputs=outputs, console=console) as others,
        rooted(()) as roots,
    ):
        deployment = _Deployment(name, host, system, others, console, target, roots)
        make = activation or (lambda to, where: SimpleActivation(to, where, timeout=timeout))
        done = deployment.run(make(target, console), dry_run=dry_run)
    if report is not None:
        files.write_atomic(report, done.model_dump_json(indent=2) + "\n")
    _tell(done, console)
    return done


class _Deployment:
    """One deployment on its way."""

    def __init__(
        self,
        name: str,
        host: HostConfig,
        system: str,
        others: Exchange,
        console: Console,
        target: Target,
        roots: Path,
    ) -> None:
        self.name = name
        self.host = host
        self.system = system
        self.others = others
        self.console = console
        self.target = target
        self.roots = roots
        self.findings = Findings()
        self.phases: list[Phase] = []
        self.before: HostState | None = None
        self.missing_bytes: int | None = None

    def run(self, activation: Activation, *, dry_run: bool) -> DeployReport:
        try:
            with self._phase("preflight", "Looking at the host"):
                unchanged = self._preflight()
            if unchanged:
                return self._report("unchanged", after=self.before)
            if dry_run:
                return self._report("dry-run", after=self.before)
            assert self.before is not None  # noqa: S101  # the pre-flight refuses otherwise
            return self._change(activation, self.before)
        except DeployError as error:
            return self._report(
                error.outcome.name.lower().replace("_", "-"),
                after=self.before,
                message=error.message,
                why=error.why,
                hint=error.hint,
                exit_code=error.exit_code,
            )

    def _preflight(self) -> bool:
        """Whether there is nothing to do.

        Raises:
            DeployError: REFUSED or LOCKED, with every finding.
        """
        findings = self.findings
        try:
            self.before = preflight.look(self.target, findings)
            if self.before is not None and self.before.runs(self.system):
                return True
            there = not self.others.fetch([self.system], self.roots)
            if not there:
                findings.refusals.append(f"{self.system} is in no trusted cache, nor in the local store")
                findings.refusals += self.others.doubts
                findings.hints.append(
                    "`pipelinegen cache token` prints how to make the next token"
                    if self.others.doubts
                    else "run the job that builds it again"
                )
            else:
                preflight.check_system(self.system, self.before, findings)
            if self.before is not None and there:
                self.missing_bytes = preflight.check_room(self.target, self.host, self.system, findings)
                if self.host.substitute and self.missing_bytes:
                    preflight.check_caches(self.target, findings)
        except (UnreachableError, CommandError) as error:
            findings.refusals.append(": ".join(part for part in (error.message, error.why) if part))
        for warning in findings.warnings:
            self.console.warn(warning)
        if findings.refusals:
            only_locked = findings.locked and len(findings.refusals) == 1
            raise DeployError(
                "the host is not fit for a deployment; nothing was changed",
                outcome=DeployOutcome.LOCKED if only_locked else DeployOutcome.REFUSED,
                why="\n".join(findings.refusals),
                hint="\n".join(dict.fromkeys(findings.hints)) or None,
            )
        return False

    def _change(self, activation: Activation, before: HostState) -> DeployReport:
        try:
            transfer.keep(self.target, self.system, before.running)
        except (UnreachableError, CommandError) as error:
            raise transfer.refused("the host's garbage collector cannot be held off", error) from error
        try:
            with self._phase("copy", "Bringing the system to the host"):
                transfer.transfer(self.target, self.host, self.system, self.console)
            with self._phase("switch", "Switching"):
                applied = activation.apply(self.system, self._still(before))
        finally:
            transfer.release(self.target, self.console)
        return self._applied(applied)

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
            "deployed" if outcome is None else outcome.name.lower().replace("_", "-"),
            after=applied.state,
            message=applied.message,
            why=applied.why,
            hint=applied.hint,
            exit_code=0 if outcome is None else int(outcome),
            switch_exit_code=applied.exit_code,
            newly_failed=applied.newly_failed,
            log=applied.log,
        )

    def _report(self, result: str, **fields: object) -> DeployReport:
        values: dict[str, object] = {
            "host": self.name,
            "address": self.target.address,
            "system": self.system,
            "result": result,
            "before": self.before,
            "refusals": tuple(self.findings.refusals),
            "warnings": tuple(self.findings.warnings),
            "missing_bytes": self.missing_bytes,
            "phases": tuple(self.phases),
        }
        return DeployReport.model_validate(values | fields)

    @contextlib.contextmanager
    def _phase(self, name: str, title: str) -> Iterator[None]:
        started = self.console.clock()
        try:
            with self.console.section(f"deploy-{name}", f"{title} ({self.name})"):
                yield
        finally:
            self.phases.append(Phase(name=name, seconds=self.console.clock() - started))


def _tell(report: DeployReport, console: Console) -> None:
    seconds = duration(sum(phase.seconds for phase in report.phases))
    before = report.before.running if report.before else None
    sentences = {
        "deployed": f"{report.host} runs {report.system} (before: {before}) ({seconds})",
        "unchanged": f"{report.host} runs {report.system} already; nothing to do ({seconds})",
        "dry-run": f"{report.host} runs {before}; it would be given {report.system} ({seconds})",
    }
    if report.result in sentences:
        console.say(sentences[report.result])
        return
    for line in report.log:
        console.foreign(line, "  | ")
    after = report.after.running if report.after else None
    console.write(f"{report.host}: {clean(report.result, colour=False)}; it runs {after or 'we do not know what'}\n")
