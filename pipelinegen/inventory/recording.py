"""Records what evaluators read of a flake's source tree, by watching who opens its files.

Watches on all folders of the tree see each file that is opened and each folder that is listed, but not by whom, and
nothing of `stat`. So what an attribute read is known as an upper bound: everything that anybody opened from the start
of its evaluator (which opens a file only once, however many attributes use it) until the evaluator turned to the next
attribute. When that was is in the same queue of events: on turning to an attribute an evaluator reads two files of
its own, its *marks* (two, since equal events in a row count as one).

What an evaluator finds in a cache it does not read: see `cache_homes`.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from pipelinegen import inotify
from pipelinegen.inventory.results import Reads

_DRAIN_SECONDS = 0.1
"""How long events may lie in the queue, which holds 16,384 by default."""

MOST_ENTRIES = 4_000_000
"""Paths in all read sets of one evaluator together; see `coarser`."""


class NotRecordedError(Exception):
    """Nothing can be recorded here, for the reason that it says."""


@dataclass
class _Evaluator:
    """One that runs: what was opened since it started, as bits, by now and whenever it turned to an attribute."""

    opened: int = 0
    turned: list[int] = field(default_factory=list)


class Recorder:
    """Watches one source tree while evaluators work on it.

    Args:
        source_path: the tree in the store.
        marks_path: the folder of the marks; see `trees.add_marks`.

    Attributes:
        marks_path: see above.
        lost: events were missed, or are not what they seem; nothing that was recorded counts.

    Raises:
        NotRecordedError: this system cannot tell, or allows too few watches.
    """

    def __init__(self, source_path: str, marks_path: str) -> None:
        self.marks_path = marks_path
        self.lost = False
        self._lock = threading.Lock()
        self._top = os.fsencode(source_path)
        self._ids: dict[tuple[bool, bytes], int] = {}
        self._evaluators: dict[int, _Evaluator] = {}
        self._folders: dict[int, bytes] = {}
        try:
            self._queue = inotify.Inotify()
        except OSError as error:
            raise NotRecordedError(f"nobody tells what is read here ({error.strerror or error})") from error
        try:
            self._marks = self._queue.watch(os.fsencode(marks_path))
            self._watch_folders()
        except OSError as error:
            self._queue.close()
            raise NotRecordedError(
                f"a folder cannot be watched: {error.strerror} (fs.inotify.max_user_watches?)"
            ) from error
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drain_often, daemon=True)
        self._thread.start()

    def _watch_folders(self) -> None:
        pending = [b""]
        while pending:
            folder = pending.pop()
            path = _join(self._top, folder)
            self._folders[self._queue.watch(path)] = folder
            with os.scandir(path) as entries:
                pending += [_join(folder, entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        # That was us.
        for _ in self._queue.events():
            pass

    def begin(self, number: int) -> None:
        """An evaluator with these marks is about to start."""
        with self._lock:
            self._drain()
            self._evaluators[number] = _Evaluator()

    def end(self, number: int) -> list[Reads]:
        """It has ended. What was read for each attribute that it turned to, in order; empty where that is not known."""
        with self._lock:
            self._drain()
            evaluator = self._evaluators.pop(number)
            bits = [*evaluator.turned[1:], evaluator.opened] if evaluator.turned else []
        return [] if self.lost else self._as_reads(bits)

    def close(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()
        self._queue.close()

    def _drain_often(self) -> None:
        while not self._over.wait(_DRAIN_SECONDS):
            with self._lock:
                self._drain()

    def _drain(self) -> None:
        for watch, mask, name in self._queue.events():
            if mask & (inotify.OVERFLOW | inotify.UNMOUNTED | inotify.IGNORED):
                self.lost = True
            elif watch == self._marks:
                self._mark(name)
            else:
                self._opened(self._folders[watch], name, is_folder=bool(mask & inotify.IS_FOLDER))

    def _mark(self, name: bytes) -> None:
        if name in {b"", b"word"}:
            # No evaluator reads this: somebody reads the whole folder (a program that sends what is new in the store to
            # a cache, say), and with it marks that are then no steps.
            self.lost = True
        elif name.endswith(b"b") and (evaluator := self._evaluators.get(int(name[:-1]))):
            evaluator.turned.append(evaluator.opened)

    def _opened(self, folder: bytes, name: bytes, *, is_folder: bool) -> None:
        if is_folder and name:
            return  # its own watch tells, too
        path = _join(folder, name)
        bit = 1 << self._ids.setdefault((is_folder, path), len(self._ids))
        for evaluator in self._evaluators.values():
            evaluator.opened |= bit

    def _as_reads(self, bits: list[int]) -> list[Reads]:
        known = [(is_folder, os.fsdecode(path)) for is_folder, path in self._ids]
        made: dict[int, Reads] = {}
        bits = coarser(bits)
        for one in bits:
            if one not in made:
                opened = [entry for number, entry in enumerate(known) if one >> number & 1]
                made[one] = Reads(
                    files=frozenset(path for is_folder, path in opened if not is_folder),
                    folders=frozenset(path for is_folder, path in opened if is_folder),
                )
        return [made[one] for one in bits]


def _join(folder: bytes, name: bytes) -> bytes:
    return b"/".join(part for part in (folder, name) if part)


def coarser(bits: list[int]) -> list[int]:
    """Sets that grow along a list, as bits; where they are many and large, neighbours share the largest of them.

    Ten thousand attributes that each read a file of their own would else need a hundred million entries.
    """
    step = 1
    while step < len(bits) and sum(one.bit_count() for one in {*bits[step - 1 :: step], *bits[-1:]}) > MOST_ENTRIES:
        step *= 2
    last = len(bits) - 1
    return [bits[min(number // step * step + step - 1, last)] for number in range(len(bits))]
