"""GitLab's API, through python-gitlab: the tokens there are, listings, and what pipelines passed.

Every answer is optional: without a token, with one that may not, or with a server that is away, there is none,
`ApiError` says why, and who asked goes on without.

Tokens: a project access token in `PIPELINEGEN_TOKEN` (scope `read_api` to read; `api` to write; or a reference to it
in 1Password), and the job's own,
which may read and write deployments and environments (GitLab 16.2 and newer) and neither pipelines nor commit
statuses (https://docs.gitlab.com/ci/jobs/ci_job_token/#job-token-access). What one token may not is asked again
with the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from pipelinegen import secret_files
from pipelinegen.ci_env import CiEnv
from pipelinegen.errors import CredentialsError, ToolError, TransientError
from pipelinegen.gitlab_transport import ApiError, Transport, session

if TYPE_CHECKING:
    import gitlab

BUDGET = 90.0
"""Seconds that all questions of one connection may take together, the pauses between tries included."""

PER_PAGE = 20
MAX_PAGES = 50
"""Pages of a listing that are read at most: what lies behind them is not known."""

REFUSALS = frozenset({401, 403, 404})
"""No (GitLab hides with 404 what a token may not see); asking again with the same token changes nothing."""

PROJECT_TOKEN, JOB_TOKEN = "PIPELINEGEN_TOKEN", "CI_JOB_TOKEN"
"""Variables that hold a token."""


class GitLabApi:
    """The API of the project that this job runs in. Made by `connect`.

    Args:
        clients: the API as each token sees it, by the token's variable.
        project: its id.
        transport: what asks.
    """

    def __init__(self, clients: Mapping[str, gitlab.Gitlab], project: str, transport: Transport) -> None:
        self._clients = dict(clients)
        self._project = f"/projects/{quote(project, safe='')}"
        self._transport = transport
        self._refused: dict[tuple[str, str], ApiError] = {}
        self.troubles: list[str] = []
        """Why questions stayed without an answer, one sentence each."""

    @property
    def has_project_token(self) -> bool:
        """Whether there is more than the job's own token."""
        return PROJECT_TOKEN in self._clients

    def last_passed(self, branch: str) -> str | None:
        """The commit of the branch's last pipeline that passed; null when that is not known."""
        if not self.has_project_token:
            return None
        query = {"ref": branch, "status": "success", "source": "push", "order_by": "id", "sort": "desc", "per_page": 1}
        try:
            return commit_id(next(self.rows("/pipelines", query, what="pipelines"), {}).get("sha"))
        except ApiError as error:
            self.troubles.append(error.message)
            return None

    def rows(self, path: str, query: dict[str, Any], *, what: str) -> Iterator[dict[str, Any]]:
        """A listing, read page by page as it is used.

        Args:
            path: behind the project's, such as `/deployments`.
            query: filters and order.
            what: is listed, for messages.

        Raises:
            ApiError: there is no (further) page to be had, or there are more than `MAX_PAGES`.
        """
        asked = {"per_page": PER_PAGE} | query
        page: int | None = 1
        while page is not None:
            if page > MAX_PAGES:
                raise ApiError(f"GitLab lists too many {what}: more than {MAX_PAGES * asked['per_page']}")
            found, headers, following = self._ask(
                "get", path, what=what, tokens=(PROJECT_TOKEN, JOB_TOKEN), query=asked | {"page": page}
            )
            if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
                raise ApiError(f"GitLab does not tell the {what}: the answer is no list")
            yield from found
            page = _next_page(page, headers, following, full=len(found) >= asked["per_page"])

    def write(self, verb: str, path: str, body: dict[str, Any], *, what: str, tokens: Sequence[str]) -> None:
        """`post` or `put`: something that does no harm when it is done twice.

        Raises:
            ApiError: it is not known to be done.
        """
        self._ask(verb, path, what=what, tokens=tokens, body=body)

    def _ask(
        self,
        verb: str,
        path: str,
        *,
        what: str,
        tokens: Sequence[str],
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
    ) -> tuple[Any, Mapping[str, str], str | None]:
        """The answer to the first of `tokens` that may; a token that may not is not tried again on the like."""
        refusals: list[ApiError] = []
        for token in tokens:
            client = self._clients.get(token)
            if client is None:
                continue
            key = (f"{verb} {what}", token)
            if key in self._refused:
                refusals.append(self._refused[key])
                continue
            try:
                return self._transport.request(client, verb, self._project + path, query=query, body=body)
            except ApiError as error:
                refusals.append(error)
                if error.status not in REFUSALS:
                    break
                self._refused[key] = error
        refusal = refusals[0] if refusals else ApiError("there is no token for that")
        does = "tell" if verb == "get" else "take"
        raise ApiError(
            f"GitLab does not {does} the {what}: {refusal.message}",
            status=refusal.status,
            lacks_scope=refusal.lacks_scope,
        )


def connect(env: CiEnv, *, seconds: float = BUDGET) -> GitLabApi | None:
    """The API, where this is a GitLab job and there is a token; null elsewhere.

    Args:
        env: what GitLab says.
        seconds: that all questions may take together.
    """
    if not (env.gitlab and env.api_url and env.project_id):
        return None
    tokens, trouble = read_tokens()
    if not tokens:
        return None
    import gitlab  # noqa: PLC0415  # slow to import, and rarely needed

    url = env.api_url.removesuffix("/").removesuffix("/api/v4")
    clients = {
        name: gitlab.Gitlab(
            url,
            private_token=token if name == PROJECT_TOKEN else None,
            job_token=token if name == JOB_TOKEN else None,
            session=session(),
        )
        for name, token in tokens.items()
    }
    api = GitLabApi(clients, env.project_id, Transport(seconds, tuple(tokens.values())))
    api.troubles += [trouble] if trouble else []
    return api


def read_tokens() -> tuple[dict[str, str], str | None]:
    """The tokens there are, by their variables, and why the project's cannot be had, if so."""
    tokens = {name: os.environ.get(name, "").strip() for name in (PROJECT_TOKEN, JOB_TOKEN)}
    trouble = None
    try:
        tokens[PROJECT_TOKEN] = secret_files.plain(tokens[PROJECT_TOKEN], PROJECT_TOKEN, purpose="GitLab token")
    except (CredentialsError, ToolError, TransientError) as error:
        trouble = error.message
        tokens[PROJECT_TOKEN] = ""
    return {name: token for name, token in tokens.items() if token}, trouble


def commit_id(text: object) -> str | None:
    """`text`, where it is a full commit id."""
    return text if isinstance(text, str) and len(text) in {40, 64} and set(text) <= set("0123456789abcdef") else None


def _next_page(page: int, headers: Mapping[str, str], following: str | None, *, full: bool) -> int | None:
    """The number of the next page: only that is taken of what the server says, never an address.

    A proxy may have dropped the headers: then a full page is not the last.
    """
    if "X-Next-Page" in headers:
        said = headers["X-Next-Page"].strip()
    elif following is not None:
        said = parse_qs(urlsplit(following).query).get("page", [""])[-1]
    else:
        return page + 1 if full else None
    return int(said) if said.isascii() and said.isdigit() and int(said) > page else None
