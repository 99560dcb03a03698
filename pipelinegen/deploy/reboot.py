"""Rebooting a host, and waiting until it is up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipelinegen.console import Console, clean
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.state import HostState, read_state
from pipelinegen.errors import CommandError, DeployOutcome, InterruptedRunError
from pipelinegen.run.heartbeat import Heartbeat, duration

SETTLE_TIMEOUT = 120.0
"""Seconds that a host may take from its first answer until systemd has come to rest."""
FIRST_TIMEOUT = 30.0
"""Seconds to try again where the host does not answer before it is rebooted."""
PAUSE = 2.0
"""Seconds between two questions."""

_RISEN = ("running", "degraded", "maintenance")
"""What `systemctl is-system-running` says of a host that has booted."""

UNIT = "pipelinegen-reboot"
"""Of systemd, on the host; one name, since there is nothing to reboot twice."""

_SCRIPT = """\
unit=$1 boot_id=$2
# After a lost connection this is asked again: neither of the host that came up meanwhile, nor twice of this one.
if [ "$(cat /proc/sys/kernel/random/boot_id)" != "$boot_id" ]; then exit 0; fi
if systemctl is-active --quiet "$unit.timer" "$unit.service"; then exit 0; fi
systemd-run --unit="$unit" --description="pipelinegen: reboot" --on-active=1 --timer-property=AccuracySec=100ms \\
  --collect --quiet --no-ask-password systemctl reboot
"""
"""The reboot begins when this has ended, so that its connection is not lost."""


@dataclass(frozen=True)
class Rebooted:
    """How a reboot ended.

    Attributes:
        outcome: null when the host was rebooted and runs the system that it was to run. Its units are for the
            caller to judge. FAILED: it was rebooted, and runs another system. REBOOT_REQUIRED: it was not
            rebooted. STATE_UNKNOWN: it does not answer.
        message, why, hint: of a reboot that did not end well.
        state: what the host runs since the reboot; null where it was not rebooted, or does not answer.
        settled: whether systemd had come to rest when that was asked.
        seconds: from the request to the end.
    """

    outcome: DeployOutcome | None = None
    message: str | None = None
    why: str | None = None
    hint: str | None = None
    state: HostState | None = None
    settled: bool = False
    seconds: float = 0.0


def reboot(
    target: Target,
    console: Console,
    *,
    expected: str,
    timeout: float,
    sleep: Callable[[float], None] = time.sleep,
    up: Target | None = None,
) -> Rebooted:
    """Reboot the host now and wait until it is up with the system that its boot loader was told.

    That no connection is possible meanwhile is no failure. A host counts as rebooted only when its boot id
    (proc(5), `/proc/sys/kernel/random/boot_id`) is another one than before.

    Args:
        target: the host; root, or a user with password-free sudo.
        console: where people read along; its clock counts.
        expected: store path of the system that must run then.
        timeout: seconds from the request until the host has come to rest.
        sleep: waits for seconds.
        up: how the host is reached afterwards, where the system moves it.

    Raises:
        InterruptedRunError: a signal arrived; a reboot that was begun goes on by itself.
    """
    return _Reboot(target, up or target, console, expected, timeout, sleep).run()


class _Reboot:
    """One reboot on its way."""

    def __init__(
        self,
        target: Target,
        up: Target,
        console: Console,
        expected: str,
        timeout: float,
        sleep: Callable[[float], None],
    ) -> None:
        self._target = target
        self._up = up
        self._console = console
        self._expected = expected
        self._timeout = timeout
        self._sleep = sleep
        self._started = console.clock()
        self._doing = "rebooting"
        self._heartbeat = Heartbeat(console, lambda: f"still {self._doing} ({duration(self._spent)})")
        self._why: str | None = None

    @property
    def _spent(self) -> float:
        return self._console.clock() - self._started

    def run(self) -> Rebooted:
        before = self._first()
        if before is None or not before.boot_id:
            message = "the host was not rebooted: it cannot be asked for its boot id"
            return self._ended(DeployOutcome.REBOOT_REQUIRED, message, hint=self._by_hand)
        self._console.say(f"rebooting {self._target.address}")
        try:
            return self._wait(before.boot_id)
        except InterruptedRunError:
            self._console.warn(f"interrupted: a reboot of {self._target.address} that was begun goes on by itself")
            raise

    def _first(self) -> HostState | None:
        """Its state before; a connection that is lost for a moment is no reason to give up."""
        while True:
            state = self._ask(self._target)
            if state is not None or self._spent >= min(FIRST_TIMEOUT, self._timeout):
                return state
            self._pause()

    @property
    def _by_hand(self) -> str:
        return "the next boot takes the new system: reboot it by hand, or deploy again with --action reboot"

    def _request(self, boot_id: str) -> Literal["asked", "lost", "refused"]:
        """Ask the host to reboot. After a lost connection only the host knows whether it begins."""
        try:
            self._target.run(_SCRIPT, UNIT, boot_id, root=True, timeout=self._bounded(60))
        except UnreachableError as error:
            self._why = error.why or error.message
            return "lost"
        except CommandError as error:
            said = [clean(line, colour=False) for line in error.stderr_tail]
            self._why = "\n".join([error.message, *said[-3:]])
            return "refused"
        return "asked"

    def _wait(self, boot_id: str) -> Rebooted:
        """Wait for another boot id, then for systemd to come to rest."""
        request = self._request(boot_id)
        if request == "refused":
            message = "the host was not rebooted: it cannot be asked to"
            return self._ended(DeployOutcome.REBOOT_REQUIRED, message, hint=self._by_hand)
        seen: HostState | None = None
        while self._spent < self._timeout:
            seen = self._ask(self._up)
            if seen is not None and seen.boot_id not in {"", boot_id}:
                self._console.say(f"{self._up.address} is up again ({duration(self._spent)})")
                return self._settle(seen)
            if seen is not None and request == "lost":
                request = self._request(boot_id)
            self._pause()
        within = f"within {duration(self._timeout)}"
        if seen is not None:
            return self._ended(
                DeployOutcome.REBOOT_REQUIRED,
                f"the host was not rebooted {within}: it still runs since the same boot",
                hint=f"`journalctl -u {UNIT}` and `systemctl list-jobs` there may tell what holds it up",
            )
        return self._ended(
            DeployOutcome.STATE_UNKNOWN,
            f"the host did not come back from its reboot {within}; what it runs is not known",
            hint="look at its console; the generation before is in its boot menu",
        )

    def _settle(self, state: HostState) -> Rebooted:
        """While it boots, what runs and which units failed may still change."""
        self._doing = "waiting for services to come up"
        began = self._console.clock()
        answers = True
        while not _rests(state) and self._spent < self._timeout and self._console.clock() - began < SETTLE_TIMEOUT:
            self._pause()
            now = self._ask(self._up)
            answers = now is not None
            # A host that reboots once more is judged by its last boot.
            state = now or state
        if not answers:
            return self._ended(
                DeployOutcome.STATE_UNKNOWN,
                "the host came back from its reboot, but does not answer any more; what it runs is not known",
                hint="look at its console; the generation before is in its boot menu",
            )
        settled = _rests(state)
        if not settled:
            self._console.warn(f"{self._up.address} has not come to rest: {state.pending} jobs wait, {state.state}")
        if state.running != self._expected:
            return self._ended(
                DeployOutcome.FAILED,
                f"the host was rebooted, but runs {state.running or 'no system'}",
                why=f"it was to run {self._expected}; its profile is {state.profile or 'empty'}",
                hint="its boot loader may have another default: look at its boot menu",
                state=state,
                settled=settled,
            )
        return self._ended(None, None, state=state, settled=settled)

    def _ask(self, target: Target) -> HostState | None:
        """What it runs; null while it does not answer."""
        try:
            state = read_state(target, timeout=self._bounded(20))
        except (UnreachableError, CommandError) as error:
            self._why = error.why or error.message
            return None
        self._why = None
        return state

    def _bounded(self, seconds: float) -> float:
        """What may be spent on one question."""
        return max(min(seconds, self._timeout - self._spent), 5.0)

    def _pause(self) -> None:
        self._heartbeat.tick()
        self._sleep(PAUSE)

    def _ended(
        self,
        outcome: DeployOutcome | None,
        message: str | None,
        *,
        why: str | None = None,
        hint: str | None = None,
        state: HostState | None = None,
        settled: bool = False,
    ) -> Rebooted:
        because = why or (self._why if outcome is not None else None)
        return Rebooted(outcome, message, because, hint, state, settled, self._spent)


def _rests(state: HostState) -> bool:
    return state.pending == 0 and state.state in _RISEN
