"""What the answer of a server, a proxy or the network means, and what to do about it. Pure.

The table of what happens in the field is Attic's issue tracker: 413 of proxies (#220, #287), bodies that proxies
cut (#281, #290), pools that run dry (#24, #117), tokens that are silently taken for anonymous.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from pipelinegen.cache.attic import token as tokens
from pipelinegen.cache.attic.protocol import Address
from pipelinegen.cache.model import FailureClass
from pipelinegen.console import clean

RETRY_AFTER_MOST = 300.0
"""Seconds: a server that asks for more is asked again anyway; the deadline is ours."""

_MIB = 1 << 20


@dataclass(frozen=True)
class Asked:
    """What a request was about, for the sentence about its failure.

    Attributes:
        address: the server and the cache.
        permission: what the token must allow: a word of `token.PERMISSIONS`.
        token: as it was sent; null when there was none. It is looked into, never shown, not even where a server
            repeats it.
        now: seconds since the epoch.
        path, size: of an upload: the store path and the bytes of its archive.
    """

    address: Address
    permission: str
    token: str | None = field(repr=False)
    now: float
    path: str | None = None
    size: int = 0


class RefusedError(Exception):
    """A request that did not do what it was for.

    Attributes:
        failure: its class, which says whether another try may go better.
        message: what happened, one sentence without a full stop.
        hint: what to do about it.
        retry_after: seconds the server asks to wait.
        said: the server's own name for it, such as `NoSuchCache`, where Attic itself answered.
    """

    said: str | None = None

    def __init__(
        self, failure: FailureClass, message: str, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.hint = hint
        self.retry_after = retry_after


@dataclass(frozen=True)
class _Answer:
    """An answer that is no success.

    Attributes:
        record: Attic's own error record; null for anything that something else wrote.
        said: what it says, cleaned.
        text: the sentence that every message begins with.
    """

    status: int
    headers: Mapping[str, str]
    asked: Asked
    record: dict[str, Any] | None
    said: str
    text: str


def from_response(status: int, headers: Mapping[str, str], body: bytes, asked: Asked) -> RefusedError:
    """The error for an answer that is no success.

    Args:
        body: its beginning is enough.
    """
    record = _json(body)
    said = _said(record, body, asked)
    text = f"{asked.address.endpoint} answered {status}{f': {said}' if said else ''}"
    answer = _Answer(status, headers, asked, record, said, text)
    error = next(explain for fits, explain in _MEANINGS if fits(answer))(answer)
    error.said = record["error"] if record is not None else None
    return error


def from_page(asked: Asked) -> RefusedError:
    """A success that is not what Attic answers: a login page, another service."""
    return RefusedError(
        FailureClass.WRONG_ENDPOINT,
        f"{asked.address.endpoint} is no Attic server: it answered with something else",
        hint=_URL_HINT,
    )


def from_environment(error: Exception) -> RefusedError:
    """The error where no request can be made at all; its own text may hold a proxy's password."""
    return RefusedError(
        FailureClass.LOCAL,
        f"the proxies or certificates that this job's environment names cannot be used ({type(error).__name__})",
        hint="look at SSL_CERT_FILE, NIX_SSL_CERT_FILE, HTTP_PROXY, HTTPS_PROXY, ALL_PROXY (no SOCKS) and NO_PROXY",
    )


def no_answer(asked: Asked) -> RefusedError:
    """The error for an answer that does not come, or not to its end."""
    return RefusedError(FailureClass.STALLED, f"{asked.address.endpoint} did not answer in time", hint=_STALL_HINT)


def from_network(error: httpx.RequestError, asked: Asked) -> RefusedError:
    """The error for a request that got no answer, or none that can be read."""
    where = asked.address.endpoint
    if (lasting := _cannot_be_asked(error, asked)) is not None:
        return lasting
    if isinstance(error, httpx.WriteTimeout):
        return RefusedError(FailureClass.STALLED, f"{where} stopped taking the upload", hint=_STALL_HINT)
    if isinstance(error, httpx.ReadTimeout):
        return no_answer(asked)
    if isinstance(error, httpx.DecodingError | httpx.TooManyRedirects):
        return RefusedError(FailureClass.PROXY, f"what {where} answers cannot be read: {_text(error, asked)}")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return RefusedError(
            FailureClass.CONNECTION, f"{where} cannot be reached: {_text(error, asked)}", hint="is the server running?"
        )
    return RefusedError(
        FailureClass.CONNECTION,
        f"the connection to {where} broke off: {_text(error, asked)}",
        hint="a proxy before the server may limit size or time: set push_url to a way around it",
    )


def _cannot_be_asked(error: httpx.RequestError, asked: Asked) -> RefusedError | None:
    """The error where every other request ends alike; null where another may not."""
    where = asked.address.endpoint
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return RefusedError(
            FailureClass.WRONG_ENDPOINT, f"{where} cannot be asked: {_text(error, asked)}", hint=_URL_HINT
        )
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return RefusedError(
            FailureClass.WRONG_ENDPOINT,
            f"the certificate of {where} is not trusted: {_text(error, asked)}",
            hint="SSL_CERT_FILE, else NIX_SSL_CERT_FILE, names the certificates that are trusted",
        )
    return None


_URL_HINT = "url must be https://SERVER/CACHE: the address of the Attic server and the name of the cache there"
_STALL_HINT = "the server's log says more; [push] stall_timeout and answer_timeout are the limits"


def _redirected(answer: _Answer) -> RefusedError:
    target = _shown(answer.headers.get("location", "nowhere"), answer.asked, 300)
    return RefusedError(
        FailureClass.WRONG_ENDPOINT,
        f"{answer.asked.address.endpoint} redirects ({answer.status}) to {target}",
        hint="configure the address that it redirects to: a token is not sent where a redirect leads",
    )


def _unauthorized(answer: _Answer) -> RefusedError:
    asked = answer.asked
    cache, needed = asked.address.cache, asked.permission
    return RefusedError(
        FailureClass.UNAUTHORIZED,
        f"{answer.text}; {tokens.complaint(asked.token, cache, needed, asked.now)}",
        hint=f"a valid token with {needed} on {cache}, or the right name of the cache: "
        f"`pipelinegen cache token` prints how to make one",
    )


def _forbidden(answer: _Answer) -> RefusedError:
    # On a public cache a bad token is as good as none, and reading still works: only what needs more fails.
    asked = answer.asked
    cache, needed = asked.address.cache, asked.permission
    return RefusedError(
        FailureClass.FORBIDDEN,
        f"{answer.text}; {tokens.complaint(asked.token, cache, needed, asked.now)}",
        hint=f"a valid token with {needed} on {cache}: `pipelinegen cache token` prints how to make one",
    )


def _too_large(answer: _Answer) -> RefusedError:
    asked = answer.asked
    server = _shown(answer.headers.get("server", ""), asked, 100)
    named = f" ({server})" if server else ""
    what = f"{asked.path} with {asked.size / _MIB:.1f} MiB" if asked.path else "the request"
    return RefusedError(
        FailureClass.TOO_LARGE,
        f"a proxy{named} before {asked.address.endpoint} refuses {what} as too large (413)",
        hint="raise the proxy's limit of request bodies, or set push_url to an address that goes past it",
    )


def _wrong_endpoint(answer: _Answer) -> RefusedError:
    address = answer.asked.address
    if answer.record is not None and answer.record["error"] == "NoSuchObject":
        return RefusedError(FailureClass.LOST, f"{answer.text}; it may have been collected", hint="push it again")
    if answer.record is not None and answer.record["error"] == "NoSuchCache":
        return RefusedError(
            FailureClass.WRONG_ENDPOINT,
            f"there is no cache {address.cache} at {address.endpoint}",
            hint="`pipelinegen cache provision` creates it",
        )
    return RefusedError(FailureClass.WRONG_ENDPOINT, f"{answer.text}; there is no Attic server there", hint=_URL_HINT)


def _busy(answer: _Answer) -> RefusedError:
    return RefusedError(
        FailureClass.BUSY,
        answer.text,
        hint="fewer uploads at once ([push] jobs), or a higher limit at the server",
        retry_after=_retry_after(answer.headers, answer.asked.now),
    )


def _server_trouble(answer: _Answer) -> RefusedError:
    retry_after = _retry_after(answer.headers, answer.asked.now)
    if answer.record is None:
        server = _shown(answer.headers.get("server", ""), answer.asked, 100)
        by = f" by {server}" if server else ""
        return RefusedError(
            FailureClass.PROXY,
            f"{answer.text}{by}; not Attic itself, but what stands before it",
            hint="its time limit may be too short for large paths: set push_url to a way around it",
            retry_after=retry_after,
        )
    return RefusedError(
        FailureClass.SERVER,
        answer.text,
        hint="the server's log says why; a pool of database connections that runs dry is the usual cause",
        retry_after=retry_after,
    )


_SOMETHING_ELSE = ("Bad NAR Hash or Size", "Bad chunk hash or size", "doesn't match specified size")
"""What the server says of a body that is shorter than, or not, what was announced."""


def _bad_request(answer: _Answer) -> RefusedError:
    said = answer.said
    if any(words in said for words in _SOMETHING_ELSE):
        return RefusedError(
            FailureClass.TRUNCATED,
            f"the server got something else than was sent: {said}",
            hint="a proxy may have cut the upload (cloudflared over QUIC does): set push_url to a way around it",
        )
    if "too large" in said:
        return RefusedError(
            FailureClass.INFO_TOO_LARGE,
            f"{answer.asked.path or 'it'} refers to more paths than the server reads: {said}",
            hint="raise max-nar-info-size in the server's configuration",
        )
    if "Bad Host" in said or "Missing Host" in said:
        return RefusedError(
            FailureClass.WRONG_ENDPOINT,
            f"{answer.text}; it does not serve this host name",
            hint="url must use one of the server's allowed-hosts",
        )
    return RefusedError(FailureClass.REFUSED, answer.text)


_MEANINGS: tuple[tuple[Callable[[_Answer], bool], Callable[[_Answer], RefusedError]], ...] = (
    (lambda answer: 300 <= answer.status < 400, _redirected),
    (lambda answer: answer.status == 401, _unauthorized),
    (lambda answer: answer.status == 403 and answer.record is not None, _forbidden),
    (lambda answer: answer.status == 413, _too_large),
    (lambda answer: answer.status in {403, 404, 405}, _wrong_endpoint),
    (lambda answer: answer.status in {408, 425, 429}, _busy),
    (lambda answer: answer.status >= 500, _server_trouble),
    (lambda _: True, _bad_request),
)
"""The first that fits counts."""


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_MOST)


def _json(body: bytes) -> dict[str, Any] | None:
    """Attic's own error record; null for anything that something else wrote."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("error"), str) else None


def _said(record: dict[str, Any] | None, body: bytes, asked: Asked) -> str:
    if record is not None:
        return _shown(f"{record['error']}: {record.get('message', '')}", asked, 300)
    text = body.decode("utf-8", "replace").strip()
    # A page says nothing that its status does not.
    return "" if text.startswith("<") else _shown(text.partition("\n")[0], asked, 200)


def _text(error: Exception, asked: Asked) -> str:
    return _shown(str(error), asked, 300) or type(error).__name__


def _shown(text: str, asked: Asked, most: int) -> str:
    """At most so many characters of foreign text, harmless, and without the token: some servers repeat requests."""
    if asked.token:
        text = text.replace(asked.token, "[masked]")
    return " ".join(clean(text, colour=False).split())[:most]


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
