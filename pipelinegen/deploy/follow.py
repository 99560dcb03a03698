"""Following a supervisor over connections that come and go."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from pipelinegen.console import Console, clean
from pipelinegen.deploy.journal import Journal
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.supervisor import Order, Status, Supervisor
from pipelinegen.errors import CommandError
from pipelinegen.run.heartbeat import Heartbeat, duration

REACH_TIMEOUT = 90.0
"""Seconds to try again when the host does not answer, beyond what it may be busy with."""
PAUSE = 1.0
SHOWN_UNITS = 5
GONE = 3
"""Looks at a unit that is not there and has not said how it ended, until that is believed."""

_WHY_FAILED = """\
systemctl status --no-pager --full --lines=15 -- "$1" 2>&1 | head -c 16384 || true
"""


class Followed:
    """One supervisor, followed: its journal is shown, and silence is borne.

    Args:
        target: the host.
        console: where people read along; its clock counts.
        sleep: waits for seconds.
        patience: seconds of silence that are borne.
        away: another address, by which the host is reached where the new system runs.

    Attributes:
        silent: whether the host has been silent for longer than that.
        confirmed: whether it was told that all is well.
        renew_every: seconds between two signs of life.
    """

    def __init__(
        self,
        target: Target,
        console: Console,
        sleep: Callable[[float], None],
        patience: float,
        *,
        away: str | None = None,
    ) -> None:
        self.supervisor = Supervisor(target)
        self.journal = Journal(target, f"{self.supervisor.unit}.service", console)
        self.silent = self.confirmed = False
        self.renew_every = 5.0
        self._home = target
        self._away: Target | None = None
        if away is not None:
            self._away = dataclasses.replace(target, address=away.removeprefix("[").removesuffix("]"))
        self._console = console
        self._sleep = sleep
        self._patience = patience
        self._heard = self._renewed = self._begun = console.clock()
        self._connected = True
        self._heartbeat = Heartbeat(console, lambda: f"still activating ({duration(console.clock() - self._begun)})")

    def use_away(self) -> None:
        """Reach the host as one does where the new system runs."""
        if self._away is not None:
            self._turn(self._away)

    def try_other(self) -> None:
        """Reach the host by its other address, where it has one: it does not answer by this one."""
        if self._away is not None:
            self._turn(self._home if self.supervisor.target is self._away else self._away)

    def start(self, order: Order) -> Status | None:
        """Start it; null where it runs now, else how it ended before it began."""
        while True:
            try:
                self.supervisor.start(order)
            except UnreachableError as error:
                # It may have begun all the same: only the host can tell.
                if self._lost(error):
                    return Status()
            except CommandError as error:
                if not self._connected:
                    # It may run since the time before, and have taken away what we ask through.
                    if self._lost(error):
                        return Status()
                    continue
                said = [clean(line, colour=False) for line in error.stderr_tail]
                why = "\n".join([error.message, *said[-3:]])
                return Status(phase="ended", result="refused", reason=why)
            else:
                return None

    def follow(self, *, waiting: bool = True) -> Status:
        """Its last word; with `waiting` also the one with which it waits for us."""
        gone, last = 0, Status()
        while True:
            try:
                status = self.supervisor.status()
            except (UnreachableError, CommandError) as error:
                # An activation may take away what we ask through (sudo, systemd's bus), for a while or for good.
                if self._lost(error):
                    return last
                continue
            self._found()
            last = status
            done = status.over or (waiting and status.phase == "waiting")
            self._read(last=done, renew=done and not status.over)
            if done:
                return status
            gone = 0 if status.active else gone + 1
            if gone >= GONE:
                return status
            self._heartbeat.tick()
            self._sleep(PAUSE)

    def show_units(self, units: Sequence[str]) -> None:
        """Show why units failed: whoever reads the log need not log in there."""
        for unit in units[:SHOWN_UNITS]:
            self.renew()
            with contextlib.suppress(UnreachableError, CommandError):
                said = self.supervisor.target.run(_WHY_FAILED, unit.split(" ")[0], root=True, timeout=20).text
                for line in said.splitlines():
                    self._console.foreign(line, "  | ")

    def renew(self) -> None:
        """Give a sign of life if it is time; that it does not arrive is seen elsewhere."""
        now = self._console.clock()
        if now - self._renewed < self.renew_every:
            return
        self._renewed = now
        try:
            self.supervisor.sign_of_life()
        except (UnreachableError, CommandError) as error:
            self._console.warn(f"no sign of life arrives: {clean(error.message, colour=False)}")

    def decide(self, decision: Literal["confirm", "undo"], reason: str) -> None:
        """Tell the host what is to become of the new system, as long as it can be reached."""
        # Whatever was done meanwhile, it was not silence.
        self._heard = started = self._console.clock()
        while self._console.clock() - started < self._patience:
            try:
                self.confirmed = decision == "confirm"  # also where the answer does not arrive
                stands = self.supervisor.decide(decision, reason)
            except CommandError:
                return  # it has made an end already, and cleaned up
            except UnreachableError as error:
                if self._lost(error):
                    return
            else:
                if stands.split(" ")[0] != decision:
                    self._console.warn(f"the host has decided before us: {clean(stands, colour=False)}")
                return

    def clean_up(self) -> None:
        """Remove what it left; that this fails changes nothing."""
        try:
            self.supervisor.clean_up()
        except (UnreachableError, CommandError) as error:
            self._console.warn(f"on {self._home.address}: {error.message}")

    def _read(self, *, last: bool, renew: bool) -> None:
        """The log is for people: that it cannot be read, or only slowly, decides nothing."""
        with contextlib.suppress(CommandError, UnreachableError):
            self.journal.read(self.renew if renew else None, last=last)

    def _found(self) -> None:
        self._heard = self._console.clock()
        if not self._connected:
            self._console.say("the connection is back")
            self._connected = True

    def _lost(self, error: UnreachableError | CommandError) -> bool:
        """There is no connection just now; whether that has been so for too long."""
        why = error.why or "\n".join([error.message, *getattr(error, "stderr_tail", ())[-3:]])
        if self._connected:
            self._console.warn(
                f"no connection to {self.supervisor.target.address}; the host goes on by itself "
                f"({clean(why.splitlines()[0] if why else '', colour=False)})"
            )
            self._heartbeat.spoke()
        self._connected = False
        self._heartbeat.tick()
        self.try_other()
        if self._console.clock() - self._heard > self._patience:
            self.silent = True
            return True
        self._sleep(PAUSE)
        return False

    def _turn(self, target: Target) -> None:
        self.supervisor.target = self.journal.target = target
