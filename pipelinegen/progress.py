"""How far something is: on a terminal one line that changes, elsewhere a line now and then."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from pipelinegen.console import Console

QUIET_SECONDS = 1.0
"""What ends before that needs no progress."""
REDRAW_SECONDS = 0.1
LINE_SECONDS = 30.0
"""Seconds between lines in a log."""

_ERASE = "\r\x1b[K"


class Progress:
    """Says how much is done, inside a `with` block.

    Args:
        console: where to say it; its clock counts.
        what: what goes on: `evaluating`.
        unit: what is counted: `attributes`.
    """

    def __init__(self, console: Console, what: str, unit: str) -> None:
        self._console = console
        self._what = what
        self._unit = unit
        self._live = console.live
        self._started = console.clock()
        self._next = self._started + (QUIET_SECONDS if self._live else LINE_SECONDS)
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Make room for other lines."""
        if self._drawn:
            self._drawn = False
            self._console.write(_ERASE)

    def __call__(self, done: int, known: int, detail: str = "") -> None:
        """So many of all that are known by now are done; call this often.

        Args:
            done, known: how many.
            detail: what else is worth telling, few words.
        """
        now = self._console.clock()
        if now < self._next or self._console.quiet:
            return
        more = f", {detail}" if detail else ""
        text = f"{self._what}: {done} of {known} {self._unit}{more}, {now - self._started:.0f} s"
        if self._live:
            self._next = now + REDRAW_SECONDS
            self._drawn = True
            self._console.write(_ERASE + text)
        else:
            self._next = now + LINE_SECONDS
            self._console.say(f"… {text}")
