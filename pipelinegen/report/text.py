"""The plan as text for a terminal: what runs, what does not, and why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelinegen.characters import inert
from pipelinegen.console import plain
from pipelinegen.plan.model import RECORD_JOB, Choice, Decision, Plan, PlannedOutput, Stage
from pipelinegen.report.reading import Reading, preview_lines, summary

Style = Callable[[str, str], str]
"""(text, style name) → text, coloured where wanted."""

MARKS = {Choice.RUN: ("+", "green"), Choice.SKIP: ("-", "dim"), Choice.FAIL: ("!", "red")}


def plan_text(plan: Plan, style: Style, *, everything: bool = False, readings: Sequence[Reading] | None = None) -> str:
    """The plan, one line per output with its decisions, then jobs and notes.

    Args:
        plan: what was decided.
        style: colours a text.
        everything: also list outputs for which nothing happens.
        readings: what was evaluated and what was known, of all outputs; null where that is not to be told.
    """
    lines = _heading(plan, style)
    shown = [output for output in plan.outputs if everything or _active(output)]
    for stage in Stage:
        rows = [(output, output.decisions[stage]) for output in shown if stage in output.decisions]
        rows = [(output, decision) for output, decision in rows if everything or decision.decision is not Choice.SKIP]
        if rows:
            lines += ["", style(stage, "bold")]
            lines += [_row(output, decision, style) for output, decision in rows]
    for failure in plan.failures:
        first = plain(failure.message).strip().split("\n")
        lines.append(f"{style('!', 'red')} {plain(failure.attr)}: does not evaluate: {_headline(first)}")
    if plan.removed:
        lines.append(f"removed since the base: {', '.join(plain(attr) for attr in plan.removed)}")
    evaluation = preview_lines(readings or (), style, everything=everything)
    lines += ["", *evaluation] if evaluation else []
    lines += ["", _summary(plan)]
    if readings is not None:
        lines.append(summary(readings, len(plan.failures)))
    lines += [f"{style('note:', 'blue')} {inert(note)}" for note in plan.notes]
    return "\n".join(lines) + "\n"


def _heading(plan: Plan, style: Style) -> list[str]:
    head = plan.head.rev[:12] if plan.head.rev else "no commit yet"
    dirty = " with uncommitted changes" if plan.head.dirty else ""
    base = f"{plan.base.rev[:12]} ({plan.base.reason})" if plan.base and plan.base.rev else "none"
    return [
        f"{style('flake', 'bold')}  {plain(plan.flake)}",
        f"{style('head', 'bold')}   {head}{dirty}",
        f"{style('base', 'bold')}   {plain(base)}",
    ]


def _active(output: PlannedOutput) -> bool:
    return any(decision.decision is not Choice.SKIP for decision in output.decisions.values())


def _row(output: PlannedOutput, decision: Decision, style: Style) -> str:
    mark, colour = MARKS[decision.decision]
    # On one line: a reason may quote the flake, and a line of its own would look like one of ours.
    return f"  {style(mark, colour)} {plain(output.attr)}  {style(inert('; '.join(decision.reasons)), 'dim')}"


def _headline(lines: list[str]) -> str:
    errors = [line.strip() for line in lines if line.strip().startswith("error:") and line.strip() != "error:"]
    return (errors or [line.strip() for line in lines if line.strip()] or ["no message"])[-1][:200]


def _summary(plan: Plan) -> str:
    ours = [job for job in plan.jobs if job.name == RECORD_JOB]
    counts = {stage: sum(job.stage is stage for job in plan.jobs if job not in ours) for stage in Stage}
    jobs = ", ".join([*(f"{count} {stage}" for stage, count in counts.items() if count), *(job.name for job in ours)])
    derivations = sum(job.derivations for job in plan.jobs)
    idle = sum(not _active(output) for output in plan.outputs)
    return (
        f"{_count(len(plan.jobs), 'job')} ({jobs}), {_count(derivations, 'derivation')} to build; "
        f"nothing to do for {idle} of {_count(len(plan.outputs), 'output')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
