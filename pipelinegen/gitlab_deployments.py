"""What GitLab knows of an environment's deployments: which commit it was last given, and which system that was.

The commit is that of the last deployment (https://docs.gitlab.com/api/deployments/). The system is in the
environment's description (https://docs.gitlab.com/api/environments/), in one line that `gitlab_report` writes.
Whoever may deploy may edit both, so what is read here can only ever keep a deployment from being made, and any
doubt means that nothing is known.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

from pipelinegen.gitlab_api import GitLabApi, commit_id
from pipelinegen.gitlab_transport import ApiError
from pipelinegen.values import Value

NEVER_STARTED = frozenset({"created", "blocked", "skipped"})
"""Statuses of deployments that have not touched anything."""

WAITING_JOBS = frozenset({"created", "waiting_for_resource", "preparing", "pending", "scheduled", "running"})
"""Statuses of jobs that go on by themselves: their deployment, `created` as yet, is on its way.

GitLab makes the deployment when the jobs before have ended, so that one behind a resource group is seen.
"""

_MARK = "pipelinegen:"
_KNOWN = re.compile(
    r"pipelinegen: (?P<commit>[0-9a-f]{40}|[0-9a-f]{64}) "
    r"(?P<system>/[^\s\x00-\x1f]*/[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+._?=-]+)"
)
_UNKNOWN = "pipelinegen: not known"


class LastDeployment(Value):
    """What an environment was last given.

    Attributes:
        commit: of its last deployment, which succeeded; null where what it was given is not known.
        system: the store path that this deployment brought; null where only the commit is known.
        unknown: why nothing is known, as the end of a sentence; null otherwise.
    """

    commit: str | None = None
    system: str | None = None
    unknown: str | None = None


class Described(Value):
    """Our line of a description. Both null: it says that what was last given is not known."""

    commit: str | None = None
    system: str | None = None


def describe(description: str, commit: str | None, system: str | None) -> str:
    """`description` with our line in it, in place of any before; what people wrote stays.

    Without a commit and a system the line says that what was last given is not known.
    """
    ours = f"{_MARK} {commit} {system}" if commit and system else _UNKNOWN
    theirs = [line.rstrip() for line in description.splitlines() if not _is_ours(line)]
    return "\n".join([*theirs, ours]).strip("\n")


def read_description(description: object) -> Described | None:
    """Our line, or null where there is none.

    Raises:
        ValueError: there are several, or it is not as we write it.
    """
    lines = [line.strip() for line in str(description or "").splitlines() if _is_ours(line)]
    if not lines:
        return None
    found = _KNOWN.fullmatch(lines[0])
    if len(lines) > 1 or not (found or lines[0] == _UNKNOWN):
        raise ValueError("the line of its description that names its system was edited")
    return Described(commit=found["commit"], system=found["system"]) if found else Described()


def _is_ours(line: str) -> bool:
    return line.strip().lower().startswith(_MARK)


def last_deployed(api: GitLabApi, environment: str) -> LastDeployment:
    """What the environment was last given, by a deployment that succeeded.

    A later deployment that failed, was cancelled or still runs may have changed the host, and one that waits will:
    then it is not known. Those that never started changed nothing. What the API did not answer is added to its
    `troubles`.
    """
    try:
        return _last_deployed(api, environment)
    except ApiError as error:
        api.troubles.append(error.message)
        return LastDeployment(unknown="GitLab does not tell its deployments")


def _last_deployed(api: GitLabApi, environment: str) -> LastDeployment:
    last: dict[str, Any] = {}
    for row in _deployments(api, environment, order_by="id"):
        if not _never_started(row):
            last = row
            break
        if _waits(row):
            return LastDeployment(unknown="a deployment of it waits to run")
    if not last:
        return LastDeployment(unknown="it was never deployed by a pipeline")
    status, commit = last.get("status"), commit_id(last.get("sha"))
    if status != "success":
        return LastDeployment(unknown=f"its last deployment {_WORDS.get(str(status), 'did not succeed')}")
    if commit is None:
        return LastDeployment(unknown="GitLab does not tell the commit of its last deployment")
    if _overtaken(api, environment, last):
        return LastDeployment(unknown="an older deployment of it ran after its last one")
    return _with_system(api, environment, commit)


_WORDS = {"failed": "failed", "canceled": "was cancelled", "running": "is still going on"}


def _deployments(api: GitLabApi, environment: str, **query: str) -> Iterator[dict[str, Any]]:
    return api.rows("/deployments", {"environment": environment, "sort": "desc"} | query, what="deployments")


def _never_started(row: dict[str, Any]) -> bool:
    return row.get("status") in NEVER_STARTED


def _waits(row: dict[str, Any]) -> bool:
    """Whether the deployment will run without anybody's doing."""
    job = row.get("deployable")
    return row.get("status") == "created" and isinstance(job, dict) and job.get("status") in WAITING_JOBS


def _overtaken(api: GitLabApi, environment: str, last: dict[str, Any]) -> bool:
    """Whether a deployment that was made earlier ran later, as the job of an old pipeline may."""
    job = last.get("deployable")
    ends = [last.get("updated_at"), job.get("finished_at") if isinstance(job, dict) else None]
    known = [end for end in map(_time, ends) if end is not None]
    if not known:
        return False
    # The API wants this filter with this order.
    later = _deployments(api, environment, order_by="updated_at", updated_after=min(known).isoformat())
    return any(row.get("id") != last.get("id") and not _never_started(row) for row in later)


def _time(text: object) -> dt.datetime | None:
    with contextlib.suppress(ValueError):
        time = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
        return time if time is None or time.tzinfo else time.replace(tzinfo=dt.UTC)
    return None


def _with_system(api: GitLabApi, environment: str, commit: str) -> LastDeployment:
    """The system that the description names, if it speaks of this very commit."""
    try:
        ours = read_description((find_environment(api, environment) or {}).get("description"))
    except ValueError as error:
        return LastDeployment(unknown=str(error))
    if ours is None:
        return LastDeployment(commit=commit)
    if ours.commit is None:
        return LastDeployment(unknown="a rollback or a failure left it with a system that its deployments do not tell")
    if ours.commit != commit:
        return LastDeployment(unknown="its description names the system of another commit than its last deployment's")
    return LastDeployment(commit=commit, system=ours.system)


def find_environment(api: GitLabApi, environment: str) -> dict[str, Any] | None:
    """The environment of this name, as the API tells it; null where there is none.

    Raises:
        ApiError: it does not tell.
    """
    found = api.rows("/environments", {"name": environment}, what="environments")
    return next((row for row in found if row.get("name") == environment), None)
