"""The sentences that a deployment ends with: each way in which a host can end up is said differently. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pipelinegen.console import clean
from pipelinegen.deploy.report import DEPLOYED, DRY_RUN, INTERRUPTED, UNCHANGED, DeployReport
from pipelinegen.deploy.state import HostState
from pipelinegen.run.heartbeat import duration

NOTHING = "no system"

_BEFORE = {"preflight", "copy"}
"""Phases in which nothing is switched."""

_HEADLINES = {
    DEPLOYED: "deployed",
    UNCHANGED: "unchanged: it runs this system already",
    DRY_RUN: "only looked at: nothing was changed",
    INTERRUPTED: "interrupted: what was begun on the host ends by itself there",
    "failed": "failed",
    "warnings": "deployed with warnings",
    "rolled-back": "rolled back, and healthy",
    "rolled-back-unhealthy": "rolled back, but not healthy",
    "rollback-failed": "the rollback failed",
    "boot-failed": "the new system runs, but the next boot takes the old one",
    "refused": "refused: nothing was switched",
    "locked": "locked: another deployment or switch is going on there",
    "state-unknown": "the host does not answer: what it runs is not known",
    "reboot-required": "a reboot is needed",
}


def headline(report: DeployReport) -> str:
    """How it ended in a few words of our own: no text from elsewhere is in them."""
    if report.result == INTERRUPTED and not {phase.name for phase in report.phases} - _BEFORE:
        return "interrupted before anything was switched"
    return _HEADLINES.get(report.result, "ended in a way that is not known here")


def verdict(report: DeployReport) -> str:
    """One line for people: what became of the host, and what it runs and boots now."""
    return clean(f"{report.host}: {_sentence(report)} ({duration(report.seconds)})", colour=False)


def remarks(report: DeployReport) -> Iterator[str]:
    """What a person should know besides the verdict, one line each; foreign text is cleaned."""
    for unit in report.newly_failed:
        yield clean(f"newly failed: {unit}", colour=False)
    for sentence in report.tolerated:
        yield clean(f"tolerated: {sentence}", colour=False)
    for kind, probes in (("health", report.health), ("smoke", report.smoke)):
        for probe in probes:
            if not probe.passed:
                said = f": {probe.said}" if probe.said else ""
                yield clean(f"{kind} probe {probe.title!r} was not answered well{said}", colour=False)
    if report.reboot_needed and report.result in {DEPLOYED, UNCHANGED, "warnings"}:
        yield clean(f"a reboot is needed for: {', '.join(report.reboot_needed)}", colour=False)
    if report.log_file is not None and report.exit_code:
        yield clean(f"the whole log is {report.log_file} on the host", colour=False)


def _sentence(report: DeployReport) -> str:
    system, now = report.system, _runs(report.after)
    before = _named(report.before.running if report.before else None)
    unit = f" (activation {report.activation})" if report.activation else ""
    sentences = {
        DEPLOYED: _deployed(report, before),
        UNCHANGED: f"runs {system} already; nothing to do",
        DRY_RUN: f"runs {before}; it would be given {system}",
        INTERRUPTED: f"{headline(report)}{unit}; {now}",
        "warnings": f"runs {system} (before: {before}), with warnings",
        "rolled-back": f"rolled back and healthy: {now} again",
        "rolled-back-unhealthy": f"rolled back but NOT healthy: {now}{_failed_units(report)}",
        "rollback-failed": f"the ROLLBACK FAILED: {now}; somebody must look at it",
        "boot-failed": f"the new system is in use, but could not be made the one to boot: {now}",
        "refused": f"{headline(report)}; {_runs(report.after or report.before)}",
        "locked": f"{headline(report)}; {_runs(report.after or report.before)}",
        "state-unknown": f"{headline(report)}; an activation that was begun ends by itself there{unit}",
        "reboot-required": f"a reboot is needed: {now}",
    }
    return sentences.get(report.result, f"{headline(report)}; {now}")


def _deployed(report: DeployReport, before: str) -> str:
    system, now = report.system, report.after
    if now is not None and now.running != system and now.profile == system:
        return f"{system} is what the next boot takes; {_named(now.running)} runs until then"
    if now is not None and now.running == system and now.profile != system:
        return f"runs {system} until the next boot, which takes {_named(now.profile)} (before: {before})"
    return f"runs {system} (before: {before})"


def _named(path: str | None) -> str:
    return path or NOTHING


def _runs(now: HostState | None) -> str:
    if now is None:
        return "what it runs is not known"
    if now.running == now.profile:
        return f"it runs and boots {_named(now.running)}"
    return f"it runs {_named(now.running)}, the next boot takes {_named(now.profile)}"


def _failed_units(report: DeployReport) -> str:
    had = set(report.before.failed) if report.before else set()
    units = [unit for unit in (report.after.failed if report.after else ()) if unit not in had]
    return f"; failed there: {', '.join(units)}" if units else ""
