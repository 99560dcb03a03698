"""Why an output, a host or a job is in or out: views of the plan for one target. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pipelinegen.characters import inert
from pipelinegen.console import plain
from pipelinegen.errors import UsageError
from pipelinegen.plan.model import FORMAT_VERSION, Failure, Plan, PlannedJob, PlannedOutput, Stage
from pipelinegen.report.reading import Reading, explain_lines
from pipelinegen.report.text import MARKS, Style
from pipelinegen.values import Value


class Explanation(Value):
    """All that the plan says of one target.

    Attributes:
        target: as it was asked for.
        outputs: the outputs that it names (or that the job serves).
        failures: the same for outputs that did not evaluate.
        jobs: the jobs that it names or that serve it.
        readings: what evaluating these outputs reads, where that is recorded, in their order.
    """

    format_version: str = FORMAT_VERSION
    target: str
    outputs: tuple[PlannedOutput, ...] = ()
    failures: tuple[Failure, ...] = ()
    jobs: tuple[PlannedJob, ...] = ()
    readings: tuple[Reading, ...] = ()


def explain(plan: Plan, target: str, readings: Sequence[Reading] = ()) -> Explanation:
    """Find `target`: an attribute path, the last name of one (a host, a package), or a job's name.

    Args:
        plan: what was decided.
        target: what to look for.
        readings: how each output's derivation came to be known; none where that is not to be told.

    Raises:
        UsageError: nothing has that name; close matches are offered.
    """
    job = next((job for job in plan.jobs if job.name == target), None)
    wanted = {*job.targets, *job.serves} if job else set()
    outputs = tuple(
        output
        for output in plan.outputs
        if output.attr in wanted or output.attr == target or output.attr.endswith(f".{target}")
    )
    failures = tuple(
        failure
        for failure in plan.failures
        if failure.attr in wanted or failure.attr == target or failure.attr.endswith(f".{target}")
    )
    names = {output.attr for output in outputs} | {failure.attr for failure in failures}
    if job is None and not outputs and not failures:
        known = [output.attr for output in plan.outputs] + [one.name for one in plan.jobs]
        known += [failure.attr for failure in plan.failures]
        known += [attr.rsplit(".", 1)[-1] for attr in known]
        close = difflib.get_close_matches(target, dict.fromkeys(known), n=3)
        raise UsageError(
            f"there is no output or job {target!r}",
            hint=f"did you mean {' or '.join(close)}?" if close else "pipelinegen preview --all lists everything",
        )
    jobs = (job,) if job else _jobs_for(plan, names)
    told = tuple(reading for reading in readings if reading.attr in names)
    return Explanation(target=target, outputs=outputs, failures=failures, jobs=jobs, readings=told)


def _jobs_for(plan: Plan, names: set[str]) -> tuple[PlannedJob, ...]:
    """The jobs that finish, push or deploy these outputs, and those that build something for them."""
    by_name = {job.name: job for job in plan.jobs}
    found = {job.name for job in plan.jobs if names & set(job.targets)}
    todo = [name for name in found if by_name[name].stage in _MAKING]
    while todo:
        for need in by_name[todo.pop()].needs:
            if need not in found:
                found.add(need)
                todo.append(need)
    return tuple(job for job in plan.jobs if job.name in found)


def explain_text(explanation: Explanation, style: Style) -> str:
    """The explanation as indented text."""
    lines: list[str] = []
    readings = {reading.attr: reading for reading in explanation.readings}
    for output in explanation.outputs:
        lines.append(f"{style(plain(output.attr), 'bold')} ({output.kind}, {inert(output.system) or 'any system'})")
        lines.append(f"  status      {output.status}")
        lines.append(f"  derivation  {output.drv_path or 'not evaluated'}")
        if output.attr in readings:
            lines += explain_lines(readings[output.attr], style)
        for cache, held in sorted(output.available.items()):
            lines.append(f"  cache       {cache}: {_HELD[held]}")
        for stage, decision in output.decisions.items():
            mark, colour = MARKS[decision.decision]
            where = f" in job {plain(decision.job)!r}" if decision.job else ""
            lines.append(f"  {stage:<10}  {style(f'{mark} {decision.decision}', colour)}{where}")
            lines += [f"                because {inert(reason)}" for reason in decision.reasons]
    for failure in explanation.failures:
        lines.append(f"{style(plain(failure.attr), 'bold')} does not evaluate:")
        lines += [f"  {line}" for line in plain(failure.message).split("\n")]
    for job in explanation.jobs:
        lines.append(f"job {style(plain(job.name), 'bold')} (stage {job.stage}, {job.derivations} derivations)")
        lines += [f"  makes   {plain(target)}" for target in job.targets]
        others = [target for target in job.serves if target not in job.targets]
        lines += [f"  serves  {plain(target)}" for target in others]
        if job.served > len(others) + len(job.targets):
            lines.append(f"  serves  {job.served} targets in all")
        if job.repeats:
            lines.append(f"  repeats {job.repeats} derivations that other jobs build, too: handing over costs more")
        lines += [f"  needs   {plain(need)}" for need in job.needs]
    return "\n".join(lines) + "\n"


_MAKING = (Stage.BUILD, Stage.TEST)

_HELD = {True: "holds it", False: "does not hold it", None: "could not say"}
