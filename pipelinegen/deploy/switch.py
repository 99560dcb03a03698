"""Running a system's own switch-to-configuration on a host, so that it survives the connection.

It runs as a transient systemd unit that writes its log and its exit code to files; we come back for them
with a new connection each time. The host's shell is never at the other end of a pipe: a switch that prints
into a broken one dies half-way.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipelinegen.console import Console, clean, plain
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.state import PROFILE, RUNTIME, SYSTEM_LOCK
from pipelinegen.errors import CommandError, InterruptedRunError
from pipelinegen.run.heartbeat import Heartbeat, duration

TIMEOUT = 240.0
"""Seconds a switch may take."""
LOG_LINES = 50
CHUNK = 65536

LOCKED = 11
UNITS_FAILED = 4
NEEDS_REBOOT = 100

Action = Literal["switch", "test", "boot", "none"]
"""As switch-to-configuration's; `none` sets the profile and switches nothing."""

_UNIT = f"""\
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
if command -v flock > /dev/null; then
  if ! flock -n 9; then finish busy; fi
  # Not only the pre-flight: the profile must stay as whoever switches now has set it.
  if [ -e {SYSTEM_LOCK} ] && ! flock -n {SYSTEM_LOCK} true 9>&-; then finish busy; fi
fi
if [ -n "$profile" ] && ! nix-env --profile {PROFILE} --set "$profile" 9>&-; then finish unset; fi
if [ "$action" = none ]; then finish 0; fi
"$system/bin/switch-to-configuration" "$action" 9>&-
finish $?
"""
"""Ends with an exit code, or with a word of `_NOT_BEGUN` where nothing was changed."""

_START = f"""\
umask 077
unit=$1 action=$2 system=$3 profile=$4 script=$5
folder={RUNTIME}/$unit
mkdir -p {RUNTIME}
# After a lost connection this is tried again; it must not begin twice.
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
if [ -e "$folder/log" ]; then tail -c "+$offset" "$folder/log" | head -c {CHUNK}; fi
"""

_NOT_BEGUN = {
    "busy": (LOCKED, "another deployment or switch is going on there"),
    "unset": (None, "the profile could not be set"),
}

_FAILED_UNITS = re.compile(r"the following units failed:\s*(.+)")

_STOP = 'systemctl stop "$1"'
_CLEAN_UP = f'rm -rf "{RUNTIME}/$1"'


@dataclass(frozen=True)
class Ended:
    """How a switch ended.

    Attributes:
        exit_code: of switch-to-configuration; null when it is not known.
        why: why it is not known.
        unreachable: whether the host did not answer any more.
        began: false when it certainly did not begin.
        log: its last lines, cleaned.
        failed_units: units that the switch said had failed, wherever in its log; sorted.
    """

    exit_code: int | None
    why: str | None = None
    unreachable: bool = False
    began: bool = True
    log: tuple[str, ...] = ()
    failed_units: tuple[str, ...] = ()


class Switcher:
    """Runs switches on one host.

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
        timeout: float = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target
        self._console = console
        self._timeout = timeout
        self._sleep = sleep

    def run(self, action: Action, system: str, *, profile: str | None) -> Ended:
        """Run it and follow it to its end.

        Args:
            action: what to ask `system`'s switch-to-configuration for.
            system: store path.
            profile: what the next boot is to take from now on, set first; null leaves it alone.

        Raises:
            InterruptedRunError: a signal arrived; what was begun goes on by itself.
        """
        following = _Following(self._console, self._timeout, f"pipelinegen-switch-{secrets.token_hex(4)}")
        try:
            ended = self._start(following, action, system, profile or "")
            return ended or self._follow(following)
        except InterruptedRunError:
            self._console.warn(
                f"interrupted: what was begun on {self._target.address} goes on by itself "
                f"(unit {following.unit}, log {RUNTIME}/{following.unit}/log)"
            )
            raise

    def _start(self, following: _Following, action: Action, system: str, profile: str) -> Ended | None:
        """Start it; how it ended where it did not begin."""
        while True:
            try:
                self._target.run(_START, following.unit, action, system, profile, _UNIT, root=True)
            except UnreachableError as error:
                # It may have begun all the same: only the host can tell.
                if following.late:
                    return Ended(None, why=error.why, unreachable=True)
                following.lost(self._target, error.why)
                self._sleep(2.0)
            except CommandError as error:
                said = [clean(line, colour=False) for line in error.stderr_tail]
                return Ended(None, why="\n".join([error.message, *said[-3:]]), began=False)
            else:
                return None

    def _follow(self, following: _Following) -> Ended:
        gone = 0
        while True:
            try:
                offset = str(following.reader.offset)
                output = self._target.run(_POLL, following.unit, offset, root=True, timeout=30).stdout
            except (UnreachableError, CommandError) as error:
                # A switch may take away what we ask through (sudo, systemd's bus), for a while or for good.
                why = error.why or "\n".join([error.message, *getattr(error, "stderr_tail", ())[-3:]])
                if following.late:
                    return following.ended(None, why=plain(why), unreachable=True)
                following.lost(self._target, why)
                self._sleep(2.0)
                continue
            state, more = following.take(output)
            if more:
                continue
            if state.startswith("done "):
                self._quietly(_CLEAN_UP, following.unit)
                return following.finished(state.removeprefix("done "))
            # A unit that was started a moment ago may not be there yet.
            gone = gone + 1 if state == "gone" else 0
            if gone >= 3:
                return following.ended(None, why="the switch was ended from outside")
            if following.late:
                self._quietly(_STOP, following.unit)
                return following.ended(None, why=f"the switch did not end within {duration(self._timeout)}")
            self._sleep(1.0)

    def _quietly(self, script: str, unit: str) -> None:
        try:
            self._target.run(script, unit, root=True)
        except (UnreachableError, CommandError) as error:
            self._console.warn(f"on {self._target.address}: {error.message}")


class _Following:
    """What is known of one switch while it runs."""

    def __init__(self, console: Console, timeout: float, unit: str) -> None:
        self.unit = unit
        self.reader = LogReader()
        self._console = console
        self._started = console.clock()
        self._timeout = timeout
        self._connected = True
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._failed_units: set[str] = set()
        self._heartbeat = Heartbeat(console, lambda: f"still switching ({duration(console.clock() - self._started)})")

    @property
    def late(self) -> bool:
        """Whether its time is up."""
        return self._console.clock() - self._started > self._timeout

    def lost(self, target: Target, why: str | None) -> None:
        """There is no connection just now."""
        if self._connected:
            because = f" ({clean(why, colour=False)})" if why else ""
            self._console.warn(f"no connection to {target.address}; the switch goes on there{because}")
            self._heartbeat.spoke()
        self._connected = False
        self._heartbeat.tick()

    def take(self, output: bytes) -> tuple[str, bool]:
        """Show what the host answered; its state, and whether there is more to be read at once."""
        if not self._connected:
            self._console.say("the connection is back")
            self._connected = True
        state, lines, more = self.reader.take(output)
        for line in lines:
            self._log.append(clean(line, colour=False))
            self._failed_units.update(units_named(line))
            self._console.foreign(line, "  ")
            self._heartbeat.spoke()
        self._heartbeat.tick()
        return state, more

    def finished(self, word: str) -> Ended:
        """How it ended by its own word: an exit code, or one of `_NOT_BEGUN`."""
        if word in _NOT_BEGUN:
            code, why = _NOT_BEGUN[word]
            return Ended(code, why=why, began=False, log=tuple(self._log))
        if not word.isdecimal():
            return self.ended(None, why="the host does not say how the switch ended; is /run full?")
        return self.ended(int(word))

    def ended(self, exit_code: int | None, *, why: str | None = None, unreachable: bool = False) -> Ended:
        """How it ended, with its log."""
        named = tuple(sorted(self._failed_units))
        return Ended(exit_code, why=why, unreachable=unreachable, log=tuple(self._log), failed_units=named)


def units_named(line: str) -> list[str]:
    """The units that a line of switch-to-configuration says have failed.

    The status of each follows it, which can be longer than the lines that are kept.
    """
    match = _FAILED_UNITS.search(clean(line, colour=False))
    return [unit for unit in re.split(r"[,\s]+", match[1].strip()) if unit] if match else []


class LogReader:
    """Takes the host's answers and gives whole lines of the log."""

    def __init__(self) -> None:
        self.offset = 1
        """Number of the first byte that was not read yet, as `tail -c` counts."""
        self._rest = b""

    def take(self, output: bytes) -> tuple[str, list[str], bool]:
        """The state, the new whole lines, and whether there may be more to be read at once."""
        head, _, chunk = output.partition(b"\n")
        self.offset += len(chunk)
        state = head.decode("ascii", "replace")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        more = len(chunk) >= CHUNK
        if state != "running" and not more and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return state, [line.decode("utf-8", "replace") for line in lines], more
