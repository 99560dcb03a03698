"""One request to GitLab's API: bounded in time whatever the server does, retried where that is worth it.

Rate limits: https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/#response-headers.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pipelinegen.console import clean
from pipelinegen.errors import PipelinegenError

if TYPE_CHECKING:
    import gitlab
    import requests

T = TypeVar("T")

TIMEOUT = 20.0
"""Seconds for one answer, all of it; the API only ever saves work."""

TRIES = 4
PAUSES = (0.5, 1.0, 2.0)
"""Seconds before the next try, where the server does not say how long."""

TRANSIENT = frozenset({429, 500, 502, 503, 504, *range(520, 525)})
"""Answers of a server, or of a proxy before it, that another try may change."""


class ApiError(PipelinegenError):
    """GitLab refused, answered nonsense, or did not answer.

    Attributes:
        status: of the answer; null where there was none.
        lacks_scope: whether the server said that the token is of too small a scope.
    """

    exit_code = 75

    def __init__(self, message: str, *, status: int | None = None, lacks_scope: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.lacks_scope = lacks_scope


class TransientApiError(ApiError):
    """Another try may go better; `pause` is what the server asks for, in seconds."""

    def __init__(self, message: str, *, status: int | None = None, pause: float | None = None) -> None:
        super().__init__(message, status=status)
        self.pause = pause


class Transport:
    """Asks, and keeps count of the time.

    Args:
        seconds: for all requests together, pauses included.
        secrets: never told in a message.
    """

    def __init__(self, seconds: float, secrets: Sequence[str] = ()) -> None:
        self._remaining = seconds
        self._secrets = tuple(secrets)
        self._tries = TRIES

    def request(
        self,
        client: gitlab.Gitlab,
        verb: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
    ) -> tuple[Any, Mapping[str, str], str | None]:
        """One answer: its JSON, its headers, and the URL of the next page.

        Raises:
            ApiError: there is none, or it is a refusal. After a server failed several times in a row it is
                asked only once each time.
        """
        answer = self.retried(lambda seconds: self._once(client, verb, path, query, body, seconds))
        try:
            found = answer.json()
        except ValueError as error:
            raise ApiError("the answer is no JSON", status=answer.status_code) from error
        return found, answer.headers, answer.links.get("next", {}).get("url")

    def retried(self, work: Callable[[float], T]) -> T:
        """What `work` gives, which is told how many seconds it has; tried again after a `TransientApiError`.

        Raises:
            ApiError: it gives nothing. After it failed several times in a row it is tried only once each time.
        """
        tries = self._tries
        for number in range(1, tries + 1):
            try:
                return self._timed(work)
            except TransientApiError as error:
                pause = PAUSES[min(number, len(PAUSES)) - 1] if error.pause is None else error.pause
                if number < tries and pause < self._remaining:
                    time.sleep(pause)
                    self._remaining -= pause
                    continue
                self._tries = 1
                raise ApiError(error.message, status=error.status) from error
        raise AssertionError  # pragma: no cover  # the last try returns or raises

    def _timed(self, work: Callable[[float], T]) -> T:
        seconds = min(TIMEOUT, self._remaining)
        if seconds <= 0:
            raise ApiError("the time for GitLab's API is used up")
        started = time.monotonic()
        try:
            return _within(seconds, lambda: work(seconds))
        finally:
            self._remaining -= time.monotonic() - started

    def _once(
        self,
        client: gitlab.Gitlab,
        verb: str,
        path: str,
        query: dict[str, Any] | None,
        body: dict[str, Any] | None,
        seconds: float,
    ) -> requests.Response:
        import gitlab  # noqa: PLC0415  # slow to import, and rarely needed
        import requests  # noqa: PLC0415

        try:
            return client.http_request(
                verb, path, query_data=query, post_data=body, timeout=seconds, obey_rate_limit=False, max_retries=0
            )
        except gitlab.GitlabError as error:
            lacks_scope = b"insufficient_scope" in (error.response_body or b"")
            said = self._said(status_words(error.response_code), error.error_message)
            raise ApiError(said, status=error.response_code, lacks_scope=lacks_scope) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise TransientApiError(self._said(type(error).__name__, error)) from error
        except (OSError, http.client.HTTPException) as error:  # all errors of the library are OSErrors
            # Of a header that cannot be sent it tells the value, escaped.
            words = "" if isinstance(error, ValueError) else error
            raise ApiError(self._said(type(error).__name__, words)) from None
        except ValueError as error:
            raise ApiError(type(error).__name__) from None

    def _said(self, what: str, words: object) -> str:
        """`what`, and what was said about it where that is short and no page for browsers; without secrets."""
        text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        text = clean(text, colour=False).strip()
        return what if not text or text.startswith("<") or text in what else f"{what} ({text[:150]})"


def _within(seconds: float, work: Callable[[], T]) -> T:
    """`work` in a thread of its own: the library's time limit is one for each read, so that a server that sends a
    byte now and then could hold us for ever.
    """
    done: queue.SimpleQueue[tuple[T] | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(),))
        except BaseException as error:  # noqa: BLE001  # handed to who waits
            done.put(error)

    threading.Thread(target=run, name="gitlab-api", daemon=True).start()
    try:
        ended = done.get(timeout=seconds + 0.5)
    except queue.Empty:
        raise TransientApiError(f"no answer within {seconds:.0f} s") from None
    if isinstance(ended, BaseException):
        raise ended
    return ended[0]


def session() -> requests.Session:
    """What clients are to send with: it tells how long the server asks to wait, which the library's errors do not."""
    import requests  # noqa: PLC0415

    made = requests.Session()
    made.hooks["response"].append(_wait_if_asked)
    return made


def _wait_if_asked(response: requests.Response, **_: object) -> None:
    if response.status_code in TRANSIENT:
        response.close()
        raise TransientApiError(
            status_words(response.status_code),
            status=response.status_code,
            pause=asked_pause(response.headers, time.time()),
        )


def asked_pause(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait, where it does; `now` is seconds since the epoch."""
    after, reset = headers.get("Retry-After", ""), headers.get("RateLimit-Reset", "")
    if _is_number(after):
        return float(after)
    if after:
        with contextlib.suppress(ValueError, OverflowError):
            return max(0.0, email.utils.parsedate_to_datetime(after).timestamp() - now)
    return max(0.0, float(reset) - now) if _is_number(reset) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12


def status_words(code: int | None) -> str:
    """A status of HTTP with its phrase, where it has one."""
    try:
        return "no answer" if code is None else f"{code} {http.HTTPStatus(code).phrase}"
    except ValueError:
        return f"status {code}"
