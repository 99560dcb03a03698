"""`run deploy --undo REPORT`: which generation a host goes back to, whose deployment went well when others failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipelinegen.config import Config
from pipelinegen.console import Console, clean
from pipelinegen.deploy.generations import Generation, read_generations
from pipelinegen.deploy.report import DEPLOYED, DeployReport
from pipelinegen.deploy.ssh import UnreachableError, connection
from pipelinegen.deploy.state import HostState, read_state
from pipelinegen.deploy.wave import read_report
from pipelinegen.errors import CommandError, DeployError, DeployOutcome, UsageError

_GIVEN = (DEPLOYED, DeployOutcome.WARNINGS.word)
"""Results after which the host has the new system for good."""


class Decision(NamedTuple):
    """The number of the generation to go back to, or null and why there is nothing to do."""

    generation: int | None
    why: str = ""


def find_way_back(name: str, file: Path, *, config: Config, console: Console) -> int | None:
    """The generation that a host had before a deployment; null, and said why, where there is nothing to undo.

    Args:
        name: of the host in the configuration.
        file: the deployment's report.

    Raises:
        UsageError: there is no such host, or the report is of another one.
        DeployError: STATE_UNKNOWN, what the deployment did cannot be read or the host does not answer; REFUSED, its
            earlier system is in none of its generations.
        ConfigError, CredentialsError: the host's settings or keys are wrong or missing.
    """
    if name not in config.hosts:
        known = ", ".join(sorted(config.hosts)) or "none"
        raise UsageError(f"there is no host {name!r} in the configuration", why=f"configured: {known}")
    try:
        report = read_report(file)
    except (OSError, ValueError) as error:
        raise DeployError(
            "it is not known what the deployment did, so it cannot be undone",
            outcome=DeployOutcome.STATE_UNKNOWN,
            where=f"{name}: {file}",
            why=(isinstance(error, OSError) and error.strerror) or str(error),
            hint=f"pipelinegen generations {name}",
        ) from error
    if report.host != name:
        raise UsageError(f"the report is of host {report.host!r}, not of {name!r}", where=str(file))
    if report.result not in _GIVEN:
        console.say(f"nothing to undo: the deployment of {name} ended with {clean(report.result, colour=False)!r}")
        return None
    try:
        with connection(config.hosts[name], where=f"hosts.{name}") as target:
            found = decide(report, read_state(target), read_generations(target))
    except (UnreachableError, CommandError) as error:
        raise DeployError(
            "the host does not say what it runs, so the deployment was not undone",
            outcome=DeployOutcome.STATE_UNKNOWN,
            where=name,
            why=error.why or error.message,
            hint=f"as far as is known, it runs {report.system}",
        ) from error
    if found.generation is None:
        console.say(f"nothing to undo: {clean(found.why, colour=False)}")
    return found.generation


def decide(report: DeployReport, state: HostState, generations: Sequence[Generation]) -> Decision:
    """The generation to go back to.

    Args:
        report: of a deployment that ended well.
        state, generations: of the host, now.

    Raises:
        DeployError: REFUSED, the earlier system is in none of the generations.
    """
    if report.system not in (state.running, state.profile):
        return Decision(None, f"{report.host} does not have {report.system} any more; it runs {state.running}")
    before = report.before
    earlier = None if before is None else before.profile if report.action == "boot" else before.running
    if earlier == report.system:
        return Decision(None, f"{report.host} had that system before")
    if earlier is None:
        return Decision(None, f"it is not known what {report.host} ran before")
    holding = [one.number for one in generations if one.path == earlier and one.present]
    if not holding:
        raise DeployError(
            "the deployment cannot be undone: the host has no generation of its earlier system",
            outcome=DeployOutcome.REFUSED,
            where=report.host,
            why=f"it ran {earlier}, which was never made a generation, or was removed since",
            hint=f"pipelinegen run deploy {report.host} --rollback, or push a revert",
        )
    return Decision(max(holding))
