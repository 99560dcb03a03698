"""The job of an output that failed to evaluate: it prints Nix's message and fails."""

from __future__ import annotations

from pipelinegen.console import Console, plain
from pipelinegen.errors import UsageError
from pipelinegen.plan.model import Work
from pipelinegen.run.result import ItemResult, Reports, Status, StepResult


def run_failure(work: Work, job: str, *, console: Console, reports: Reports | None = None) -> StepResult:
    """Say why the output of this job could not be evaluated; the result is always a failure.

    Raises:
        UsageError: no output of this handoff has such a job.
    """
    if job not in work.failures:
        raise UsageError(f"no evaluation failure belongs to the job {job!r}", why="it is not in the handoff")
    failure = work.failures[job]
    message = plain(failure.message)
    console.write(f"{plain(failure.attr)} cannot be evaluated:\n\n{message}\n\n")
    lines = tuple(message.split("\n"))
    item = ItemResult(name=failure.attr, status=Status.FAILED, message="it cannot be evaluated", log=lines)
    result = StepResult(
        step="test",
        what=job,
        seconds=0.0,
        items=(item,),
        message=f"{plain(failure.attr)} cannot be evaluated",
        why=_error_line(lines),
    )
    (reports or Reports()).write(result)
    return result


def _error_line(lines: tuple[str, ...]) -> str | None:
    """Nix prints a trace before the error proper."""
    said = [line.strip() for line in lines if line.strip().startswith("error:")]
    return said[-1] if said else None
