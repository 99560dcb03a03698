"""What GitLab's API knows, through python-gitlab: last deployments, last passed pipelines.

Every answer is optional: without a token, with one that may not, or with a server that is away, the answer
is "not known", with the reason, and planning goes on with its fallbacks.

The job's own token may read deployments and commits, not pipelines; a project access token with scope
`read_api` in `PIPELINEGEN_TOKEN` may read both
(https://docs.gitlab.com/ci/jobs/ci_job_token/#job-token-access).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pipelinegen.ci_env import CiEnv
from pipelinegen.console import clean

if TYPE_CHECKING:
    import gitlab

T = TypeVar("T")

TIMEOUT = 20.0
"""Seconds for one answer; the API only ever saves work."""


NEVER_STARTED = ("created", "blocked", "skipped")
"""Statuses of deployments that have not touched anything (https://docs.gitlab.com/api/deployments/)."""


class GitLabApi:
    """The API of the project that this job runs in. Made by `connect`."""

    def __init__(self, client: gitlab.Gitlab, project: str, *, may_read_pipelines: bool) -> None:
        self._project = client.projects.get(project, lazy=True)
        self._may_read_pipelines = may_read_pipelines
        self.troubles: list[str] = []
        """Why questions stayed without an answer, one sentence each."""

    def last_passed(self, branch: str) -> str | None:
        """The commit of the branch's last pipeline that passed; null when that is not known."""
        if not self._may_read_pipelines:
            return None
        found: Any = self._ask(
            "pipelines",
            lambda: self._project.pipelines.list(
                ref=branch, status="success", source="push", order_by="id", sort="desc", per_page=1, page=1
            ),
        )
        return _commit(found[0].attributes.get("sha")) if found else None

    def last_deployed(self, environment: str) -> str | None:
        """The commit that the environment was last given, by a deployment that succeeded; null when not known.

        A later deployment that failed, was cancelled or still runs may have changed the host: then what it
        was last given is not known. Those that never started changed nothing.
        """
        found: Any = self._ask(
            "deployments",
            lambda: self._project.deployments.list(
                environment=environment, order_by="id", sort="desc", per_page=50, page=1
            ),
        )
        rows: list[dict[str, Any]] = [one.attributes for one in found or ()]
        last: dict[str, Any] = next((row for row in rows if row.get("status") not in NEVER_STARTED), {})
        return _commit(last.get("sha")) if last.get("status") == "success" else None

    def _ask(self, what: str, question: Callable[[], T]) -> T | None:
        import gitlab  # noqa: PLC0415  # slow to import, and rarely needed
        import requests  # noqa: PLC0415

        try:
            return question()
        except (gitlab.GitlabError, requests.RequestException) as error:
            self.troubles.append(f"GitLab does not tell the {what}: {clean(str(error), colour=False)[:200]}")
            return None


def connect(env: CiEnv) -> GitLabApi | None:
    """The API, where this is a GitLab job and there is a token; null elsewhere."""
    if not (env.gitlab and env.api_url and env.project_id):
        return None
    token, job_token = os.environ.get("PIPELINEGEN_TOKEN"), os.environ.get("CI_JOB_TOKEN")
    if not (token or job_token):
        return None
    import gitlab  # noqa: PLC0415

    client = gitlab.Gitlab(
        env.api_url.removesuffix("/").removesuffix("/api/v4"),
        private_token=token or None,
        job_token=None if token else job_token,
        timeout=TIMEOUT,
        keep_base_url=True,
    )
    return GitLabApi(client, env.project_id, may_read_pipelines=token is not None)


def _commit(text: object) -> str | None:
    return text if isinstance(text, str) and len(text) in {40, 64} else None
