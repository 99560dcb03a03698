"""One file of a job's artifacts, as the last pipeline of a branch that passed left it.

`GET /projects/:id/jobs/artifacts/:ref_name/raw/*artifact_path?job=name`, see
https://docs.gitlab.com/api/job_artifacts/#download-a-single-artifact-file-by-reference-name:

- From GitLab 18.10 on, `search_recent_successful_pipelines` looks through the last hundred pipelines that passed.
  Older servers ignore it and look at the last one alone, so that none is found behind a schedule without the job.
- 404 means that there is none, that it has expired, and also that the token may not: on GitLab Free (not in the
  Community Edition) a job's own token may not.
- GitLab looks for pipelines by the name of their ref, be it a branch or a tag: who may push a tag that is called
  like the branch decides what is read here.
- The answer may be a redirection to an object storage, which must not see the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx

from pipelinegen import process
from pipelinegen.ci_env import CiEnv
from pipelinegen.gitlab_api import JOB_TOKEN, PROJECT_TOKEN, REFUSALS, read_tokens
from pipelinegen.gitlab_transport import (
    TRANSIENT,
    ApiError,
    TransientApiError,
    Transport,
    asked_pause,
    status_words,
)

BUDGET = 45.0
"""Seconds for all of it, the pauses between tries included: nothing that is read here is worth waiting longer."""

REDIRECTIONS = 3
"""That are followed, one after another."""

_HEADERS = {JOB_TOKEN: "JOB-TOKEN", PROJECT_TOKEN: "PRIVATE-TOKEN"}
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_CERTIFICATES = ("CI_SERVER_TLS_CA_FILE", "REQUESTS_CA_BUNDLE")
"""Variables that name a file of authorities: the first is GitLab's, the second has a meaning for its API."""


def last_artifact(
    env: CiEnv, branch: str, job: str, path: str, *, max_bytes: int, seconds: float = BUDGET
) -> bytes | None:
    """The file `path` in the artifacts of `job` in the last pipeline of `branch`, in this project, that passed.

    Args:
        path: relative to the top of the archive.
        max_bytes: a larger file is not read to its end.
        seconds: for all of it.

    Returns null where GitLab has none, or shows none to our tokens.

    Raises:
        ApiError: it cannot be had, or there is nobody to ask. The message holds no token and no address.
    """
    tokens, trouble = read_tokens()
    if not (env.gitlab and env.api_url and env.project_id and tokens):
        raise ApiError(trouble or "there is no token for GitLab's API")
    place = "/".join(quote(part, safe="") for part in path.split("/"))
    url = (
        f"{env.api_url.removesuffix('/')}/projects/{quote(env.project_id, safe='')}/jobs/artifacts/"
        f"{quote(branch, safe='')}/raw/{place}?job={quote(job, safe='')}&search_recent_successful_pipelines=true"
    )
    transport = Transport(seconds)
    refusals: list[ApiError] = []
    for name, header in _HEADERS.items():
        if name not in tokens:
            continue
        question = _Question(url, {header: tokens[name]}, max_bytes)
        try:
            return transport.retried(functools.partial(_ask, question))
        except ApiError as error:
            if error.status not in REFUSALS:
                raise
            refusals.append(error)
    for refusal in refusals:
        if refusal.status != 404:
            raise refusal
    return None


@dataclass(frozen=True)
class _Question:
    """Where to ask, what to show of ourselves there, and what to take at most."""

    url: str
    secret: Mapping[str, str]
    max_bytes: int


def _ask(question: _Question, seconds: float) -> bytes:
    return asyncio.run(_within(question, seconds))


async def _within(question: _Question, seconds: float) -> bytes:
    try:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(verify=_certificates(), timeout=seconds, follow_redirects=False) as client,
        ):
            return await _download(client, question)
    except (TimeoutError, httpx.TimeoutException):
        raise TransientApiError(f"no whole answer within {seconds:.0f} s") from None
    # Never the texts of these errors: they may tell a header, or an address that is as good as a token.
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError) as error:
        raise TransientApiError(f"no whole answer ({type(error).__name__})") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        raise ApiError(f"it cannot be asked from this job ({type(error).__name__})") from None


async def _download(client: httpx.AsyncClient, question: _Question) -> bytes:
    """The body at the end of the redirections. The token is shown to GitLab alone, and until another server has had
    a say in where to go.
    """
    url, secret = question.url, question.secret
    for _ in range(REDIRECTIONS + 1):
        headers = {"User-Agent": "pipelinegen", "Accept-Encoding": "identity", **secret}
        async with client.stream("GET", url, headers=headers) as answer:
            if answer.status_code in TRANSIENT:
                pause = asked_pause(answer.headers, time.time())
                raise TransientApiError(status_words(answer.status_code), status=answer.status_code, pause=pause)
            if answer.status_code not in _REDIRECTED:
                return await _body(answer, question.max_bytes)
            location = answer.headers.get("Location", "")
        following = _following(url, location)
        if _origin(following) != _origin(url):
            secret = {}
        url = following
    raise ApiError("it redirects again and again")


async def _body(answer: httpx.Response, max_bytes: int) -> bytes:
    if answer.status_code != 200:
        raise ApiError(status_words(answer.status_code), status=answer.status_code)
    body = bytearray()
    # Not decoded: the file itself is compressed, and some servers say so in a header.
    async for part in answer.aiter_raw():
        body += part
        if len(body) > max_bytes:
            raise ApiError(f"the file is larger than {max_bytes} bytes")
    return bytes(body)


def _following(url: str, location: str) -> str:
    """Where a redirection leads, as long as that is not less safe.

    Raises:
        ApiError: it is no address, or leaves TLS.
    """
    following, safe = "", False
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        following = str(httpx.URL(url).join(location))
        scheme, host, _ = _origin(following)
        safe = bool(location and host) and (scheme == "https" or (scheme == "http" and url.startswith("http:")))
    if not safe:
        raise ApiError("it redirects to no address that can be asked")
    return following


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _certificates() -> ssl.SSLContext:
    """What this machine trusts, besides what httpx brings along, and the authorities that variables name."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    variables = process.environment()
    for name in _CERTIFICATES:
        file = Path(variables.get(name) or "/nowhere")
        if file.is_file():
            context.load_verify_locations(file)
    return context
