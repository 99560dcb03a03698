"""The engine of our own: the host activates and undoes by itself, we watch, judge and confirm."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipelinegen import durations
from pipelinegen.config_hosts import HostConfig, Trigger
from pipelinegen.console import Console, clean
from pipelinegen.deploy import health
from pipelinegen.deploy.activation import Applied
from pipelinegen.deploy.follow import REACH_TIMEOUT, Followed
from pipelinegen.deploy.report import ProbeResult, UnitChanges
from pipelinegen.deploy.settling import settled
from pipelinegen.deploy.ssh import Target
from pipelinegen.deploy.state import HostState, read_state
from pipelinegen.deploy.supervisor import Order, Status
from pipelinegen.deploy.verdict import NEEDS_REBOOT, UNITS_FAILED, Verdict, judge
from pipelinegen.errors import DeployOutcome, InterruptedRunError


@dataclass
class Judgement:
    """What we think of a new system that runs and waits for our word.

    Attributes:
        failed, tolerated: newly failed units, and what is no failure by the configuration.
        probes: those that were asked.
        units: what the switch said of units; those of a way back are not among them.
        faults: what is wrong, by what the configuration calls it, one sentence each.
        blind: whether the host could not be asked what there is to judge.
    """

    failed: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()
    probes: tuple[ProbeResult, ...] = ()
    units: UnitChanges | None = None
    faults: dict[Trigger, str] = dataclasses.field(default_factory=dict)
    blind: bool = False


class SupervisedActivation:
    """Drives the supervisor on the host; an `activation.Activation`.

    Args:
        target: the host.
        host: its settings.
        console: where people read along; its clock counts.
        action: `switch`, or `test` and `boot` as switch-to-configuration means them.
        revision: the commit that the system was made of.
        no_check: let NixOS's own checks before a switch be.
        limit: seconds that all of it may take until it must have been confirmed.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        target: Target,
        host: HostConfig,
        console: Console,
        *,
        action: Literal["switch", "test", "boot"] = "switch",
        revision: str | None = None,
        no_check: bool = False,
        limit: float = 1800,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target
        self._host = host
        self._console = console
        self._action = action
        self._revision = revision
        self._no_check = no_check
        self._limit = limit
        self._sleep = sleep
        self._activation_seconds = _whole(host.activation_timeout)
        self._confirm_seconds = _whole(host.confirm_timeout)

    def apply(self, system: str, before: HostState) -> Applied:
        """See `Activation.apply`."""
        order = Order(
            action=self._action,
            system=system,
            previous=before.running or "",
            previous_profile=before.profile,
            activation_seconds=self._activation_seconds,
            confirm_seconds=self._confirm_seconds,
            limit_seconds=max(int(self._limit), self._confirm_seconds),
            revision=self._revision,
            log_folder=self._host.log_folder,
            no_check=self._no_check,
        )
        applied = self._carry_out(order, before)
        if self._action == "switch" and applied.exit_code == NEEDS_REBOOT and applied.outcome is DeployOutcome.FAILED:
            return self._at_next_boot(order, before, applied)
        return applied

    def restore(self, bad: str, to: HostState, why: str) -> Applied:
        """Make what ran and booted before run and boot again, after `bad` had been confirmed.

        Args:
            bad: store path of the system that is given up; where another one runs by now, nothing is done.
            to: what ran and booted before.
            why: the reason, for the report.
        """
        order = Order(
            action="restore",
            system=to.running or "",
            previous=bad,
            previous_profile=to.profile,
            activation_seconds=self._activation_seconds,
            confirm_seconds=self._confirm_seconds,
            limit_seconds=max(int(self._limit), self._confirm_seconds),
            log_folder=self._host.log_folder,
            no_check=self._no_check,
        )
        applied = self._carry_out(order, to)
        because = "; ".join(part for part in (why, applied.why) if part)
        if applied.outcome in {DeployOutcome.LOCKED, DeployOutcome.FAILED}:
            message = "the new system was confirmed and proved bad, but could not be taken back"
            return dataclasses.replace(applied, outcome=DeployOutcome.ROLLBACK_FAILED, message=message, why=because)
        return dataclasses.replace(applied, why=because)

    def _at_next_boot(self, order: Order, before: HostState, refused: Applied) -> Applied:
        """NixOS says that only a boot leads to this system: then the next one does."""
        self._console.say("the new system cannot be switched to while the old one runs; the next boot takes it")
        applied = self._carry_out(dataclasses.replace(order, action="boot"), before)
        if applied.outcome is not None:
            return applied
        message = "the new system needs a reboot; the next boot takes it"
        return dataclasses.replace(
            applied, outcome=DeployOutcome.REBOOT_REQUIRED, message=message, exit_code=refused.exit_code
        )

    def _carry_out(self, order: Order, before: HostState) -> Applied:
        with self._told_when_interrupted(order) as run:
            if order.action == "restore":
                run.use_away()
            status = run.start(order) or run.follow()
            judgement = Judgement()
            if status.phase == "waiting" and not status.over:
                judgement = self._judge(run, before, status)
                status = self._decide(run, judgement)
            if run.silent and self._settled(run) is not None:
                # It is back after all, and has gone on meanwhile.
                run.silent = False
                status = run.follow(waiting=False)
            # Booted between the profile and the boot loader: they name different systems now.
            torn = status.phase == "committing" and not run.silent
            if torn or (not status.over and not run.silent and order.action in {"switch", "test"}):
                status = self._rescue(order, before, run, status)
            after = self._settled(run)
        failed, _ = self._failed_units(before, after, run, None)
        verdict = judge(order, status, before, after, failed)
        if after is not None and status.over:
            run.clean_up()
        return self._applied(verdict, status, judgement, after, run)

    def _applied(
        self, verdict: Verdict, status: Status, judgement: Judgement, after: HostState | None, run: Followed
    ) -> Applied:
        outcome, message, why = verdict.outcome, verdict.message, verdict.why
        if outcome is None and judgement.faults:
            # What is to be undone was undone by now.
            outcome, message = DeployOutcome.FAILED, "the new system runs, but it is not healthy"
            why = "; ".join(judgement.faults.values())
        elif outcome is None and judgement.tolerated and self._host.fail_on_warnings:
            outcome, message = DeployOutcome.WARNINGS, "the new system runs, with warnings"
            why = "; ".join(judgement.tolerated)
        return Applied(
            outcome=outcome,
            message=message,
            why=why,
            hint=verdict.hint,
            exit_code=status.activation_exit,
            newly_failed=judgement.failed,
            tolerated=judgement.tolerated,
            state=after,
            units=judgement.units or run.journal.units,
            health=judgement.probes,
            log=tuple(run.journal.log),
            log_file=status.log_file,
            activation=run.supervisor.unit,
        )

    def _judge(self, run: Followed, before: HostState, status: Status) -> Judgement:
        """Look at the new system over fresh connections; each of them is a sign of life."""
        run.use_away()
        self._console.say("the new system runs; looking at it before it is confirmed")
        judgement = Judgement()
        after = self._settled(run, renew=True)
        if after is None:
            return Judgement(blind=True)
        judgement.failed, judgement.tolerated = self._failed_units(before, after, run, status)
        judgement.units = run.journal.units
        if judgement.failed:
            judgement.faults["units"] = f"newly failed: {', '.join(judgement.failed)}"
            run.show_units(judgement.failed)
        elif status.activation_exit == UNITS_FAILED and not run.journal.units.failed:
            # A user's activation, or a log that did not reach us.
            judgement.faults["units"] = f"switch-to-configuration ended with {UNITS_FAILED} and named no unit"
        if not (judgement.faults.keys() & set(self._host.rollback_on)):
            judgement.probes = health.ask_all(
                self._host.health, run.supervisor.target, self._console, renew=run.renew, sleep=self._sleep
            )
            bad = [f"{probe.title}: {probe.said}" for probe in judgement.probes if not probe.passed]
            if bad:
                judgement.faults["health"] = f"not healthy: {'; '.join(bad)}"
        return judgement

    def _failed_units(
        self, before: HostState, after: HostState | None, run: Followed, status: Status | None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Newly failed units, and sentences about those that may fail."""
        now = set(after.failed) if after else set()
        if status is not None and status.activation_exit == UNITS_FAILED:
            # A unit that failed and is started again and again is not always found failed.
            now |= set(run.journal.units.failed)
        failed, tolerated = health.newly_failed(before.failed, tuple(sorted(now)), self._host.ignore_units)
        sentences = [f"{unit} failed, which may" for unit in tolerated]
        if status is not None and status.activation_exit == UNITS_FAILED:
            again = sorted(set(run.journal.units.failed) & set(before.failed))
            sentences += [f"{unit} failed again; it had failed before" for unit in again]
        return tuple(failed), tuple(sentences)

    def _decide(self, run: Followed, judgement: Judgement) -> Status:
        """Tell the host, and follow it to the end."""
        undo = [words for trigger, words in judgement.faults.items() if trigger in self._host.rollback_on]
        if judgement.blind:
            # It undoes it by itself, unless it can be reached again just now: nothing is confirmed unseen.
            undo = [f"it did not say what it runs for {self._confirm_seconds} s"]
        for words in judgement.faults.values():
            self._console.write(self._console.style(clean(words, colour=False), "red") + "\n")
        run.decide("undo" if undo else "confirm", "; ".join(undo))
        return run.follow(waiting=False)

    def _rescue(self, order: Order, before: HostState, run: Followed, status: Status) -> Status:
        """Somebody, or a boot, ended the supervisor half-way: another one brings back what ran and booted."""
        state = self._settled(run)
        if state is None or (status.rebooted and state.runs(order.system)):
            return status
        how = "the host was booted" if status.rebooted else "the supervisor was ended from outside"
        self._console.warn(f"{how} ({run.supervisor.unit}); bringing back {before.running}")
        back = dataclasses.replace(order, action="restore", system=order.previous, previous=state.running or "")
        rescuer = self._followed()
        ended = rescuer.start(back) or rescuer.follow()
        if ended.result not in {"restored", "restore-failed"}:
            return status  # the host says what there is
        rescuer.clean_up()
        reason = f"{how} (phase: {status.phase or 'not begun'})"
        return ended.model_copy(update={"reason": reason, "activation_exit": status.activation_exit})

    def _settled(self, run: Followed, *, renew: bool = False) -> HostState | None:
        """What the host runs once it has come to rest, with `renew` under signs of life; null when it is silent."""

        def ask() -> HostState:
            if renew:
                run.renew()
            return read_state(run.supervisor.target, on_idle=run.renew if renew else None)

        return settled(
            ask,
            self._console,
            settle=durations.seconds(self._host.settle) or 0,
            patience=self._confirm_seconds if renew else REACH_TIMEOUT,
            sleep=self._sleep,
            lost=(lambda: None) if renew else run.try_other,
        )

    def _followed(self) -> Followed:
        patience = 2 * self._activation_seconds + self._confirm_seconds + REACH_TIMEOUT
        return Followed(self._target, self._console, self._sleep, patience, away=self._host.confirm_address)

    @contextlib.contextmanager
    def _told_when_interrupted(self, order: Order) -> Iterator[Followed]:
        run = self._followed()
        run.renew_every = max(self._confirm_seconds / 4, 1.0)
        try:
            yield run
        except InterruptedRunError:
            unit = run.supervisor.unit
            then = "it goes on by itself"
            if order.action in {"switch", "test"} and not run.confirmed:
                then = f"without our word it returns to {order.previous} within {self._confirm_seconds} s"
            self._console.warn(f"interrupted: {self._target.address} is on its own now, and {then} (unit {unit})")
            raise


def _whole(text: str) -> int:
    return max(int(durations.seconds(text) or 0), 1)
