"""Sending the metrics of one job to a Prometheus Pushgateway, from where Prometheus takes them.

The protocol: https://github.com/prometheus/pushgateway#api. A `PUT` replaces what was there in its group, so a group
holds what its latest job said; the gateway adds when that was (`push_time_seconds`).
"""

from __future__ import annotations

import base64
import concurrent.futures
import threading
import urllib.parse
from collections.abc import Callable, Mapping

import httpx
from pydantic import SecretStr

from pipelinegen.console import clean
from pipelinegen.errors import CredentialsError, StepFailedError, TransientError, UsageError
from pipelinegen.openmetrics import to_prometheus

USER = "pipelinegen"
"""The user name beside the token: proxies in front of a gateway know basic authentication."""

SECONDS = 10.0
"""For all of it; metrics never keep a job waiting for long."""

_SAID_BYTES = 500
"""Of an answer, for the message."""

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def send(text: str, url: str, group: Mapping[str, str], token: SecretStr | None = None) -> None:
    """Replace the metrics of a group.

    Args:
        text: OpenMetrics, as `openmetrics.to_text` writes it.
        url: of the gateway, such as `https://cache.example.org/pushgateway`.
        group: labels that name the group; all its samples have them.
        token: password of `USER`; null where the gateway asks for none.

    Raises:
        UsageError: the address is none, or would send the token in the clear.
        CredentialsError: the gateway, or a proxy before it, refuses the token.
        TransientError: it does not answer, or is in trouble.
        StepFailedError: it refuses the metrics.
    """
    where = _checked(url, secret=token is not None)
    auth = httpx.BasicAuth(USER, token.get_secret_value()) if token else None
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8", "Accept-Encoding": "identity"}

    def put() -> tuple[int, str]:
        with httpx.stream(
            "PUT",
            where + _place(group),
            content=to_prometheus(text).encode(),
            auth=auth,
            headers=headers,
            timeout=SECONDS,
            # What is on this machine is reached by no proxy, which would see the token.
            trust_env=urllib.parse.urlsplit(where).hostname not in _LOCAL,
        ) as answer:
            # The rest of it is not waited for.
            said = b"" if answer.is_success else next(answer.iter_raw(_SAID_BYTES), b"")
            return answer.status_code, said.decode("utf-8", "replace")

    try:
        status, said = _in_time(put)
    except TimeoutError:
        why = f"not within {SECONDS:.0f} s"
        raise TransientError("the Pushgateway does not answer", where=where, why=why) from None
    except httpx.RequestError as error:
        raise TransientError("the Pushgateway does not answer", where=where, why=clean(str(error))) from None
    except (httpx.InvalidURL, ValueError, OSError, ImportError) as error:
        # Not the text of the error: the environment's proxies may have passwords.
        raise UsageError(
            "the Pushgateway cannot be asked from this job",
            where=where,
            why=type(error).__name__,
            hint="see PIPELINEGEN_METRICS_URL, and the job's proxies and certificates",
        ) from None
    why = f"it answered {status} {' '.join(clean(said, colour=False).split())}".rstrip()
    if status in {401, 403}:
        raise CredentialsError("the Pushgateway refuses the token", where=where, why=why)
    if status == 429 or status >= 500:
        raise TransientError("the Pushgateway is in trouble", where=where, why=why)
    if not 200 <= status < 300:
        raise StepFailedError("the Pushgateway refuses the metrics", where=where, why=why)


def _in_time(put: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """In a thread: whatever keeps it waiting (a resolver, a header that never ends), the time is kept."""
    answer: concurrent.futures.Future[tuple[int, str]] = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(put())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer.result(timeout=SECONDS)


def _checked(url: str, *, secret: bool) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        parts = urllib.parse.urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError("PIPELINEGEN_METRICS_URL is no address", hint="such as https://cache.example.org/pushgateway")
    if parts.username or parts.password:
        raise UsageError(
            "PIPELINEGEN_METRICS_URL holds a password",
            hint="put it alone into the file variable PIPELINEGEN_METRICS_TOKEN",
        )
    if secret and parts.scheme == "http" and parts.hostname not in _LOCAL:
        raise UsageError("the token for the Pushgateway would be sent in the clear", where=url, hint="use https")
    return url.rstrip("/")


def _place(group: Mapping[str, str]) -> str:
    """Labels as the gateway's paths have them; what a path cannot hold goes in base64."""
    path = "/metrics/job/pipelinegen"
    for name, value in group.items():
        encoded = base64.urlsafe_b64encode(value.encode()).decode().rstrip("=") or "="
        path += f"/{name}@base64/{encoded}"
    return path
