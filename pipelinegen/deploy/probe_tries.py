"""How a probe is asked once: a command or a web address, from the job or on the host.

Nothing here judges, and a bad answer is no exception.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import math
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

from pipelinegen import process
from pipelinegen.config_hosts import Probe
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.errors import CommandError, ToolError, TransientError

MOST_BYTES = 64 * 1024
"""Of an answer: the last ones that a command prints, the first ones of a page."""
CONNECTING = 5.0
"""Seconds besides a probe's own time to reach the host that is to ask."""
POLL_SECONDS = 0.2

_HOST_COMMAND = """\
command=$1 seconds=$2 most=$3
ask() {
  if command -v timeout > /dev/null; then timeout -k 1 "$seconds" sh -euc "$command"; else sh -euc "$command"; fi
}
answer=$(
  exec 3>&1
  code=$( { { code=0; ask 2>&1 3>&- 4>&- || code=$?; echo "$code" >&4; } | tail -c "$most" >&3; } 4>&1 )
  printf '\\n%s' "$code"
)
printf '%s' "$answer"
"""
"""Printed at once in the end: while nothing comes, signs of life are given. The last line is the exit code."""

_HOST_PAGE = """\
url=$1 seconds=$2 most=$3
ask() {
  if command -v curl > /dev/null; then
    curl -q -sS --globoff --max-time "$seconds" --write-out '%{stderr} pipelinegen-status %{http_code} ' -- "$url"
  elif command -v wget > /dev/null && wget --version 2> /dev/null | grep -q GNU; then
    set -- wget -nv -S -O - --max-redirect=0 --content-on-error --tries=1 --timeout="$seconds" -- "$url"
    if command -v timeout > /dev/null; then set -- timeout -k 1 "$seconds" "$@"; fi
    "$@"
  else
    echo "neither curl nor GNU wget is on the host" >&2
    return 127
  fi
}
answer=$(
  exec 3>&1
  said=$( { { code=0; ask 2>&4 3>&- || code=$?; echo "exit $code" >&4; } | head -c "$most" >&3; } 4>&1 )
  printf '\\n%s exit %s' "$(printf '%s' "${said%exit *}" | head -c 3000 | tr '\\n\\r' '  ')" "${said##*exit }"
)
printf '%s' "$answer"
"""
"""The last line is what curl or wget said, and its exit code. Once the page is too long, it is cut off."""

_STATUS = (re.compile(r"pipelinegen-status (\d{3})"), re.compile(r"HTTP/[0-9.]+ (\d{3})"))
_WGET_REFUSED = 8
_CODE = re.compile(r"[0-9]{1,3}")
_TIMED_OUT = 124
"""Exit code of `timeout`."""
_CURL_TIMED_OUT = 28
_SECRET = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|AUTH|KEY")
_SHORT = 8
"""A secret shorter than this would mask ordinary words."""


@dataclass(frozen=True)
class Answer:
    """What a probe was answered once.

    Attributes:
        code: exit code, or status of HTTP; null where there was no whole answer.
        text: output or body, at most `MOST_BYTES`, not cleaned.
        fault: why there was no whole answer.
    """

    code: int | None = None
    text: str = ""
    fault: str | None = None


def ask_once(probe: Probe, target: Target, *, seconds: float, alive: Callable[[], None]) -> Answer:
    """Ask, for at most `seconds`.

    Args:
        alive: called about every second meanwhile.

    Raises:
        InterruptedRunError: a signal arrived.
    """
    if probe.command is not None:
        if probe.on == "host":
            return _host_command(probe.command, target, seconds, alive)
        return _job_command(probe.command, seconds, alive)
    if probe.on == "host":
        return _host_page(probe.url or "", target, seconds, alive)
    return _job_page(probe.url or "", seconds, alive)


def _late(seconds: float) -> str:
    return f"no answer within {seconds:.3g} s"


def _job_command(command: str, seconds: float, alive: Callable[[], None]) -> Answer:
    """With the job's environment, since probes need its settings; secrets in it are masked, line by line."""
    lines: deque[str] = deque()
    size = 0

    def take(line: str) -> None:
        nonlocal size
        lines.append(line)
        size += len(line) + 1
        while size > MOST_BYTES:
            size -= len(lines.popleft()) + 1
        alive()

    values = process.environment(without=lambda name: not _SECRET.search(name.upper())).values()
    secrets = [line for value in values for line in value.splitlines() if len(line) >= _SHORT]
    try:
        ended = process.run(
            ["sh", "-euc", command],
            merge_output=True,
            allowed="any",
            timeout=seconds,
            secrets=secrets,
            on_line=take,
            on_idle=alive,
            grace=1.0,
        )
    except TransientError:
        return Answer(text="\n".join(lines), fault=_late(seconds))
    except ToolError as error:
        return Answer(fault=error.message)
    return Answer(ended.returncode, "\n".join(lines))


def _host_command(command: str, target: Target, seconds: float, alive: Callable[[], None]) -> Answer:
    """As the user who logs in: a probe needs no more rights than that."""
    said = _on_host(_HOST_COMMAND, command, target, seconds, alive)
    if isinstance(said, Answer):
        return said
    text, _, last = said.decode("utf-8", "replace").rpartition("\n")
    if not _CODE.fullmatch(last):
        return Answer(fault="the host does not say how the command ended")
    if int(last) == _TIMED_OUT:
        return Answer(text=text, fault=_late(seconds))
    return Answer(int(last), text)


def _host_page(url: str, target: Target, seconds: float, alive: Callable[[], None]) -> Answer:
    said = _on_host(_HOST_PAGE, url, target, seconds, alive)
    return said if isinstance(said, Answer) else host_answer(said, seconds)


def host_answer(said: bytes, seconds: float) -> Answer:
    """What curl or wget on the host brought: the page, and on the last line its own words and its exit code."""
    page, _, last = said.rpartition(b"\n")
    words, _, code = last.decode("utf-8", "replace").rpartition(" exit ")
    if not _CODE.fullmatch(code):
        return Answer(fault="the host does not say what it was answered")
    status = next((int(match[1]) for match in (pattern.search(words) for pattern in _STATUS) if match), 0)
    if int(code) in {_TIMED_OUT, _CURL_TIMED_OUT}:
        return Answer(fault=_late(seconds))
    # What is longer than we take was cut off by us; wget calls a refusal and a redirection its own failure.
    whole = int(code) == 0 or len(page) >= MOST_BYTES or (int(code) == _WGET_REFUSED and status >= 300)
    if whole and status:
        return Answer(status, page.decode("utf-8", "replace"))
    why = " ".join(_STATUS[0].sub("", words).split())
    if status and (not why or _STATUS[1].search(why)):
        why = "the page is not whole"
    return Answer(fault=f"{status}, but {why}" if status else why or f"curl or wget ended with {code}")


def _on_host(script: str, question: str, target: Target, seconds: float, alive: Callable[[], None]) -> bytes | Answer:
    try:
        asked = target.run(
            script,
            question,
            str(max(math.ceil(seconds), 1)),
            str(MOST_BYTES),
            timeout=seconds + CONNECTING,
            on_idle=alive,
        )
    except UnreachableError as error:
        return Answer(fault=": ".join(part for part in (error.message, error.why) if part))
    except CommandError as error:
        return Answer(fault="\n".join([error.message, *error.stderr_tail[-1:]]))
    return asked.stdout


def _job_page(url: str, seconds: float, alive: Callable[[], None]) -> Answer:
    """In a thread: whatever keeps it waiting (a resolver, too), signs of life go on and the time is kept."""
    answer: concurrent.futures.Future[Answer] = concurrent.futures.Future()

    def fetch() -> None:
        try:
            answer.set_result(asyncio.run(_fetch(url, seconds)))
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            answer.set_exception(error)

    threading.Thread(target=fetch, daemon=True).start()
    end = time.monotonic() + seconds + 1
    while time.monotonic() < end:
        concurrent.futures.wait([answer], timeout=POLL_SECONDS)
        if answer.done():
            return answer.result()
        alive()
    return Answer(fault=_late(seconds))


async def _fetch(url: str, seconds: float) -> Answer:
    status: int | None = None
    try:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(verify=_certificates(), timeout=seconds, follow_redirects=False) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity", "User-Agent": "pipelinegen"}) as response,
        ):
            status = response.status_code
            body = bytearray()
            async for chunk in response.aiter_raw(MOST_BYTES):
                body += chunk
                if len(body) >= MOST_BYTES:
                    break
    except (TimeoutError, httpx.TimeoutException):
        return Answer(fault=_late(seconds) if status is None else f"{status}, but no end of it within {seconds:.3g} s")
    except httpx.HTTPError as error:
        return Answer(fault=f"{status}, but {_why(error)}" if status is not None else _why(error))
    except (httpx.InvalidURL, ValueError, OSError, ImportError) as error:
        # Not the text of the error: the environment's proxies may have passwords.
        return Answer(
            fault=f"it cannot be asked from this job ({type(error).__name__}): its URL, proxies, certificates"
        )
    return Answer(status, bytes(body[:MOST_BYTES]).decode("utf-8", "replace"))


@functools.cache
def _certificates() -> ssl.SSLContext:
    """What this machine trusts, besides what httpx brings along: a firm's own authority is there."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    return context


def _why(error: BaseException) -> str:
    """The reason why there was no answer, as short as possible."""
    causes = list(_causes(error))
    refused = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if refused is not None:
        return f"its certificate is not accepted: {refused.verify_message}"
    for fits, words in _REASONS:
        if any(fits(cause) for cause in causes):
            return words
    return str(error) or type(error).__name__


def _is(*kinds: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, kinds)


_REASONS: tuple[tuple[Callable[[BaseException], bool], str], ...] = (
    (_is(httpx.ProxyError), "the proxy refuses"),
    (_is(ssl.SSLError), "TLS fails: it speaks another protocol, or breaks off"),
    (lambda error: type(error).__name__ == "gaierror", "its name is not known"),
    (_is(ConnectionRefusedError), "the connection is refused"),
    (_is(ConnectionResetError, BrokenPipeError, httpx.ReadError), "the connection broke off"),
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
