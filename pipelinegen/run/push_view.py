"""How far a push is: on a terminal one line that changes, in a log a sign of life now and then."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from pipelinegen.cache.model import PushProgress
from pipelinegen.console import Console
from pipelinegen.progress import Progress
from pipelinegen.run.heartbeat import Heartbeat, duration
from pipelinegen.run.push_report import size


class PushView:
    """Shows the progress of a push, inside a `with` block.

    Attributes:
        last: how far the push was when it was last heard of; null before that.

    Args:
        console: where to show it; its clock counts.
        cache: the cache's name.
    """

    def __init__(self, console: Console, cache: str) -> None:
        self.last: PushProgress | None = None
        self._console = console
        self._what = f"pushing to cache {cache}"
        self._started = console.clock()
        self._live = Progress(console, self._what, "paths") if console.live else None
        self._heartbeat = Heartbeat(console, self._describe)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.clear()

    def line(self, line: str) -> None:
        """Take one line of a command that pushes (`on_line`)."""
        self._speak(line, "  ")

    def notice(self, sentence: str) -> None:
        """Take a sentence that people should read."""
        self._speak(sentence, "")

    def _speak(self, line: str, prefix: str) -> None:
        if self._live is not None:
            self._live.clear()
        self._console.foreign(line, prefix)
        self._heartbeat.spoke()

    def progress(self, progress: PushProgress) -> None:
        """Take how far it is (`on_progress`); called often, also while nothing moves."""
        self.last = progress
        self.idle()

    def idle(self) -> None:
        """Nothing came (`on_idle`)."""
        if self._live is None:
            self._heartbeat.tick()
        elif self.last is not None:
            self._live(self.last.paths_done, self.last.paths, _details(self.last))

    def _describe(self) -> str:
        passed = duration(self._console.clock() - self._started)
        if self.last is None:
            return f"still {self._what} ({passed})"
        done = f"{self.last.paths_done} of {self.last.paths} paths, {_details(self.last)}"
        return f"still {self._what}: {done} ({passed})"


def _details(progress: PushProgress) -> str:
    parts = [f"{size(progress.bytes_done)} of {size(progress.bytes)}"]
    if progress.retries:
        parts.append(f"{progress.retries} {'retry' if progress.retries == 1 else 'retries'}")
    parts.append(f"{progress.jobs} at once")
    return ", ".join(parts)
