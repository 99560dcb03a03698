"""One evaluator process: it is given tasks, reports on each, and may die at any of them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from pipelinegen import nix
from pipelinegen.attrpath import nix_string
from pipelinegen.config import Evaluation
from pipelinegen.inventory.frontier import Task
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.inventory.records import BuildStarted, Message, Report, read_line
from pipelinegen.inventory.trees import Trees

MESSAGE_LINES = 60
"""Lines kept of what an evaluator said when it died; its message comes last."""


@dataclass(frozen=True)
class Ending:
    """How an evaluator ended.

    Attributes:
        how: `done`: all tasks were looked at; `error`: Nix's own verdict; `memory`, `signal`, `time`: it ran
            into a limit or was killed.
        message: why, for people; "" when done.
    """

    how: Literal["done", "error", "memory", "signal", "time"]
    message: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether what was evaluated before may be to blame as much as what was evaluated last."""
        return self.how in {"memory", "signal"}


class _TimeUpError(Exception):
    """One attribute took too long."""


class Worker:
    """Runs evaluators on one flake.

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
        self._flake = _flake_expression(source, trees)
        self._settings = settings
        self._word = word
        self._clock = clock

    def run(
        self,
        tasks: Sequence[Task],
        *,
        catch: bool,
        on_report: Callable[[Report], None],
        on_build: Callable[[str], None],
    ) -> Ending:
        """Evaluate `tasks` in one process.

        Args:
            catch: survive what can be survived, at the price of Nix's message.
            on_report: takes each report as it comes.
            on_build: takes each derivation that evaluation has to build.

        Raises:
            ToolError: there is no Nix.
            ValueError: a report makes no sense.
        """
        said: list[str] = []
        limit = self._settings.timeout
        turned = self._clock()

        def check_time() -> None:
            if self._clock() - turned > limit:
                raise _TimeUpError

        def take(line: str) -> None:
            nonlocal turned
            match read_line(line, self._word):
                case None:
                    check_time()
                case BuildStarted(drv_path=drv_path):
                    on_build(drv_path)
                case Message(text=text):
                    said.append(text)
                    del said[:-MESSAGE_LINES]
                case report:
                    turned = self._clock()
                    said.clear()
                    on_report(report)

        try:
            code = nix.evaluate(
                self._expression(tasks, catch=catch),
                pure=not self._settings.impure,
                allow_import_from_derivation=self._settings.allow_import_from_derivation,
                max_memory_mb=self._settings.max_memory_mb,
                on_line=take,
                on_idle=check_time,
            )
        except _TimeUpError:
            return Ending("time", f"evaluation took longer than {limit} s (evaluation.timeout)")
        return _ending(code, said, self._settings.max_memory_mb)

    def _expression(self, tasks: Sequence[Task], *, catch: bool) -> str:
        listed = [{"path": list(task.path), "look": task.look.to_json()} for task in tasks]
        return (
            f"let outputs = {self._flake}; in ({_shipped('walk.nix')}) {{ inherit outputs; "
            f"word = {nix_string(self._word)}; tasks = {_json(listed)}; catch = {str(catch).lower()}; }}"
        )


def _flake_expression(source: FlakeSource, trees: Trees) -> str:
    return (
        f"(let inherit (builtins.getFlake {nix_string(trees.reference)}) trees; in ({_shipped('call.nix')}) {{ "
        f"trees = builtins.mapAttrs (_: name: trees.${{name}}) {_json(dict(trees.names))}; "
        f"locks = {_json(source.locks)}; rootInfo = {_json(source.source_info)}; "
        f"rootFolder = {nix_string(source.subdirectory)}; relocated = {_json(source.relocated)}; }})"
    )


def _json(value: object) -> str:
    # Names may hold anything but are no reason for surrogates or escapes: Nix strings are bytes.
    return f"(builtins.fromJSON {nix_string(json.dumps(value, ensure_ascii=False, sort_keys=True))})"


@cache
def _shipped(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _ending(code: int, said: Sequence[str], max_memory_mb: int) -> Ending:
    if code == 0:
        return Ending("done")
    text = "\n".join(said)
    if "out of memory" in text.lower():
        return Ending("memory", f"evaluation needs more than {max_memory_mb} MiB (evaluation.max_memory_mb)\n{text}")
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return Ending("signal", f"the evaluator was ended by {name}; was the machine out of memory?\n{text}".strip())
    return Ending("error", text or f"the evaluator ended with exit code {code} and said nothing")
