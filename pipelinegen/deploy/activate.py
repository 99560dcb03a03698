"""Making a system the running one on a host, and the previous one again when that fails.

`Activation` is the seam: `SimpleActivation` is driven from here, step by step; one that a supervisor on the
host drives can take its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelinegen.console import Console
from pipelinegen.deploy import switch
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.state import PROFILE, HostState, read_state
from pipelinegen.deploy.switch import Ended, Switcher
from pipelinegen.errors import CommandError, DeployOutcome

REACH_TIMEOUT = 60.0
"""Seconds to try again when the host does not answer after a switch."""
SETTLE_SECONDS = 3.0
"""Seconds that services have to fail after the switch said that all is well."""
SETTLE_TIMEOUT = 30.0
"""Seconds to wait at most until systemd has no more jobs."""

_DROP_PROFILE = f"rm -f {PROFILE}"


@dataclass(frozen=True)
class Applied:
    """How a change ended.

    Attributes:
        outcome: null when the host runs the new system and no unit newly failed.
        message, why, hint: of a change that did not end well.
        exit_code: of the new system's switch-to-configuration; null when it is not known.
        newly_failed: units that had not failed before.
        state: what the host runs in the end, as far as it could be asked.
        log: the last lines that the switch printed.
    """

    outcome: DeployOutcome | None = None
    message: str | None = None
    why: str | None = None
    hint: str | None = None
    exit_code: int | None = None
    newly_failed: tuple[str, ...] = ()
    state: HostState | None = None
    log: tuple[str, ...] = ()


class Activation(Protocol):
    """Makes a system the running one; leaves the previous one where that fails."""

    def apply(self, system: str, before: HostState) -> Applied:
        """Switch the host to `system`, which is in its store and rooted; judge; restore when it is bad.

        Args:
            system: store path of the new system.
            before: what the host ran when we came.

        Raises:
            InterruptedRunError: a signal arrived; what was begun goes on by itself on the host.
        """
        ...


class SimpleActivation:
    """Drives the switch and, where needed, the way back over SSH; each runs as a transient unit.

    Args:
        target: the host.
        console: where people read along; its clock counts.
        timeout: seconds a switch may take.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        target: Target,
        console: Console,
        *,
        timeout: float = switch.TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target
        self._console = console
        self._sleep = sleep
        self._switcher = Switcher(target, console, timeout=timeout, sleep=sleep)

    def apply(self, system: str, before: HostState) -> Applied:
        """See `Activation.apply`."""
        ended = self._switcher.run("switch", system, profile=system)
        if ended.exit_code == switch.NEEDS_REBOOT:
            message = "the new system needs a reboot; the next boot takes it"
            return Applied(DeployOutcome.REBOOT_REQUIRED, message, exit_code=ended.exit_code, log=ended.log)
        after = None if ended.unreachable else self._read_settled()
        if after is None:
            return self._unknown(ended)
        newly_failed = tuple(sorted(set(after.failed) - set(before.failed)))
        if after.runs(system) and not newly_failed and _went_well(ended, before):
            return _good(ended, after)
        bad = _Bad(ended, _why_bad(system, ended, after, newly_failed), newly_failed)
        self._console.write(self._console.style(f"the activation failed: {bad.why}", "red") + "\n")
        return self._undo(before, after, bad)

    def _undo(self, before: HostState, after: HostState, bad: _Bad) -> Applied:
        if not bad.ended.began and bad.ended.exit_code == switch.LOCKED:
            # Whatever the host runs by now, the other one made it so.
            return bad.applied(DeployOutcome.LOCKED, "another switch is going on there; nothing was changed", after)
        if not bad.ended.began and (after.running, after.profile) == (before.running, before.profile):
            return bad.applied(DeployOutcome.FAILED, "the switch could not be started; nothing was changed", after)
        if bad.ended.exit_code == switch.LOCKED and after.running == before.running:
            return self._restore_profile(before, bad)
        return self._restore(before, bad)

    def _restore(self, before: HostState, bad: _Bad) -> Applied:
        """Bring back exactly what ran before: not "one generation down", which may be something else."""
        if before.running is None:
            return bad.applied(DeployOutcome.ROLLBACK_FAILED, "the activation failed, and no system ran before it")
        self._console.say(f"restoring {before.running}")
        same = before.running == before.profile
        back = self._switcher.run("switch" if same else "test", before.running, profile=before.profile)
        if not same:
            self._restore_boot(before.profile)
        state = self._read_settled()
        if state is None:
            return bad.applied(
                DeployOutcome.STATE_UNKNOWN if back.unreachable else DeployOutcome.ROLLED_BACK_UNHEALTHY,
                "the activation failed, and the host does not answer after the previous system was restored",
            )
        if (state.running, state.profile) != (before.running, before.profile):
            message = "the activation failed, and the previous system is not back"
            return bad.applied(DeployOutcome.ROLLBACK_FAILED, message, state)
        still_failed = sorted(set(state.failed) - set(before.failed))
        if still_failed or not _went_well(back, before):
            but = f"{', '.join(still_failed)} failed" if still_failed else "switching back to it did not go well"
            message = f"the activation failed; the previous system is back, but {but}"
            return bad.applied(DeployOutcome.ROLLED_BACK_UNHEALTHY, message, state)
        return bad.applied(DeployOutcome.ROLLED_BACK, "the activation failed; the previous system is back", state)

    def _restore_boot(self, profile: str | None) -> None:
        """The next boot took another system than the running one: its own script installs it again."""
        if profile is not None:
            self._switcher.run("boot", profile, profile=None)
            return
        try:
            self._target.run(_DROP_PROFILE, root=True)
        except (UnreachableError, CommandError) as error:
            self._console.warn(f"the profile could not be removed again: {error.message}")

    def _restore_profile(self, before: HostState, bad: _Bad) -> Applied:
        """Another switch was going on: ours changed at most what the next boot takes."""
        if before.profile is not None:
            self._switcher.run("none", before.profile, profile=before.profile)
        else:
            self._restore_boot(None)
        state = self._read_settled()
        if state is None or state.profile != before.profile:
            message = "another switch is going on there, and the next boot's system is not back"
            return bad.applied(DeployOutcome.ROLLBACK_FAILED, message, state)
        return bad.applied(DeployOutcome.LOCKED, "another switch is going on there; nothing was changed", state)

    def _unknown(self, ended: Ended) -> Applied:
        return Applied(
            DeployOutcome.STATE_UNKNOWN,
            f"{self._target.address} does not answer; what it runs is not known",
            why=ended.why or "the connection was lost during or after the switch",
            hint="the switch goes on by itself there; look at `readlink -f /run/current-system`",
            exit_code=ended.exit_code,
            log=ended.log,
        )

    def _read_settled(self) -> HostState | None:
        """What the host runs once systemd has come to rest; null when it does not answer for long."""
        started = self._console.clock()
        while True:
            waited = self._console.clock() - started
            try:
                state = read_state(self._target)
            except (UnreachableError, CommandError):
                if waited > REACH_TIMEOUT:
                    return None
                self._sleep(2.0)
                continue
            if (state.pending == 0 and waited >= SETTLE_SECONDS) or waited > SETTLE_TIMEOUT:
                return state
            self._sleep(1.0)


@dataclass(frozen=True)
class _Bad:
    """A switch that must be undone, and why."""

    ended: Ended
    why: str
    newly_failed: tuple[str, ...]

    def applied(self, outcome: DeployOutcome, message: str, state: HostState | None = None) -> Applied:
        """What it came to."""
        return Applied(
            outcome,
            message,
            self.why,
            exit_code=self.ended.exit_code,
            newly_failed=self.newly_failed,
            state=state,
            log=self.ended.log,
        )


def _good(ended: Ended, after: HostState) -> Applied:
    if ended.exit_code == 0:
        return Applied(exit_code=0, state=after, log=ended.log)
    return Applied(
        DeployOutcome.WARNINGS,
        "the new system runs; units that had failed before failed again",
        why=", ".join(after.failed),
        exit_code=ended.exit_code,
        state=after,
        log=ended.log,
    )


def _went_well(ended: Ended, before: HostState) -> bool:
    """Whether a switch did what it was to; units that had failed before do not count."""
    return ended.exit_code == 0 or (
        ended.exit_code == switch.UNITS_FAILED and only_known(ended.failed_units, before.failed)
    )


def only_known(named: Sequence[str], failed_before: Sequence[str]) -> bool:
    """Whether the switch named failed units, and none that had not failed before."""
    return bool(named) and set(named) <= set(failed_before)


def _why_bad(system: str, ended: Ended, after: HostState, newly_failed: tuple[str, ...]) -> str:
    reasons = []
    if ended.why is not None:
        reasons.append(ended.why)
    elif ended.exit_code:
        reasons.append(f"switch-to-configuration ended with {ended.exit_code}")
    if newly_failed:
        reasons.append(f"newly failed: {', '.join(newly_failed)}")
    if after.running != system:
        reasons.append(f"it runs {after.running}")
    if after.profile != system:
        reasons.append(f"its next boot takes {after.profile}")
    return "; ".join(reasons)
