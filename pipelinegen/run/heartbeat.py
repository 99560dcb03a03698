"""A sign of life for long silences: GitLab ends a job that prints nothing for an hour."""

from __future__ import annotations

from collections.abc import Callable

from pipelinegen.console import Console, clean

INTERVAL = 30.0
"""Seconds of silence after which something is said."""


class Heartbeat:
    """Says what is going on when nothing else was said for a while.

    Args:
        console: where to say it; its clock counts.
        describe: what is going on right now, one line.
        interval: seconds.
    """

    def __init__(self, console: Console, describe: Callable[[], str], *, interval: float = INTERVAL) -> None:
        self._console = console
        self._describe = describe
        self._interval = interval
        self._spoke_at = console.clock()

    def spoke(self) -> None:
        """Something else was printed."""
        self._spoke_at = self._console.clock()

    def tick(self) -> None:
        """Say something if it is time; call this often."""
        if self._console.clock() - self._spoke_at >= self._interval:
            self._console.write(f"… {clean(self._describe(), colour=False)}\n")
            self.spoke()


class LineLog:
    """Shows a command's own lines as they come, with a heartbeat between them.

    Args:
        console: where to show them.
        what: what the command is doing, for the heartbeat: `copying to web1`.
        prefix: put before each line.
    """

    def __init__(self, console: Console, what: str, *, prefix: str = "  ") -> None:
        self.console = console
        self._prefix = prefix
        self._what = what
        self._started = console.clock()
        self._heartbeat = Heartbeat(console, self._describe)

    def line(self, line: str) -> None:
        """Take one line (`on_line`)."""
        self.console.foreign(line, self._prefix)
        self._heartbeat.spoke()

    def idle(self) -> None:
        """Nothing came (`on_idle`)."""
        self._heartbeat.tick()

    def _describe(self) -> str:
        return f"still {self._what} ({duration(self.console.clock() - self._started)})"


def duration(seconds: float) -> str:
    """`4.2 s`, `75 s`, `12 min`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
