"""A deployment as JUnit XML: one suite per host, one case per thing that can go wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pipelinegen.deploy.report import DEPLOYED, DRY_RUN, INTERRUPTED, UNCHANGED, DeployReport, ProbeResult
from pipelinegen.deploy.say import headline
from pipelinegen.run.junit import Case, to_xml

_GONE_WELL = {DEPLOYED, "warnings"}
_ROLLBACKS = {"rolled-back", "rolled-back-unhealthy", "rollback-failed"}
_REFUSED = {"refused", "locked"}
_LATER = ("reboot", "smoke")
"""Phases behind the activation."""
_CALM = (None, 0, 4)
"""Exit codes of switch-to-configuration with which the system was activated; 4: some units failed."""


def to_junit(report: DeployReport) -> bytes:
    """The document. A deployment that failed or was interrupted has at least one failed case, others none.

    Cases keep their names from run to run, so that GitLab can compare: preflight, copy, activation, units, one
    per probe, confirmation; a reboot and a rollback have one more each.
    """
    cases = list(_cases(report))
    if _bad(report) and not any(case.failure is not None for case in cases):
        cases = [_failed_with_verdict(case, report) if case.name == "confirmation" else case for case in cases]
    return to_xml(f"deploy {report.host}", cases, report.seconds)


def _cases(report: DeployReport) -> Iterator[Case]:
    reached = {phase.name for phase in report.phases}
    begun = bool(reached - {"preflight", "copy"}) and report.result not in {UNCHANGED, DRY_RUN}
    refused = _why(report) if report.result in _REFUSED else None
    log = "\n".join(report.log)
    yield Case(
        "preflight",
        _seconds(report, "preflight"),
        failure=refused if "copy" not in reached and not begun else None,
    )
    yield Case(
        "copy",
        _seconds(report, "copy"),
        failure=refused if "copy" in reached and not begun else None,
        skipped=None if "copy" in reached else "nothing was to be copied",
    )
    yield Case(
        "activation",
        _seconds(report, *(reached - {"preflight", "copy", *_LATER})),
        failure=refused or (_why(report) if _activation_failed(report) else None) if begun else None,
        skipped=None if begun else "it was not begun",
        output=log,
    )
    yield Case(
        "units",
        0.0,
        failure=f"newly failed: {', '.join(report.newly_failed)}" if report.newly_failed and _bad(report) else None,
        skipped=None if begun else "nothing was activated",
        output=log,
    )
    if "reboot" in reached:
        yield Case("reboot", _seconds(report, "reboot"))
    for kind, probes in (("health", report.health), ("smoke", report.smoke)):
        yield from (_probe(kind, one, report) for one in probes)
    unconfirmed = report.result in {*_ROLLBACKS, "boot-failed", "state-unknown", "reboot-required"}
    yield Case(
        "confirmation",
        0.0,
        # After another failure it is that one which says why nobody confirmed.
        failure=_why(report) if begun and unconfirmed and not _blamed(report) else None,
        skipped=None
        if begun and (report.result in _GONE_WELL or not (_blamed(report) or refused))
        else "there was none",
    )
    if report.result in _ROLLBACKS:
        yield Case("rollback", 0.0, failure=None if report.result == "rolled-back" else _why(report))


def _failed_with_verdict(case: Case, report: DeployReport) -> Case:
    return Case(case.name, case.seconds, failure=_why(report), output="\n".join(report.log))


def _probe(kind: str, one: ProbeResult, report: DeployReport) -> Case:
    # What the configuration lets pass fails nothing here either.
    failed = not one.passed and _bad(report)
    said = one.said or "it was not answered well in time"
    return Case(
        f"{kind} {one.title}",
        one.seconds,
        failure=f"{said} (tried {one.tries} times)" if failed else None,
        skipped=f"failed, and is tolerated: {said}" if not one.passed and not failed else None,
    )


def _blamed(report: DeployReport) -> bool:
    """Whether something other than the confirmation itself is known to have gone wrong."""
    probes = (*report.health, *report.smoke)
    return bool(report.newly_failed) or any(not one.passed for one in probes) or _activation_failed(report)


def _activation_failed(report: DeployReport) -> bool:
    return report.switch_exit_code not in _CALM and _bad(report)


def _bad(report: DeployReport) -> bool:
    return report.exit_code != 0 or report.result == INTERRUPTED


def _why(report: DeployReport) -> str:
    parts = (headline(report), report.message, report.why, report.hint and f"hint: {report.hint}")
    return "\n".join(part for part in parts if part)


def _seconds(report: DeployReport, *names: str) -> float:
    return sum(phase.seconds for phase in report.phases if phase.name in names)
