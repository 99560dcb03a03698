"""Why an output, a host or a job is in or out: views of the plan for one target. Pure."""

from __future__ import annotations

import difflib

from pipelinegen.characters import inert
from pipelinegen.console import plain
from pipelinegen.errors import UsageError
from pipelinegen.plan.model import FORMAT_VERSION, Failure, Plan, PlannedJob, PlannedOutput
from pipelinegen.report.text import MARKS, Style
from pipelinegen.values import Value


class Explanation(Value):
    """All that the plan says of one target.

    Attributes:
        target: as it was asked for.
        outputs: the outputs that it names (or that the job serves).
        failures: the same for outputs that did not evaluate.
        jobs: the jobs that it names or that serve it.
    """

    format_version: str = FORMAT_VERSION
    target: str
    outputs: tuple[PlannedOutput, ...] = ()
    failures: tuple[Failure, ...] = ()
    jobs: tuple[PlannedJob, ...] = ()


def explain(plan: Plan, target: str) -> Explanation:
    """Find `target`: an attribute path, the last name of one (a host, a package), or a job's name.

    Raises:
        UsageError: nothing has that name; close matches are offered.
    """
    job = next((job for job in plan.jobs if job.name == target), None)
    wanted = set(job.targets) if job else set()
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
    jobs = (job,) if job else tuple(one for one in plan.jobs if names & set(one.targets))
    return Explanation(target=target, outputs=outputs, failures=failures, jobs=jobs)


def explain_text(explanation: Explanation, style: Style) -> str:
    """The explanation as indented text."""
    lines: list[str] = []
    for output in explanation.outputs:
        lines.append(f"{style(plain(output.attr), 'bold')} ({output.kind}, {inert(output.system) or 'any system'})")
        lines.append(f"  status      {output.status}")
        lines.append(f"  derivation  {output.drv_path or 'not evaluated'}")
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
        lines += [f"  serves  {plain(target)}" for target in job.targets]
        lines += [f"  needs   {plain(need)}" for need in job.needs]
    return "\n".join(lines) + "\n"


_HELD = {True: "holds it", False: "does not hold it", None: "could not say"}
