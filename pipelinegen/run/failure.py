"""The job of outputs that failed to evaluate: it prints Nix's messages and fails."""

from __future__ import annotations

from collections.abc import Sequence

from pipelinegen.console import Console, plain
from pipelinegen.plan.model import Failure
from pipelinegen.run.result import ItemResult, Reports, Status, StepResult


def run_failures(failures: Sequence[Failure], *, console: Console, reports: Reports | None = None) -> StepResult:
    """Say why these outputs (at least one) could not be evaluated; the result is always a failure."""
    items = []
    for failure in failures:
        message = plain(failure.message)
        console.write(f"{plain(failure.attr)} cannot be evaluated:\n\n{message}\n\n")
        lines = tuple(message.split("\n"))
        items.append(ItemResult(name=failure.attr, status=Status.FAILED, message="it cannot be evaluated", log=lines))
    first = plain(failures[0].attr)
    what = first if len(failures) == 1 else f"{first} (+{len(failures) - 1})"
    result = StepResult(
        step="test",
        what=f"evaluate {what}",
        seconds=0.0,
        items=tuple(items),
        message=f"{what} cannot be evaluated",
        why=_error_line(items[0].log),
    )
    (reports or Reports()).write(result)
    return result


def _error_line(lines: Sequence[str]) -> str | None:
    """Nix prints a trace before the error proper."""
    said = [line.strip() for line in lines if line.strip().startswith("error:")]
    return said[-1] if said else None
