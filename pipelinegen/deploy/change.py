"""The steps that change a host: activate, reboot where asked, ask the smoke tests; and back where one is bad."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console
from pipelinegen.deploy import health
from pipelinegen.deploy.activation import Activation, Applied
from pipelinegen.deploy.reboot import Rebooted, reboot
from pipelinegen.deploy.report import Action, ProbeResult
from pipelinegen.deploy.ssh import Target
from pipelinegen.deploy.state import HostState
from pipelinegen.deploy.supervised import SupervisedActivation
from pipelinegen.errors import DeployError, DeployOutcome


class Change:
    """One change of one host.

    Args:
        name, host, target: which one, its settings, how it is reached.
        console: where people read along; its clock counts.
        action: what to do; `dry-activate` changes nothing and is not for here.
        revision: the commit that the system was made of.
        deadline: when all of it must be over, by the console's clock.
        phase: enters a named part of the deployment, by name and title.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        name: str,
        host: HostConfig,
        target: Target,
        console: Console,
        *,
        action: Action,
        revision: str | None,
        deadline: float,
        phase: Callable[[str, str], AbstractContextManager[None]],
        sleep: Callable[[float], None],
    ) -> None:
        self._name = name
        self._host = host
        self._target = target
        self._console = console
        self._action = action
        self._revision = revision
        self._deadline = deadline
        self._phase = phase
        self._sleep = sleep
        self._system = ""

    def make(self, system: str, before: HostState) -> Applied:
        """Activate, reboot where asked, and ask the smoke tests.

        Args:
            system: store path of the new system, which the host has.
            before: what the host runs now.

        Raises:
            DeployError: REFUSED, since copying has left no time for it.
            InterruptedRunError: a signal arrived; what was begun on the host ends by itself there.
        """
        if self._console.clock() > self._deadline:
            raise DeployError(
                "there is no time left for the activation; nothing was switched",
                outcome=DeployOutcome.REFUSED,
                hint="what was copied stays there: deploy again, or raise `timeout` of the host",
            )
        self._system = system
        engine = self._engine()
        with self._phase("activate", "Activating"):
            applied = engine.apply(self._system, before)
        if self._action == "reboot" and applied.outcome in {None, DeployOutcome.REBOOT_REQUIRED}:
            with self._phase("reboot", "Rebooting"):
                applied = self._reboot(engine, before, applied)
        runs = applied.state is not None and applied.state.running == self._system
        if applied.outcome in {None, DeployOutcome.WARNINGS} and runs and self._host.smoke:
            with self._phase("smoke", "Smoke tests"):
                applied = self._smoke(engine, before, applied)
        return applied

    def _engine(self) -> Activation:
        if self._host.engine == "nixos-rebuild":
            from pipelinegen.deploy.nixos_rebuild import NixosRebuild  # noqa: PLC0415  # needed by few

            return NixosRebuild(self._target, self._host, self._console, name=self._name, action=self._switch_action)
        return SupervisedActivation(
            self._target,
            self._host,
            self._console,
            action=self._switch_action,
            revision=self._revision,
            no_check=self._host.on_inhibitor == "force",
            limit=max(self._deadline - self._console.clock(), 0),
            sleep=self._sleep,
        )

    @property
    def _switch_action(self) -> Literal["switch", "test", "boot"]:
        if self._action == "reboot":
            return "boot"
        return "test" if self._action == "test" else "boot" if self._action == "boot" else "switch"

    def _reboot(self, engine: Activation, before: HostState, applied: Applied) -> Applied:
        """Boot into the system; where it is not healthy then, boot what was there before."""
        rebooted = self._booted(self._system)
        judged = self._after_boot(before, rebooted, applied)
        if judged.outcome is not DeployOutcome.FAILED or not isinstance(engine, SupervisedActivation):
            return judged
        if not self._to_be_undone(judged):
            return judged
        if before.profile is None or judged.state is None:
            return judged
        self._console.warn(f"going back to {before.profile}: {judged.why}")
        back = SupervisedActivation(self._target, self._host, self._console, action="boot", sleep=self._sleep)
        undone = back.apply(before.profile, judged.state)
        if undone.outcome is not None:
            return dataclasses.replace(undone, outcome=DeployOutcome.ROLLBACK_FAILED)
        rebooted = self._booted(before.profile, back=True)
        if rebooted.outcome is not None or rebooted.state is None:
            return _not_back(judged, rebooted, undone.state)
        failed, _ = health.newly_failed(before.failed, rebooted.state.failed, self._host.ignore_units)
        return dataclasses.replace(
            judged,
            outcome=DeployOutcome.ROLLED_BACK_UNHEALTHY if failed else DeployOutcome.ROLLED_BACK,
            message="the host was booted into the system before again",
            state=rebooted.state,
        )

    def _to_be_undone(self, judged: Applied) -> bool:
        """Whether what is wrong after the reboot is to undo it; a system that was not asked for always is."""
        bad = {"units"} if judged.newly_failed else set()
        if any(not probe.passed for probe in judged.health):
            bad.add("health")
        return not bad or bool(bad & set(self._host.rollback_on))

    def _booted(self, expected: str, *, back: bool = False) -> Rebooted:
        left = max(self._deadline - self._console.clock(), 60.0)
        now, then = (self._moved, self._target) if back else (self._target, self._moved)
        return reboot(now, self._console, expected=expected, timeout=left, sleep=self._sleep, up=then)

    @property
    def _moved(self) -> Target:
        """The host where the new system runs: it may have moved to another address."""
        address = self._host.confirm_address
        if address is None:
            return self._target
        return dataclasses.replace(self._target, address=address.removeprefix("[").removesuffix("]"))

    def _after_boot(self, before: HostState, rebooted: Rebooted, applied: Applied) -> Applied:
        after = rebooted.state
        if after is None:
            return _not_booted(applied, rebooted, applied.state)
        failed, tolerated = health.newly_failed(before.failed, after.failed, self._host.ignore_units)
        faults = [f"newly failed: {', '.join(failed)}"] if failed else []
        if after.running != self._system:
            faults.append(f"after the reboot it runs {after.running}")
        probes: tuple[ProbeResult, ...] = ()
        if after.running == self._system and not (failed and "units" in self._host.rollback_on):
            probes = health.ask_all(
                self._host.health, self._moved, self._console, renew=lambda: None, sleep=self._sleep
            )
            faults += [f"not healthy: {probe.title}: {probe.said}" for probe in probes if not probe.passed]
        sentences = [f"{unit} failed, which may" for unit in tolerated]
        outcome = message = None
        if faults:
            outcome, message = DeployOutcome.FAILED, "the host was rebooted, but it is not as it should be"
        elif sentences and self._host.fail_on_warnings:
            outcome, message = DeployOutcome.WARNINGS, "the new system runs, with warnings"
        return dataclasses.replace(
            applied,
            outcome=outcome,
            message=message,
            why="; ".join(faults or (sentences if outcome else [])) or None,
            newly_failed=tuple(failed),
            tolerated=tuple(sentences),
            health=probes,
            state=after,
        )

    def _smoke(self, engine: Activation, before: HostState, applied: Applied) -> Applied:
        """Ask from outside whether the whole thing works; the last chance to go back."""
        smoke = health.ask_all(self._host.smoke, self._moved, self._console, renew=lambda: None, sleep=self._sleep)
        bad = [f"{probe.title}: {probe.said}" for probe in smoke if not probe.passed]
        applied = dataclasses.replace(applied, smoke=smoke)
        if not bad:
            return applied
        why = f"smoke tests failed: {'; '.join(bad)}"
        if "smoke" not in self._host.rollback_on or not isinstance(engine, SupervisedActivation):
            message = "the new system runs, but its smoke tests failed"
            return dataclasses.replace(applied, outcome=DeployOutcome.FAILED, message=message, why=why)
        self._console.warn(why)
        back = engine.restore(self._system, before, why)
        return dataclasses.replace(
            back,
            exit_code=applied.exit_code,
            newly_failed=applied.newly_failed,
            health=applied.health,
            smoke=smoke,
            units=applied.units,
        )


def _not_back(judged: Applied, rebooted: Rebooted, known: HostState | None) -> Applied:
    """The system before boots again, but the reboot into it went wrong."""
    lost = rebooted.outcome is DeployOutcome.STATE_UNKNOWN
    return dataclasses.replace(
        judged,
        outcome=DeployOutcome.STATE_UNKNOWN if lost else DeployOutcome.ROLLBACK_FAILED,
        message=f"the next boot takes the system before again, but: {rebooted.message}",
        why="; ".join(part for part in (judged.why, rebooted.why) if part) or None,
        hint="look at its console" if lost else "reboot it by hand",
        state=None if lost else rebooted.state or known,
    )


def _not_booted(applied: Applied, rebooted: Rebooted, known: HostState | None) -> Applied:
    """A reboot that did not come about leaves the host as it was; of one that did not end nothing is known."""
    return dataclasses.replace(
        applied,
        outcome=rebooted.outcome,
        message=rebooted.message,
        why=rebooted.why,
        hint=rebooted.hint,
        state=None if rebooted.outcome is DeployOutcome.STATE_UNKNOWN else rebooted.state or known,
    )
