"""OpenMetrics text of a deployment, as GitLab's metrics reports take it. Pure.

No label changes from run to run but `result`, so that GitLab compares like with like (see `openmetrics`).
"""

from __future__ import annotations

from pipelinegen.deploy.report import DEPLOYED, UNCHANGED, DeployReport
from pipelinegen.openmetrics import Family, Labels, to_text

_SUCCESSES = {DEPLOYED, UNCHANGED, "warnings"}
_ROLLBACKS = {"rolled-back", "rolled-back-unhealthy", "rollback-failed"}


def to_metrics(report: DeployReport) -> str:
    """The metrics of one deployment; counters are 0 or 1, for whoever adds up those of many."""
    here: Labels = (("host", report.host),)
    phases: dict[str, float] = {}
    for phase in report.phases:
        phases[phase.name] = phases.get(phase.name, 0.0) + phase.seconds

    def counter(name: str, about: str, value: bool) -> Family:
        return Family(f"pipelinegen_deploy_{name}", "counter", about, [(here, int(value))])

    families = [
        Family(
            "pipelinegen_deploy_result",
            "gauge",
            "How the deployment ended; 1 for that result.",
            [((*here, ("result", report.result)), 1)],
        ),
        Family("pipelinegen_deploy_exit_code", "gauge", "Exit code of the deployment.", [(here, report.exit_code)]),
        counter("successes", "Deployments after which the host runs or boots the system.", report.result in _SUCCESSES),
        counter("rollbacks", "Deployments that were undone, or were to be.", report.result in _ROLLBACKS),
        Family(
            "pipelinegen_deploy_failed_units",
            "gauge",
            "Units that failed and had not before.",
            [(here, len(report.newly_failed))],
        ),
        Family(
            "pipelinegen_deploy_phase_seconds",
            "gauge",
            "Time of each phase that was reached.",
            [((*here, ("phase", name)), seconds) for name, seconds in phases.items()],
            "seconds",
        ),
        Family(
            "pipelinegen_deploy_duration_seconds", "gauge", "Time of all phases.", [(here, report.seconds)], "seconds"
        ),
    ]
    return to_text(families)
