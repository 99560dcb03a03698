"""Evaluation by `nix-eval-jobs`, where it is wanted and installed.

It is told to evaluate what may be a derivation, one job each, by the same expression as our own evaluators. It
only ever adds: a job that it does not answer (an error, no derivation, a death half-way) stays a task, and
Nix itself is asked. So the inventory is the same with it and without it.

Its protocol (README.md and `src/drv.cc`, `src/eval-args.cc` of nix-community/nix-eval-jobs, the same since
2.18, which brought `--expr`): one line of JSON per job on stdout, `{"attrPath": ["n0"], "drvPath": …,
"meta": {…}}` or `{"attrPath": …, "error": "…"}`; with exit code 1 the jobs that were not reported yet are lost.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from pipelinegen import nix, process
from pipelinegen.attrpath import nix_string
from pipelinegen.config import Evaluation
from pipelinegen.console import plain
from pipelinegen.inventory.expression import flake_expression, json_expression, listed, shipped
from pipelinegen.inventory.frontier import Frontier, Task, Turn
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.inventory.records import BuildStarted, Found, LineReader, Message
from pipelinegen.inventory.trees import Trees

NAME = "nix-eval-jobs"

_FOUND: TypeAdapter[Found] = TypeAdapter(Found)


def find() -> str:
    """The full path of the program.

    Raises:
        ToolError: it is not on PATH.
    """
    hint = f'install {NAME}, or set evaluation.evaluator = "nix", which needs nothing but Nix'
    return process.find_tool(NAME, hint=hint)


class _SilentError(Exception):
    """Nothing was reported for too long."""


class _OtherNixError(Exception):
    """It evaluates by another version of Nix, which may give other derivations."""


class EvalJobs:
    """One run of `nix-eval-jobs`.

    Args:
        source: the flake.
        trees: its source trees.
        settings: limits and permissions.
        workers: processes at once.
        on_build: takes each derivation that evaluation has to build.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        source: FlakeSource,
        trees: Trees,
        settings: Evaluation,
        *,
        workers: int,
        on_build: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._trees = trees
        self._settings = settings
        self._workers = workers
        self._on_build = on_build
        self._clock = clock

    def run(self, frontier: Frontier, *, on_progress: Callable[[int, int], None] | None = None) -> str | None:
        """Evaluate what is pending and may be a derivation.

        Returns:
            What went wrong, one sentence; what it did not answer is still pending.
        """
        tasks = [task for task in frontier.in_order() if task.look.visit == "item"]
        if not tasks:
            return None
        answers = _Answers(tasks, frontier, self._source.nix_version)
        log = LineReader("no report arrives by the log")
        said: deque[str] = deque(maxlen=3)
        last = self._clock()

        def take(chunk: bytes) -> None:
            nonlocal last
            last = self._clock()
            answers.take(chunk)
            if on_progress:
                on_progress(frontier.finished, frontier.known)

        def line(text: str) -> None:
            match log.read(text):
                case BuildStarted(drv_path=drv_path):
                    self._on_build(drv_path)
                case Message(text=message):
                    said.append(message.partition("\n")[0])

        def idle() -> None:
            # Each worker may be at an output that takes all the time it may.
            if self._clock() - last > self._settings.timeout:
                raise _SilentError

        try:
            code = nix.eval_jobs(
                self._expression(tasks),
                workers=self._workers,
                pure=not self._settings.impure,
                allow_import_from_derivation=self._settings.allow_import_from_derivation,
                max_memory_mb=self._settings.max_memory_mb,
                on_stdout=take,
                on_line=line,
                on_idle=idle,
            )
        except _SilentError:
            return f"{NAME} reported nothing for {self._settings.timeout} s (evaluation.timeout); Nix does the rest"
        except _OtherNixError as error:
            return f"{NAME} belongs to Nix {error}, not to {self._source.nix_version}; Nix evaluates by itself"
        if code != 0:
            why = f": {said[-1]}" if said else ""
            left = len(tasks) - answers.given
            return f"{NAME} ended with exit code {code}{why}; Nix is asked for {left} of {len(tasks)} attributes"
        return None

    def _expression(self, tasks: list[Task]) -> str:
        """Short enough for a command line: what it says is in the store, as a flake that is locked by its content."""
        text = (
            f"let outputs = {flake_expression(self._source, self._trees)}; in ({shipped('jobs.nix')}) "
            f"{{ inherit outputs; describe = ({shipped('describe.nix')}); tasks = {json_expression(listed(tasks))}; }}"
        )
        with tempfile.TemporaryDirectory(prefix="pipelinegen-") as scratch:
            folder = Path(scratch) / "jobs"
            folder.mkdir()
            (folder / "flake.nix").write_text("{ outputs = { self }: { text = ./jobs.nix; }; }\n", "utf-8")
            (folder / "jobs.nix").write_text(text, "utf-8")
            metadata = nix.flake_metadata(f"path:{quote(str(folder))}")
        content = quote(metadata["locked"]["narHash"], safe="")
        reference = f"path:{metadata['path']}?narHash={content}"
        return f"import (builtins.getFlake {nix_string(reference)}).text"


class _Answers:
    """Reads what it prints and hands it to the frontier."""

    def __init__(self, tasks: list[Task], frontier: Frontier, nix_version: str) -> None:
        self._tasks = {f"n{number}": task for number, task in enumerate(tasks)}
        self._frontier = frontier
        self._nix_version = nix_version
        self._turn = Turn(tasks)
        self._begun = b""
        self.given = 0

    def take(self, chunk: bytes) -> None:
        """Some bytes of its stdout."""
        *lines, self._begun = (self._begun + chunk).split(b"\n")
        for line in lines:
            found = self._read(line)
            if found is not None:
                self.given += 1
                self._frontier.take(self._turn, found)

    def _read(self, line: bytes) -> Found | None:
        try:
            record: Any = json.loads(line)
            task = self._tasks.get(str(record["attrPath"][0]))
            meta = record["meta"]["pipelinegen"]
            found = _FOUND.validate_json(meta["report"])
        except (ValueError, LookupError, TypeError, ValidationError):
            return None  # an error, or nothing that we know: Nix tells
        if _release(str(meta["nix"])) != _release(self._nix_version):
            raise _OtherNixError(plain(str(meta["nix"])))
        same = task is not None and (found.path, found.visit) == task.key and found.drv_path == record.get("drvPath")
        return found if same else None


def _release(version: str) -> list[str]:
    return version.split(".")[:2]
