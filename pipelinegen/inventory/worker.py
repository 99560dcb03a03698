"""One evaluator process: it is given tasks, reports on each, and may die at any of them."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipelinegen import nix, process
from pipelinegen.attrpath import nix_string
from pipelinegen.config import Evaluation
from pipelinegen.inventory.cache_homes import CacheHomes
from pipelinegen.inventory.expression import flake_expression, json_expression, listed, marks_expression, shipped
from pipelinegen.inventory.frontier import Key, Task
from pipelinegen.inventory.messages import shorten_lines, shorten_paths
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.inventory.recording import Recorder
from pipelinegen.inventory.records import (
    BuildLog,
    BuildStarted,
    Enter,
    LineReader,
    Message,
    MetadataRead,
    Name,
    Report,
)
from pipelinegen.inventory.results import Reads
from pipelinegen.inventory.rules import MAX_DEPTH
from pipelinegen.inventory.trees import Trees

MESSAGES = 10
"""How much is kept of what an evaluator says: errors, and lines of a crash. The last ones count."""

LOG_LINES = 20
"""Lines kept of the log of a build that evaluation needs."""


FORBIDDEN_BUILD = "'allow-import-from-derivation' is disabled"
"""In the message of every version from 2.8 to 2.34 when evaluation would have to build something and may not."""


@dataclass(frozen=True)
class Ending:
    """How an evaluator ended.

    Attributes:
        how: `done`: all tasks were looked at; `error`: Nix's own verdict; `builds`: it came to what evaluation has to
            build, while its reading was recorded; `memory`, `signal`, `time`: it ran into a limit or was killed;
            `told`: it was told to end.
        message: why, for people; "" when done or told.
        reads: what each attribute read that it turned to, in order, where that was recorded.
        metadata_readers: what was the first in it to read an attribute of `self`, one for each of those.
    """

    how: Literal["done", "error", "builds", "memory", "signal", "time", "told"]
    message: str = ""
    reads: tuple[tuple[Key, Reads], ...] = ()
    metadata_readers: frozenset[Key] = frozenset()


@dataclass(frozen=True)
class Recording:
    """What an evaluator needs for its reading to be recorded."""

    recorder: Recorder
    cache_homes: CacheHomes


class _TimeUpError(Exception):
    """One attribute took too long."""


class _StoppedError(Exception):
    """All evaluators are to end."""


class _ToldError(process.EndNowError):
    """The evaluator is to end; it has just turned to something, and neither builds nor writes anything."""


class Worker:
    """Runs evaluators on one flake, from any number of threads.

    Args:
        source: the flake.
        trees: its source trees.
        settings: limits and permissions.
        word: the run's secret word: letters and digits that the flake cannot guess.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        source: FlakeSource,
        trees: Trees,
        settings: Evaluation,
        *,
        word: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._trees = trees
        self._settings = settings
        self._word = word
        self._clock = clock

    def run(
        self,
        tasks: Sequence[Task],
        *,
        catch: bool,
        on_report: Callable[[Report], bool],
        on_build: Callable[[str], None],
        names_only: bool = False,
        backwards: bool = False,
        recording: Recording | None = None,
        number: int = 0,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Ending:
        """Evaluate `tasks` in one process.

        Args:
            catch: survive what can be survived, at the price of Nix's message.
            on_report: takes each report as it comes, and tells whether to go on.
            on_build: takes each derivation that evaluation has to build.
            names_only: only name what sets have, and look at none of it.
            backwards: look at the last one first.
            recording: record what is read. Evaluation may build nothing then.
            number: which of those that run; tells their marks apart.
            go_on: asked about once a second.

        Raises:
            ToolError: there is no Nix.
            ValueError: a report makes no sense.
        """
        run = _Run(self._word, self._settings.timeout, self._clock, on_report, on_build)

        def idle() -> None:
            run.check_time()
            if not go_on():
                raise _StoppedError

        def evaluate(home: Path | None) -> Ending:
            try:
                code = nix.evaluate(
                    self._expression(
                        tasks,
                        catch=catch,
                        names_only=names_only,
                        backwards=backwards,
                        marks=None if recording is None else number,
                    ),
                    pure=not self._settings.impure,
                    allow_import_from_derivation=recording is None and self._settings.allow_import_from_derivation,
                    max_memory_mb=self._settings.max_memory_mb,
                    on_line=run.take,
                    on_idle=idle,
                    cache_home=home,
                )
            except _TimeUpError:
                limit = self._settings.timeout
                return Ending("time", f"evaluation took longer than {limit} s (evaluation.timeout)")
            except (_ToldError, _StoppedError):
                return Ending("told")
            return self._ending(code, run)

        if recording is None:
            return evaluate(None)
        with recording.cache_homes.one() as home:
            recording.recorder.begin(number)
            try:
                ending = evaluate(home)
            finally:
                reads = recording.recorder.end(number)
        if ending.how == "error" and FORBIDDEN_BUILD in run.last_words():
            # Where it is forbidden anyway that is the answer.
            ending = Ending("builds" if self._settings.allow_import_from_derivation else "error", ending.message)
        return replace(
            ending,
            reads=run.reads(reads, to_its_end=ending.how in {"done", "error", "builds"}),
            metadata_readers=frozenset(run.metadata_readers),
        )

    def _ending(self, code: int, run: _Run) -> Ending:
        if code == 0:
            return Ending("done")
        text = shorten_paths(run.last_words(), self._source.store_path)
        # Mostly Nix survives a full heap long enough to say so.
        if text == "error: out of memory" or (code < 0 and run.heap_full):
            limit = self._settings.max_memory_mb
            return Ending("memory", f"evaluation needs more than {limit} MiB (evaluation.max_memory_mb)")
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            why = f"the evaluator was ended by {name}; was the machine out of memory?"
            return Ending("signal", f"{why}\n{text}".strip())
        return Ending("error", text or f"the evaluator ended with exit code {code} and said nothing")

    def _expression(
        self, tasks: Sequence[Task], *, catch: bool, names_only: bool, backwards: bool, marks: int | None
    ) -> str:
        outputs = flake_expression(self._source, self._trees, watch=None if marks is None else self._word)
        return (
            f"let outputs = {outputs}; in ({shipped('walk.nix')}) {{ "
            f"inherit outputs; describe = ({shipped('describe.nix')}); "
            f"word = {nix_string(self._word)}; tasks = {json_expression(listed(tasks))}; maxDepth = {MAX_DEPTH}; "
            f"catch = {str(catch).lower()}; namesOnly = {str(names_only).lower()}; "
            f"backwards = {str(backwards).lower()}; marks = {marks_expression(self._trees, marks)}; }}"
        )


class _Run:
    """What is known of one process while it runs.

    Attributes:
        heap_full: whether its garbage collector said that there is no room left.
        metadata_readers: see `Ending`.
    """

    def __init__(
        self,
        word: str,
        limit: float,
        clock: Callable[[], float],
        on_report: Callable[[Report], bool],
        on_build: Callable[[str], None],
    ) -> None:
        self._reader = LineReader(word)
        self._limit = limit
        self._clock = clock
        self._on_report = on_report
        self._on_build = on_build
        self._turned = clock()
        self._said: deque[str] = deque(maxlen=MESSAGES)
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._building: list[str] = []
        self._entered: list[tuple[Key, frozenset[str]]] = []
        self._finished: set[Key] = set()
        self._metadata: frozenset[str] = frozenset()
        self.heap_full = False
        self.metadata_readers: set[Key] = set()

    def check_time(self) -> None:
        """End the evaluator when it has been at one attribute for too long, whatever it says meanwhile."""
        if self._clock() - self._turned > self._limit:
            raise _TimeUpError

    def take(self, line: str) -> None:
        """One line (or piece) of its stderr."""
        match self._reader.read(line):
            case None:
                pass
            case BuildStarted(drv_path=drv_path):
                self._building.append(drv_path)
                self._on_build(drv_path)
            case BuildLog(text=text):
                self._log.append(text)
            case Message(text=text) if text.startswith("GC Warning"):
                self.heap_full = self.heap_full or "Out of Memory" in text
            case Message(text=text):
                if text not in self._said:
                    self._said.append(text)
            case MetadataRead(name=name):
                self._metadata |= {name}
                self.metadata_readers.update(key for key, _ in self._entered[-1:])
            case report:
                if isinstance(report, Enter):
                    self._entered.append(((report.path, report.visit), self._metadata))
                elif not isinstance(report, Name):
                    self._finished.add((report.path, report.visit))
                self._turned = self._clock()
                for heard in (self._said, self._log, self._building):
                    heard.clear()
                if not self._on_report(report):
                    raise _ToldError
                return
        self.check_time()

    def reads(self, opened: Sequence[Reads], *, to_its_end: bool) -> tuple[tuple[Key, Reads], ...]:
        """What each attribute read of which it said what it is. Of others it may have read only some of it.

        Args:
            opened: files and folders, for each step that was marked.
            to_its_end: the process came to its own end; else the last steps may have been marked and not announced.
        """
        if len(opened) < len(self._entered) or (to_its_end and len(opened) > len(self._entered)):
            return ()  # what belongs to what is not known
        metadata = [*(before for _, before in self._entered[1:]), self._metadata]
        return tuple(
            (key, replace(reads, metadata=read))
            for (key, _), reads, read in zip(self._entered, opened, metadata, strict=False)
            if key in self._finished
        )

    def last_words(self) -> str:
        """What it said since its last report, with the log of the build that it failed for."""
        text = shorten_lines("\n".join(self._said))
        if self._log and any(drv_path in text for drv_path in self._building):
            log = "\n".join(f"  {line}" for line in self._log)
            text += f"\nlast lines of the build's log:\n{log}"
        return text
