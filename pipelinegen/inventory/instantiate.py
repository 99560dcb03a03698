"""One attribute → its derivation, evaluated as the inventory does it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from pipelinegen import attrpath
from pipelinegen.config import Config
from pipelinegen.errors import CommandError, FlakeError, ToolError
from pipelinegen.inventory.frontier import Task
from pipelinegen.inventory.model import FlakeSource, Kind
from pipelinegen.inventory.records import Found, Report
from pipelinegen.inventory.rules import Item, Look
from pipelinegen.inventory.trees import add_trees
from pipelinegen.inventory.worker import Worker


def instantiate(source: FlakeSource, path: Sequence[str], suffix: Sequence[str], config: Config) -> str:
    """Evaluate one attribute; the path of its derivation, which is in the store afterwards with all it needs.

    Args:
        source: the flake.
        path: of the attribute.
        suffix: where the derivation is below it.
        config: limits and permissions of evaluation.

    Raises:
        FlakeError: the attribute cannot be evaluated, or is no derivation.
        ToolError: there is no Nix, or it does not behave.
    """
    where = attrpath.show((*path, *suffix))
    reports: list[Report] = []

    def take(report: Report) -> bool:
        reports.append(report)
        return True

    try:
        worker = Worker(source, add_trees(source), config.evaluation, word=secrets.token_hex(16))
        ending = worker.run(
            [Task(tuple(path), Look("item", item=Item(Kind.OTHER, tuple(suffix), recurse=False)))],
            catch=False,
            on_report=take,
            on_build=lambda _: None,
        )
    except CommandError as error:
        why = "\n".join(error.stderr_tail)
        raise FlakeError("Nix does not take the locked inputs of the flake", where=where, why=why) from error
    except ValueError as error:
        raise ToolError("the evaluator's reports make no sense", where=where, why=str(error)) from error
    found = [report.drv_path for report in reports if isinstance(report, Found)]
    if not found:
        raise FlakeError(
            "the attribute cannot be evaluated here", where=where, why=ending.message or "it is no derivation"
        )
    return found[0]
