"""Flake → inventory."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from pipelinegen.attrpath import AttrPath
from pipelinegen.config import Config
from pipelinegen.errors import CommandError, FlakeError, ToolError
from pipelinegen.inventory.frontier import Frontier
from pipelinegen.inventory.graph import read_derivation
from pipelinegen.inventory.model import EvalFailure, FlakeOutput, FlakeSource, Inventory, Kind
from pipelinegen.inventory.records import Found, Report, Unavailable
from pipelinegen.inventory.rules import Rules
from pipelinegen.inventory.source import read_source, source_at
from pipelinegen.inventory.trees import add_trees
from pipelinegen.inventory.worker import Worker

__all__ = ["read_inventory", "read_source", "source_at"]

MESSAGES = 50
"""How many failing outputs get Nix's own message.

The message is to be had only at the price of the evaluator, and each new one loads the flake again. Beyond
this, failures that can be caught (`throw`, `assert`) are caught: they say less, and cost nothing.
"""

BARREN = 2
"""How many evaluators in a row may be killed before they say anything; the machine may be short of memory."""

OnProgress = Callable[[int, int], None]


def read_inventory(source: FlakeSource, config: Config, *, on_progress: OnProgress | None = None) -> Inventory:
    """Evaluate a flake's outputs.

    An output that fails costs only itself. The derivations of all others are in the store afterwards.

    Args:
        source: the flake.
        config: which attributes, and limits.
        on_progress: takes how many attributes are done, and how many are known so far.

    Raises:
        FlakeError: the flake cannot be evaluated as a whole.
        ToolError: there is no Nix, or it does not behave.
    """
    try:
        trees = add_trees(source)
    except CommandError as error:
        raise FlakeError(
            "Nix does not take the locked inputs of the flake",
            where=source.reference,
            why="\n".join(error.stderr_tail),
        ) from error
    worker = Worker(source, trees, config.evaluation, word=secrets.token_hex(16))
    frontier = Frontier(Rules(config.include, config.exclude))
    built: set[str] = set()

    def take(report: Report) -> None:
        frontier.take(report)
        if on_progress:
            on_progress(frontier.finished, frontier.known)

    barren = 0
    while tasks := frontier.next_tasks():
        before = frontier.state()
        frontier.begin()
        try:
            ending = worker.run(tasks, catch=len(frontier.failures) >= MESSAGES, on_report=take, on_build=built.add)
        except ValueError as error:
            raise ToolError("the evaluator's reports make no sense", where=source.reference, why=str(error)) from error
        if ending.how != "done":
            frontier.died(ending.message, retry=ending.doubtful)
        barren = barren + 1 if frontier.state() == before else 0
        if () in frontier.failures or barren > (BARREN if ending.doubtful else 0):
            raise FlakeError(
                "the flake cannot be evaluated", where=source.reference, why=_why(frontier, ending.message)
            )
    return _inventory(source, frontier, built)


def _why(frontier: Frontier, message: str) -> str | None:
    whole = frontier.failures.get(())
    return (whole.message if whole else message) or None


def _inventory(source: FlakeSource, frontier: Frontier, built: set[str]) -> Inventory:
    outputs: list[FlakeOutput] = []
    failures = dict(frontier.failures)
    for path, found in frontier.found.items():
        if path in failures:
            continue
        kind = frontier.rules.kind(path)
        try:
            outputs.append(make_output(path, kind, found))
        except ToolError as error:
            message = f"{error.message}: {error.where} ({error.why})"
            failures.setdefault(path, EvalFailure(path=path, kind=kind, message=message))
    return Inventory(
        source=source,
        outputs=tuple(sorted(outputs, key=lambda output: output.path)),
        failures=tuple(failures[path] for path in sorted(failures)),
        built_during_evaluation=tuple(sorted(built)),
    )


def make_output(path: AttrPath, kind: Kind, found: Found | Unavailable) -> FlakeOutput:
    """What an attribute turned out to be; the derivation itself is read from the store.

    Raises:
        ToolError: the derivation is not there.
    """
    drv_attr_path = (*path, *found.suffix)
    if isinstance(found, Unavailable):
        return FlakeOutput(
            path=path,
            drv_attr_path=drv_attr_path,
            kind=kind,
            name=found.name,
            system=found.system,
            unavailable=", ".join(found.marks) or "not available on this platform (meta.available = false)",
        )
    derivation = read_derivation(found.drv_path)
    wanted = tuple(name for name in dict.fromkeys(found.install) if name in derivation.outputs)
    return FlakeOutput(
        path=path,
        drv_attr_path=drv_attr_path,
        kind=kind,
        name=derivation.name,
        system=derivation.system,
        drv_path=derivation.path,
        outputs=derivation.outputs,
        wanted=wanted or (found.output if found.output in derivation.outputs else min(derivation.outputs),),
        features=derivation.features,
        timeout=found.timeout,
        max_silent=found.max_silent,
    )
