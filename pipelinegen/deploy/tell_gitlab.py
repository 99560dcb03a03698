"""What GitLab is told of a deployment: from our report to what it can keep."""

from __future__ import annotations

from pipelinegen.ci_env import CiEnv
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console
from pipelinegen.deploy.report import DEPLOYED, DRY_RUN, INTERRUPTED, UNCHANGED, DeployReport
from pipelinegen.errors import DeployOutcome
from pipelinegen.gitlab_report import Ended, Fate, report_deployed
from pipelinegen.job_names import environment_name

LASTING = ("switch", "boot", "reboot")
"""Actions after which the host also boots the system."""

_GIVEN = {DEPLOYED, UNCHANGED, DeployOutcome.WARNINGS.word}
_UNTOUCHED = {DRY_RUN, DeployOutcome.REFUSED.word, DeployOutcome.LOCKED.word}


def tell_gitlab(
    report: DeployReport, host: HostConfig, env: CiEnv, console: Console, *, rollback: bool = False
) -> None:
    """Tell GitLab how it ended, in one of its jobs; trouble is a warning, and it takes less than a minute.

    Args:
        report: what was done.
        host: the host's settings, which name its environment.
        env: what GitLab says of the job.
        console: where trouble is said.
        rollback: whether the host was to go back to a generation, and not to get the commit's system.
    """
    ended = as_told(report, host, env, rollback=rollback)
    if ended is not None:
        report_deployed(env, ended, console)


def as_told(report: DeployReport, host: HostConfig, env: CiEnv, *, rollback: bool = False) -> Ended | None:
    """What is told; null where there is nothing to tell.

    GitLab takes a job of an environment that ends well for a successful deployment of its commit. So wherever the
    host was not given the system of that commit for good, it must hear that what the host was given is not known.
    """
    environment = host.environment or environment_name(report.host)
    succeeded = not report.exit_code
    untouched = report.result in _UNTOUCHED or report.action == "dry-activate"
    counts = succeeded and env.environment == environment and env.environment_action in {None, "start"}
    if report.result == INTERRUPTED or (untouched and succeeded and not counts):
        return None
    fate: Fate = "untouched" if untouched and not counts else "unknown"
    if succeeded and report.result in _GIVEN and report.action in LASTING and not rollback:
        fate = "given" if report.revision in {None, env.commit_sha} else "unknown"
    return Ended(
        host=report.host,
        environment=environment,
        fate=fate,
        system=report.system,
        succeeded=succeeded,
        rolled_back=rollback and not untouched,
        sentence=report.message or f"{report.result}: {report.system.rpartition('/')[2]}",
    )
