"""Making a system the running one on a host, and the previous one again when that fails.

`Activation` is the seam: `SimpleActivation` is driven from here, step by step; one that a supervisor on the
host drives can take its place.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from pipelinegen.console import Console, clean
from pipelinegen.errors import CommandError, DeployOutcome, InterruptedRunError
from pipelinegen.run.heartbeat import Heartbeat, duration
from pipelinegen.run.preflight import PROFILE, RUNTIME, HostState, read_state
from pipelinegen.run.ssh import Target, UnreachableError

TIMEOUT = 240.0
"""Seconds a switch may take."""
REACH_TIMEOUT = 60.0
"""Seconds to try again when the host does not answer after a switch."""
SETTLE_SECONDS = 3.0
"""Seconds that services have to fail after the switch said that all is well."""
SETTLE_TIMEOUT = 30.0
"""Seconds to wait at most until systemd has no more jobs."""
LOG_LINES = 50

SWITCH_LOCKED = 11
SWITCH_UNITS_FAILED = 4
SWITCH_NEEDS_REBOOT = 100

_UNIT = f"""\
# Runs on the host as a transient unit, thus also when the connection is lost.
PATH=/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
folder=$1 action=$2 system=$3 profile=$4
exec >> "$folder/log" 2>&1 < /dev/null
finish() {{
  printf '%s\\n' "$1" > "$folder/status.new"
  mv "$folder/status.new" "$folder/status"
  exit 0
}}
exec 9> {RUNTIME}/lock
if command -v flock > /dev/null && ! flock -n 9; then finish {SWITCH_LOCKED}; fi
if [ -n "$profile" ] && ! nix-env --profile {PROFILE} --set "$profile" 9>&-; then finish 1; fi
if [ "$action" = none ]; then finish 0; fi
"$system/bin/switch-to-configuration" "$action" 9>&-
finish $?
"""

_START = f"""\
umask 077
unit=$1 action=$2 system=$3 profile=$4 script=$5
folder={RUNTIME}/$unit
mkdir -p {RUNTIME}
# A second try after a lost connection must not start it twice.
mkdir "$folder" 2> /dev/null || exit 0
printf '%s' "$script" > "$folder/run"
systemd-run --unit="$unit" --description="pipelinegen: $action" --collect --no-ask-password --quiet \\
  --service-type=exec --setenv=LOCALE_ARCHIVE="${{LOCALE_ARCHIVE-}}" \\
  /bin/sh "$folder/run" "$folder" "$action" "$system" "$profile"
"""

_POLL = f"""\
unit=$1 offset=$2
folder={RUNTIME}/$unit
state=gone
if systemctl is-active --quiet "$unit"; then state=running; fi
# Looked at after the unit: one that ended in between has written it.
if [ -e "$folder/status" ]; then state="done $(cat "$folder/status")"; fi
printf '%s\\n' "$state"
if [ -e "$folder/log" ]; then tail -c "+$offset" "$folder/log" | head -c 65536; fi
"""

_STOP = 'systemctl stop "$1"'
_CLEAN_UP = f'if [ -e "{RUNTIME}/$1/status" ]; then rm -rf "{RUNTIME}/$1"; fi'
_DROP_PROFILE = f"rm -f {PROFILE}"

_FAILED_UNITS = re.compile(r"the following units failed:\s*(.+)")


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
        warnings: what a person should know.
    """

    outcome: DeployOutcome | None = None
    message: str | None = None
    why: str | None = None
    hint: str | None = None
    exit_code: int | None = None
    newly_failed: tuple[str, ...] = ()
    state: HostState | None = None
    log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class _Ended:
    """How a switch ended: its exit code, null when that is not known."""

    exit_code: int | None
    why: str | None = None
    unreachable: bool = False
    began: bool = True


@dataclass(frozen=True)
class _Bad:
    """A switch that must be undone, and why."""

    ended: _Ended
    why: str
    newly_failed: tuple[str, ...]
    log: tuple[str, ...]

    def applied(self, outcome: DeployOutcome, message: str, state: HostState | None = None) -> Applied:
        return Applied(
            outcome,
            message,
            self.why,
            exit_code=self.ended.exit_code,
            newly_failed=self.newly_failed,
            state=state,
            log=self.log,
        )


class SimpleActivation:
    """Drives the switch and, where needed, the way back over SSH; each runs as a transient unit.

    Args:
        target: the host.
        console: where people read along; its clock counts.
        timeout: seconds a switch may take.
        sleep: waits for seconds.
        new_name: makes the name of a transient unit.
    """

    def __init__(
        self,
        target: Target,
        console: Console,
        *,
        timeout: float = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
        new_name: Callable[[], str] = lambda: f"pipelinegen-switch-{secrets.token_hex(4)}",
    ) -> None:
        self._target = target
        self._console = console
        self._timeout = timeout
        self._sleep = sleep
        self._new_name = new_name
        self._log: deque[str] = deque(maxlen=LOG_LINES)

    def apply(self, system: str, before: HostState) -> Applied:
        """See `Activation.apply`."""
        self._log.clear()
        ended = self._switch("switch", system, profile=system)
        log = tuple(self._log)
        if ended.unreachable:
            return self._unknown(ended, log)
        if ended.exit_code == SWITCH_NEEDS_REBOOT:
            return Applied(
                DeployOutcome.REBOOT_REQUIRED,
                "the new system needs a reboot; the next boot takes it",
                exit_code=ended.exit_code,
                log=log,
            )
        after = self._read_settled()
        if after is None:
            return self._unknown(ended, log)
        newly_failed = tuple(sorted(set(after.failed) - set(before.failed)))
        if after.runs(system) and not newly_failed and self._went_well(ended, before):
            if ended.exit_code == 0:
                return Applied(exit_code=0, state=after, log=log)
            return Applied(
                DeployOutcome.WARNINGS,
                "the new system runs; units that had failed before failed again",
                why=", ".join(after.failed),
                exit_code=ended.exit_code,
                state=after,
                log=log,
            )
        bad = _Bad(ended, _why_bad(system, ended, after, newly_failed), newly_failed, log)
        self._console.write(self._console.style(f"the activation failed: {bad.why}", "red") + "\n")
        if not ended.began and (after.running, after.profile) == (before.running, before.profile):
            return bad.applied(DeployOutcome.FAILED, "the switch could not be started; nothing was changed", after)
        if ended.exit_code == SWITCH_LOCKED and after.running == before.running:
            return self._restore_profile(before, bad)
        return self._restore(before, bad)

    def _went_well(self, ended: _Ended, before: HostState) -> bool:
        """Whether a switch did what it was to; units that had failed before do not count."""
        known = ended.exit_code == SWITCH_UNITS_FAILED and only_known(self._log, before.failed)
        return ended.exit_code == 0 or known

    def _restore(self, before: HostState, bad: _Bad) -> Applied:
        """Bring back exactly what ran before: not "one generation down", which may be something else."""
        if before.running is None:
            return bad.applied(DeployOutcome.ROLLBACK_FAILED, "the activation failed, and no system ran before it")
        self._console.say(f"restoring {before.running}")
        self._log.clear()
        same = before.running == before.profile
        back = self._switch("switch" if same else "test", before.running, profile=before.profile or "")
        went_well = self._went_well(back, before)
        if not same:
            self._restore_boot(before.profile)
        state = self._read_settled()
        if state is None:
            return bad.applied(
                DeployOutcome.ROLLED_BACK_UNHEALTHY if went_well else DeployOutcome.STATE_UNKNOWN,
                "the activation failed, and the host does not answer after the previous system was restored",
            )
        if (state.running, state.profile) != (before.running, before.profile):
            message = "the activation failed, and the previous system is not back"
            return bad.applied(DeployOutcome.ROLLBACK_FAILED, message, state)
        still_failed = sorted(set(state.failed) - set(before.failed))
        if still_failed or not went_well:
            but = f"{', '.join(still_failed)} failed" if still_failed else "switching back to it did not go well"
            message = f"the activation failed; the previous system is back, but {but}"
            return bad.applied(DeployOutcome.ROLLED_BACK_UNHEALTHY, message, state)
        return bad.applied(DeployOutcome.ROLLED_BACK, "the activation failed; the previous system is back", state)

    def _restore_profile(self, before: HostState, bad: _Bad) -> Applied:
        """Another switch was going on: ours changed at most what the next boot takes."""
        if before.profile is not None:
            self._switch("none", before.profile, profile=before.profile)
        else:
            self._restore_boot(None)
        state = self._read_settled()
        if state is None or state.profile != before.profile:
            message = "another switch is going on there, and the next boot's system is not back"
            return bad.applied(DeployOutcome.ROLLBACK_FAILED, message, state)
        return bad.applied(DeployOutcome.LOCKED, "another switch is going on there; nothing was changed", state)

    def _restore_boot(self, profile: str | None) -> None:
        """The next boot took another system than the running one: its own script installs it again."""
        if profile is not None:
            self._switch("boot", profile, profile="")
            return
        try:
            self._target.run(_DROP_PROFILE, root=True)
        except (UnreachableError, CommandError) as error:
            self._console.warn(f"the profile could not be removed again: {error.message}")

    def _unknown(self, ended: _Ended, log: tuple[str, ...]) -> Applied:
        return Applied(
            DeployOutcome.STATE_UNKNOWN,
            f"{self._target.address} does not answer; what it runs is not known",
            why=ended.why or "the connection was lost during or after the switch",
            hint="the switch goes on by itself there; look at `readlink -f /run/current-system`",
            exit_code=ended.exit_code,
            log=log,
        )

    def _switch(self, action: Literal["switch", "test", "boot", "none"], system: str, *, profile: str) -> _Ended:
        """Run switch-to-configuration on the host and follow it to its end."""
        unit = self._new_name()
        try:
            try:
                self._target.run(_START, unit, action, system, profile, _UNIT, root=True)
            except UnreachableError:
                # It may have begun all the same; following it tells.
                self._console.warn("the connection was lost while the switch was started")
            except CommandError as error:
                said = [clean(line, colour=False) for line in error.stderr_tail]
                return _Ended(None, why="\n".join([error.message, *said[-3:]]), began=False)
            return self._follow(unit)
        except InterruptedRunError:
            self._console.warn(
                f"interrupted: the switch goes on by itself on {self._target.address} (unit {unit}, "
                f"log {RUNTIME}/{unit}/log)"
            )
            raise

    def _follow(self, unit: str) -> _Ended:
        started = self._console.clock()
        heartbeat = Heartbeat(self._console, lambda: f"still switching ({duration(self._console.clock() - started)})")
        reader = LogReader()
        lost: str | None = None
        while True:
            late = self._console.clock() - started > self._timeout
            try:
                output = self._target.run(_POLL, unit, str(reader.offset), root=True, timeout=30).stdout
            except UnreachableError as error:
                if late:
                    return _Ended(None, why=error.why, unreachable=True)
                if lost is None:
                    self._console.warn(f"no connection to {self._target.address}; the switch goes on there")
                lost = error.why
                self._sleep(2.0)
                continue
            if lost is not None:
                self._console.say("the connection is back")
                lost = None
            state, lines, more = reader.take(output)
            for line in lines:
                self._log.append(clean(line, colour=False))
                self._console.foreign(line, "  ")
                heartbeat.spoke()
            if more:
                continue
            if state.startswith("done"):
                self._quietly(_CLEAN_UP, unit)
                return _Ended(int(state.removeprefix("done ")))
            if state == "gone":
                return _Ended(None, why="the switch was ended from outside, or never began")
            if late:
                self._quietly(_STOP, unit)
                return _Ended(None, why=f"the switch did not end within {duration(self._timeout)}")
            heartbeat.tick()
            self._sleep(1.0)

    def _quietly(self, script: str, unit: str) -> None:
        try:
            self._target.run(script, unit, root=True)
        except (UnreachableError, CommandError) as error:
            self._console.warn(f"on {self._target.address}: {error.message}")

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


class LogReader:
    """Takes a log in pieces of bytes and gives whole lines."""

    def __init__(self) -> None:
        self.offset = 1
        self._rest = b""

    def take(self, output: bytes) -> tuple[str, list[str], bool]:
        """The state, the new whole lines, and whether there may be more to be read at once."""
        head, _, chunk = output.partition(b"\n")
        self.offset += len(chunk)
        state = head.decode("ascii", "replace")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        more = len(chunk) >= 65536
        if state != "running" and not more and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return state, [line.decode("utf-8", "replace") for line in lines], more


def only_known(log: deque[str], failed_before: tuple[str, ...]) -> bool:
    """Whether the switch named failed units, and none that had not failed before."""
    named = {
        unit for line in log for match in _FAILED_UNITS.findall(line) for unit in re.split(r"[,\s]+", match.strip())
    }
    return bool(named) and named <= set(failed_before)


def _why_bad(system: str, ended: _Ended, after: HostState, newly_failed: tuple[str, ...]) -> str:
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
