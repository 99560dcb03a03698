"""`run wave`: has a wave of deployments gone well? Its reports say, and what says nothing has failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic

from pipelinegen.attrpath import show_name
from pipelinegen.console import Console, clean
from pipelinegen.deploy.report import DEPLOYED, UNCHANGED, DeployReport
from pipelinegen.errors import StepFailedError
from pipelinegen.job_names import slug
from pipelinegen.run.heartbeat import duration

_LONGEST = 1e9
"""Seconds; infinity and what is no number are not below it."""


@dataclass(frozen=True)
class Ended:
    """How one host's deployment ended: `said` is one word or a few, for people."""

    host: str
    well: bool
    said: str
    seconds: float | None = None


def report_in(folder: Path, host: str) -> Path:
    """The report of a host's deployment among those of a wave."""
    return folder / f"{slug(host)}.json"


def read_report(file: Path) -> DeployReport:
    """A deployment's report.

    Raises:
        OSError: there is none that can be read.
        ValueError: it is none.
    """
    try:
        report = DeployReport.model_validate_json(file.read_bytes())
    except pydantic.ValidationError as error:
        # Its own text quotes the file, which is no more than foreign text here.
        raise ValueError(f"{error.error_count()} things in it are not as in a report") from error
    if not abs(report.seconds) < _LONGEST:
        raise ValueError("its times are none")
    return report


def ended(host: str, file: Path, revision: str | None = None) -> Ended:
    """How a host's deployment ended, by its report; one of another commit than `revision` is none."""
    try:
        report = read_report(file)
    except OSError:
        return Ended(host, well=False, said="no report: it was not deployed, or its job broke off")
    except ValueError as error:
        return Ended(host, well=False, said=f"its report cannot be read: {error}")
    if report.host != host:
        return Ended(host, well=False, said=f"its report is of another host, {clean(report.host, colour=False)}")
    if revision is not None and report.revision != revision:
        # Left by an older job, or a file of the repository, which cannot know the commit that it is in.
        return Ended(host, well=False, said="its report is of another commit")
    well = report.exit_code == 0 and report.result in (DEPLOYED, UNCHANGED)
    said = clean(report.result, colour=False)
    return Ended(host, well, said if well else f"{said} (exit code {report.exit_code})", report.seconds)


def run_wave(
    hosts: Sequence[str], folder: Path, *, max_failures: int, console: Console, revision: str | None = None
) -> None:
    """Print how each host's deployment ended, and judge the wave.

    A wave of which no host was deployed has not gone well, whatever is allowed: the one before has failed, and this
    one did not begin.

    Args:
        hosts: of the wave.
        folder: with their reports, each as `report_in` names it.
        max_failures: failed hosts with which it has gone well all the same.
        revision: the commit that was deployed; null where that is not known.

    Raises:
        StepFailedError: it has not.
    """
    all_ended = [ended(host, report_in(folder, host), revision) for host in hosts]
    width = max((len(_name(one.host)) for one in all_ended), default=0)
    for one in all_ended:
        took = "" if one.seconds is None else f" ({duration(one.seconds)})"
        console.write(f"{'ok    ' if one.well else 'failed'}  {_name(one.host):{width}}  {one.said}{took}\n")
    failed = [_name(one.host) for one in all_ended if not one.well]
    console.say(f"{len(failed)} of {len(all_ended)} hosts failed; {max_failures} may")
    if len(failed) > max_failures or len(failed) == len(all_ended):
        none = len(failed) == len(all_ended)
        raise StepFailedError(
            "the wave has failed: no host was deployed" if none else "the wave has failed",
            where=", ".join(failed),
            why=None if none else f"{len(failed)} hosts failed, fleet.max_failures = {max_failures}",
            hint="later waves do not start; mend it with a new push, or retry these hosts' jobs and then this one",
        )


def _name(host: str) -> str:
    return clean(show_name(host), colour=False)
