"""Telling GitLab how a deployment ended; whatever GitLab says to it, the deployment is what it was.

The environment's description names the system that the host was given, or says that it is not known; the
commit gets a status; and a rollback is recorded as a failed deployment, since GitLab takes the job that rolled
back for a successful deployment of its commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from urllib.parse import quote

from pipelinegen.ci_env import CiEnv
from pipelinegen.console import Console, clean
from pipelinegen.gitlab_api import JOB_TOKEN, PROJECT_TOKEN, GitLabApi, connect
from pipelinegen.gitlab_deployments import describe, find_environment
from pipelinegen.gitlab_transport import ApiError
from pipelinegen.values import Value

SECONDS = 45.0
"""All of a report: a GitLab that hangs must not hold up the job."""

MAX_DESCRIPTION = 255
"""Characters of a commit status' description (https://docs.gitlab.com/api/commits/#set-commit-pipeline-status)."""


Fate = Literal["given", "untouched", "unknown"]


class Ended(Value):
    """How a deployment ended, as far as GitLab is concerned.

    Attributes:
        host: its name in the configuration.
        environment: GitLab's name for it.
        fate: whether the host was given `system`, the job's commit's, for good (`given`), was left as it was
            (`untouched`), or what it has now is not what GitLab's deployments tell (`unknown`).
        system: the store path that it was to be given.
        succeeded: whether the job ends well.
        rolled_back: whether it was to be given another system than the commit's.
        sentence: what happened, for people.
    """

    host: str
    environment: str
    fate: Fate
    system: str
    succeeded: bool
    rolled_back: bool = False
    sentence: str = ""


def report_deployed(env: CiEnv, ended: Ended, console: Console) -> None:
    """Tell GitLab; outside of its jobs there is nobody to tell.

    Args:
        env: what GitLab says of the job.
        ended: how the deployment ended.
        console: where trouble is said, as warnings: nothing is raised.
    """
    api = connect(env, seconds=SECONDS)
    if api is None or env.commit_sha is None:
        return
    ref = env.tag or env.branch or env.ref_name
    if ended.rolled_back and ref is not None:
        sha, tag = env.commit_sha, env.tag is not None
        _try(console, lambda: record_failed_deployment(api, ended.environment, sha, ref, tag=tag))
    if ended.fate != "untouched":
        _try(console, lambda: _describe(api, ended, env.commit_sha))
    if api.has_project_token:
        _try(console, lambda: _set_status(api, ended, env))


def _try(console: Console, step: Callable[[], None]) -> None:
    try:
        step()
    except ApiError as error:
        if error.lacks_scope:  # a token that is only to read is nothing to warn of
            console.say(error.message)
        else:
            console.warn(error.message)


def record_failed_deployment(api: GitLabApi, environment: str, sha: str, ref: str, *, tag: bool = False) -> None:
    """Make it GitLab's last deployment of the environment that one failed: what it was last given is then not known.

    Args:
        environment: its name.
        sha, ref, tag: the commit, its branch or tag, and which of the two that is.

    Raises:
        ApiError: it is not known to be recorded.
    """
    body = {"environment": environment, "sha": sha, "ref": ref, "tag": tag, "status": "failed"}
    api.write("post", "/deployments", body, what="record of a deployment", tokens=(JOB_TOKEN, PROJECT_TOKEN))


def _describe(api: GitLabApi, ended: Ended, commit: str | None) -> None:
    """A host that no job of an environment deploys has none to be described."""
    found = find_environment(api, ended.environment)
    if found is None:
        return
    before = str(found.get("description") or "")
    after = describe(before, commit, ended.system if ended.fate == "given" else None)
    if after == before:
        return
    tokens = (JOB_TOKEN, PROJECT_TOKEN)
    path = f"/environments/{quote(str(found.get('id')), safe='')}"
    api.write("put", path, {"description": after}, what="description of an environment", tokens=tokens)


def _set_status(api: GitLabApi, ended: Ended, env: CiEnv) -> None:
    body = {
        "name": f"deploy/{ended.host}",
        "state": "success" if ended.succeeded else "failed",
        "description": clean(ended.sentence, colour=False)[:MAX_DESCRIPTION],
        "ref": env.tag or env.branch or env.ref_name,
        "target_url": env.job_url,
        # Else GitLab takes the newest pipeline of the commit, which may be a schedule's.
        "pipeline_id": env.parent_pipeline_id or env.pipeline_id,
    }
    body = {name: value for name, value in body.items() if value}
    api.write("post", f"/statuses/{env.commit_sha}", body, what="status of the commit", tokens=(PROJECT_TOKEN,))
