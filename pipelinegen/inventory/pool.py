"""Evaluators at work: as many at once as there may be, until nothing is left to be looked at."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import cache, partial

from pipelinegen import interrupts
from pipelinegen.errors import FlakeError
from pipelinegen.inventory.dealing import Pace, deal
from pipelinegen.inventory.frontier import Frontier, Key, Turn
from pipelinegen.inventory.model import Kind
from pipelinegen.inventory.records import Enter, Name, Report
from pipelinegen.inventory.results import Reads
from pipelinegen.inventory.worker import Ending, Recording, Worker

MESSAGES = 50
"""How many failing outputs get Nix's own message where Nix itself could have gone on (`throw`, `assert`).

The message is to be had only at the price of an evaluator, which loads the flake again.
"""

MOST_BUILDS = 5
"""How many attributes may turn out, at the price of an evaluator each, to need a build before recording is given up."""

BARREN = 2
"""How many evaluators in a row may be killed before they say anything; the machine may be short of memory."""

TICK_SECONDS = 0.2
"""How often it is looked whether one more evaluator pays, and whether we were interrupted."""

OnProgress = Callable[[int, int], None]
"""Takes how many attributes are done, and how many are known so far."""


class Pool:
    """Evaluators, each in a process of its own with a thread that listens to it.

    Args:
        worker: runs them.
        frontier: what is to be looked at; takes what was found.
        workers: how many at once.
        where: the flake, for errors.
        on_progress: see `OnProgress`; called a few times a second.
        recording: record what is read.
        backwards: begin at the end.

    Attributes:
        built: derivations that evaluation had to build.
        reads: what attributes read, as far as it was recorded.
        metadata_readers: those that were seen to read attributes of `self` themselves.
    """

    def __init__(
        self,
        worker: Worker,
        frontier: Frontier,
        *,
        workers: int,
        where: str,
        on_progress: OnProgress | None = None,
        recording: Recording | None = None,
        backwards: bool = False,
    ) -> None:
        self._worker = worker
        self._frontier = frontier
        self._workers = workers
        self._where = where
        self._on_progress = on_progress
        self._recording = recording
        self._backwards = backwards
        self._builds = 0
        self.reads: dict[Key, Reads] = {}
        self.metadata_readers: set[Key] = set()
        self._pace = Pace()
        self._lock = threading.Lock()
        self._turns: dict[Turn, threading.Thread] = {}
        # Null: names are known, so that others can begin.
        self._events: queue.SimpleQueue[tuple[Turn, Ending | BaseException] | None] = queue.SimpleQueue()
        self._stopping = False
        self._barren = 0
        self.built: set[str] = set()

    def run(self, *, names_only: bool = False) -> None:
        """Until all is looked at.

        Args:
            names_only: end when all names are known that can be known without looking at anything.

        Raises:
            FlakeError: the flake cannot be evaluated as a whole.
            ToolError: there is no Nix.
            ValueError: a report makes no sense.
            InterruptedRunError: a signal arrived; all evaluators are gone.
        """
        # A signal is noted here and raised by `check`, so that it never hits between two steps of the bookkeeping.
        with interrupts.held():
            try:
                while self._start(names_only=names_only):
                    self._wait()
            finally:
                self._stop()

    @property
    def many_builds(self) -> bool:
        """Whether recording was given up, since too many attributes need a build."""
        return self._builds > MOST_BUILDS

    def _start(self, *, names_only: bool) -> bool:
        """Start as many evaluators as help; false when nothing is left to be done."""
        with self._lock:
            if not names_only and not self._frontier.pending and not self._turns:
                self._frontier.ask(MESSAGES)
            while len(self._turns) < self._workers:
                turn = deal(self._frontier, list(self._turns), cache(self._seconds), backwards=self._backwards)
                if turn is None or (names_only and not turn.listing):
                    break
                turn.since = time.monotonic()
                turn.number = min(set(range(len(self._turns) + 1)) - {other.number for other in self._turns})
                thread = threading.Thread(target=self._serve, args=(turn, names_only), daemon=True)
                self._turns[turn] = thread
                thread.start()
            return bool(self._turns)

    def _seconds(self, kind: Kind) -> float:
        now = time.monotonic()
        tasks = ((turn, self._frontier.pending.get(turn.position)) for turn in self._turns)
        longest = (now - turn.since for turn, task in tasks if task and task.look.item and task.look.item.kind is kind)
        return self._pace.seconds(kind, at_least=max(longest, default=0.0))

    def _serve(self, turn: Turn, names_only: bool) -> None:
        try:
            ending: Ending | BaseException = self._worker.run(
                turn.tasks,
                catch=not turn.ask,
                names_only=names_only,
                backwards=self._backwards,
                recording=None if turn.builds or self.many_builds else self._recording,
                number=turn.number,
                on_report=partial(self._take, turn),
                on_build=self.built.add,
                go_on=lambda: not self._stopping,
            )
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            ending = error
        self._events.put((turn, ending))

    def _take(self, turn: Turn, report: Report) -> bool:
        now = time.monotonic()
        with self._lock:
            task = self._frontier.pending.get((report.path, report.visit))
            was_listing = turn.listing
            go_on = self._frontier.take(turn, report)
            if isinstance(report, Enter):
                turn.since = now
                if was_listing and not turn.listing:
                    self._events.put(None)
            elif not isinstance(report, Name) and task is not None and task.look.item is not None:
                self._pace.note(task.look.item.kind, now - turn.since)
        return go_on and not self._stopping

    def _wait(self) -> None:
        """For the end of an evaluator, or for a moment."""
        interrupts.check()
        if self._on_progress:
            self._on_progress(self._frontier.finished, self._frontier.known)
        try:
            event = self._events.get(timeout=TICK_SECONDS)
        except queue.Empty:
            return
        if event is None:
            return
        turn, ending = event
        self._turns.pop(turn).join()
        if isinstance(ending, BaseException):
            raise ending
        with self._lock:
            self._judge(turn, ending)

    def _judge(self, turn: Turn, ending: Ending) -> None:
        self.reads |= ending.reads
        self.metadata_readers |= ending.metadata_readers
        killed = ending.how == "signal"
        builds = ending.how == "builds"
        self._builds += builds
        if ending.how in {"done", "told"}:
            self._frontier.release(turn)
            useful = ending.how == "told"
        else:
            doubt = ending.how in {"error", "memory"}
            useful = self._frontier.died(turn, ending.message, doubt=doubt, killed=killed, builds=builds)
        self._barren = 0 if useful or turn.useful else self._barren + 1
        whole = self._frontier.failures.get(())
        # While others can work, the machine is just too small for all of them.
        hopeless = not self._turns and self._barren > (BARREN if killed or ending.how == "memory" else 0)
        if self._barren and self._turns:
            self._workers = max(1, len(self._turns))
        if whole is not None or hopeless:
            why = whole.message if whole else ending.message
            raise FlakeError("the flake cannot be evaluated", where=self._where, why=why or None)

    def _stop(self) -> None:
        """End all evaluators and wait until they are gone."""
        self._stopping = True
        for thread in self._turns.values():
            thread.join()
        self._turns.clear()
        self._stopping = False
