"""Sending the metrics of one job to a Prometheus Pushgateway, from where Prometheus takes them.

The protocol: https://github.com/prometheus/pushgateway#api. A `PUT` replaces what was there in its group, so a group
holds what its latest job said; the gateway adds when that was (`push_time_seconds`).
"""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Mapping

import httpx
from pydantic import SecretStr

from pipelinegen.console import clean
from pipelinegen.errors import CredentialsError, StepFailedError, TransientError, UsageError
from pipelinegen.openmetrics import to_prometheus

USER = "pipelinegen"
"""The user name beside the token: proxies in front of a gateway know basic authentication."""

SECONDS = 10.0
"""For connecting, and for each answer; metrics never keep a job waiting for long."""

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
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    try:
        with httpx.stream(
            "PUT",
            where + _place(group),
            content=to_prometheus(text).encode(),
            auth=auth,
            headers=headers,
            timeout=SECONDS,
        ) as answer:
            status = answer.status_code
            # The rest of it is not waited for.
            said = "" if answer.is_success else next(answer.iter_text(), "")[:500]
    except httpx.RequestError as error:
        raise TransientError("the Pushgateway does not answer", where=where, why=clean(str(error))) from None
    why = f"it answered {status} {' '.join(clean(said, colour=False).split())}".rstrip()
    if status in {401, 403}:
        raise CredentialsError("the Pushgateway refuses the token", where=where, why=why)
    if status == 429 or status >= 500:
        raise TransientError("the Pushgateway is in trouble", where=where, why=why)
    if not 200 <= status < 300:
        raise StepFailedError("the Pushgateway refuses the metrics", where=where, why=why)


def _checked(url: str, *, secret: bool) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
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
