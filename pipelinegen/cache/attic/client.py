"""The requests that Attic understands, each tried once; `retry` and `upload` decide about more.

A bad or expired token is silently as good as none at the server, so the sentence about a refusal looks into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import httpcore
import httpx
from pydantic import SecretStr, ValidationError

from pipelinegen import __version__, nar, process
from pipelinegen.cache.attic import protocol, refusals
from pipelinegen.cache.attic.protocol import Address, CacheSettings, Uploaded
from pipelinegen.cache.attic.refusals import Asked, RefusedError
from pipelinegen.cache.model import FailureClass
from pipelinegen.errors import StepFailedError
from pipelinegen.path_info import PathInfo

CONNECT_SECONDS = 15.0
HESITATION_SECONDS = 2.0
HESITATE_FROM = 1 << 18
"""Bytes of an archive for which it may be worth to wait: no proxy's limit is that low (nginx has 1 MiB by default)."""

READ_BYTES = 1 << 16
"""Of a refusal, which is only read for what it says."""

ANSWER_BYTES = 4 << 20
"""Of any other answer; the longest are 5,000 hashes with less than 40 bytes each."""

IN_THIS_THREAD = 1 << 20
"""Archives up to this size are read without another thread, which costs more than it saves."""


class AtticClient:
    """One server, one cache, one token.

    Args:
        address: where to ask.
        token: null asks as anybody.
        stall_timeout: seconds in which the server must take a piece of an upload, which has 256 KiB.
        answer_timeout: seconds it may take to answer once it has everything.
        connections: at most, kept open between requests.
        now: seconds since the epoch.

    Raises:
        RefusedError: the environment names proxies or certificates that are none.
    """

    def __init__(
        self,
        address: Address,
        token: SecretStr | None = None,
        *,
        stall_timeout: float = 60.0,
        answer_timeout: float = 300.0,
        connections: int = 8,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self._token = token.get_secret_value() if token is not None else None
        self._now = now
        # A piece of an upload, and then the answer, as a whole: drop by drop, each of them may take for ever.
        self._patience = CONNECT_SECONDS + stall_timeout + answer_timeout
        headers = {"User-Agent": f"pipelinegen/{__version__}", "Accept-Encoding": "identity"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            self._http = httpx.AsyncClient(
                headers=headers,
                verify=_trusted_certificates(_certificates_of_nix()),
                timeout=httpx.Timeout(connect=CONNECT_SECONDS, read=answer_timeout, write=stall_timeout, pool=None),
                limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            )
        except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
            raise refusals.from_environment(error) from None  # it may hold a proxy's password

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def move(self, address: Address) -> None:
        """Ask somewhere else from now on, with the same token."""
        self.address = address

    async def settings(self) -> CacheSettings:
        """What the server says of the cache.

        Raises:
            RefusedError: it says nothing, or something else.
        """
        asked = self._asked("pull")
        body = await self._request("GET", self.address.config_url, asked)
        try:
            return CacheSettings.model_validate_json(body)
        except ValidationError:
            raise refusals.from_page(asked) from None

    async def missing(self, hashes: Sequence[str]) -> set[str]:
        """Which store path hashes the cache lacks. Needs `push`.

        Raises:
            RefusedError: the server does not say.
        """
        lacking: set[str] = set()
        asked = self._asked("push")
        for start in range(0, len(hashes), protocol.HASHES_AT_ONCE):
            part = hashes[start : start + protocol.HASHES_AT_ONCE]
            question = {"cache": self.address.cache, "store_path_hashes": list(part)}
            answer = await self._request("POST", self.address.missing_url, asked, content=_json(question))
            try:
                lacking |= _missing_of(answer, part)
            except (ValueError, KeyError, TypeError, RecursionError):
                raise refusals.from_page(asked) from None
        return lacking

    async def create(self, record: dict[str, Any]) -> None:
        """Make the cache; `record` has all fields of a creation. Needs `create-cache`.

        Raises:
            RefusedError: it was not made; `FailureClass.REFUSED` also where it exists already.
        """
        await self._request("POST", self.address.config_url, self._asked("create-cache"), content=_json(record))

    async def configure(self, record: dict[str, Any]) -> None:
        """Change the fields of `record`, leaving all others. Needs `configure-cache`, and one more for the retention.

        Raises:
            RefusedError: nothing was changed.
        """
        permission = "configure-cache-retention" if "retention_period" in record else "configure-cache"
        await self._request("PATCH", self.address.config_url, self._asked(permission), content=_json(record))

    async def upload(
        self, info: PathInfo, on_bytes: Callable[[int], None] = lambda _: None, *, hesitate: bool = False
    ) -> Uploaded:
        """Send a path of the local store.

        Args:
            on_bytes: takes the number of bytes each time some have left.
            hesitate: send the head of a large path alone first. Who refuses a body by its length, and closes the
                connection on what still comes, is heard only before anything comes.

        Raises:
            RefusedError: it did not arrive.
        """
        asked = Asked(self.address, "push", self._token, self._now(), path=info.path, size=info.nar_size)
        about = protocol.nar_info(self.address.cache, info)
        headers = {"Content-Type": "application/octet-stream"}
        before = b""
        if len(about) < protocol.PREAMBLE_FROM:
            headers[protocol.HEADER] = about.decode()
        else:
            before = about
            headers[protocol.PREAMBLE_HEADER] = str(len(about))
        # Known in advance, it lets a proxy refuse what is too large before all of it was sent.
        headers["Content-Length"] = str(len(before) + info.nar_size)
        if hesitate and info.nar_size >= HESITATE_FROM:
            await self._hear(asked, headers)
        body = self._body(before, info, on_bytes)
        answer = await self._request("PUT", self.address.upload_url, asked, content=body, headers=headers)
        try:
            return Uploaded.model_validate_json(answer)
        except ValidationError:
            return Uploaded()  # as Attic's own client takes it; whether it arrived is asked afterwards

    async def fetch(self, url: str, on_bytes: Callable[[int], None] = lambda _: None) -> None:
        """Read something of the cache and forget it. The token does not follow a redirect to another host.

        Raises:
            RefusedError: it is not there, or broke off.
        """
        asked = self._asked("pull")
        try:
            async with self._http.stream("GET", url, follow_redirects=True) as response:
                if not response.is_success:
                    raise refusals.from_response(
                        response.status_code, response.headers, await _beginning(response), asked
                    )
                async for chunk in response.aiter_raw():
                    on_bytes(len(chunk))
        except httpx.RequestError as error:
            raise refusals.from_network(error, asked) from error

    def _asked(self, permission: str) -> Asked:
        return Asked(self.address, permission, self._token, self._now())

    async def _request(
        self,
        method: str,
        url: str,
        asked: Asked,
        *,
        content: bytes | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        kind = {"Content-Type": "application/json"} if isinstance(content, bytes) else {}
        try:
            async with asyncio.timeout(self._patience) as limit:
                if content is not None and not isinstance(content, bytes):
                    content = _prolonging(content, limit, self._patience)
                async with self._http.stream(
                    method, _parsed(url), content=content, headers={**kind, **(headers or {})}
                ) as response:
                    if not response.is_success:
                        beginning = await _beginning(response)
                        raise refusals.from_response(response.status_code, response.headers, beginning, asked)
                    return await _read(response, ANSWER_BYTES, bytearray())
        except TimeoutError as error:
            raise refusals.no_answer(asked) from error
        except httpx.RequestError as error:
            raise refusals.from_network(error, asked) from error
        except httpx.InvalidURL as error:
            raise RefusedError(FailureClass.WRONG_ENDPOINT, f"{url} is no address: {error}") from error

    async def _hear(self, asked: Asked, headers: dict[str, str]) -> None:
        """Whether the head of an upload is refused already; no answer to it means no."""
        timeout = httpx.Timeout(CONNECT_SECONDS, read=HESITATION_SECONDS)
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with (
                asyncio.timeout(CONNECT_SECONDS + HESITATION_SECONDS),
                self._http.stream(
                    "PUT", self.address.upload_url, content=_OnlyTheHead(), headers=headers, timeout=timeout
                ) as response,
            ):
                if not response.is_success:
                    beginning = await _beginning(response)
                    raise refusals.from_response(response.status_code, response.headers, beginning, asked)

    async def _body(self, before: bytes, info: PathInfo, on_bytes: Callable[[int], None]) -> AsyncIterator[bytes]:
        """What an upload sends. The last piece leaves only when all of it is what Nix's database says."""
        if before:
            yield before
        digest, size = hashlib.sha256(), 0
        chunks = iter(nar.chunks(Path(info.path)))
        held: bytes | None = None
        while (chunk := await _next(chunks, info)) is not None:
            digest.update(chunk)
            size += len(chunk)
            if size > info.nar_size:
                break  # more than was announced cannot be sent
            if held is not None:
                yield held
                on_bytes(len(held))
            held = chunk
        if size != info.nar_size or f"sha256:{digest.hexdigest()}" != info.nar_hash:
            raise RefusedError(
                FailureClass.LOCAL,
                f"{info.path} is not what Nix's database says: its content was changed",
                hint="nix-store --repair-path, or build it again",
            )
        if held is not None:
            yield held
            on_bytes(len(held))


@functools.lru_cache(maxsize=16)
def _parsed(url: str) -> httpx.URL:
    """Few addresses are asked thousands of times, and reading one is a twentieth of a small upload."""
    return httpx.URL(url)


@functools.cache
def _trusted_certificates(of_nix: str | None) -> ssl.SSLContext:
    """Read once, since that takes longer than a request.

    Args:
        of_nix: the file that Nix trusts, where nothing else is said: who reads a cache by Nix can push to it.
    """
    return ssl.create_default_context(cafile=of_nix) if of_nix else httpx.create_ssl_context()


def _certificates_of_nix() -> str | None:
    environment = process.environment()
    if environment.get("SSL_CERT_FILE") or environment.get("SSL_CERT_DIR"):
        return None
    return environment.get("NIX_SSL_CERT_FILE") or None


async def _next(chunks: Iterator[bytes], info: PathInfo) -> bytes | None:
    try:
        if info.nar_size <= IN_THIS_THREAD:
            return next(chunks, None)
        return await asyncio.to_thread(next, chunks, None)
    except StepFailedError as error:
        raise RefusedError(FailureClass.LOCAL, error.message, hint=error.hint) from error


class _OnlyTheHead(AsyncIterator[bytes]):
    """A body that cannot be sent: what the server says so far is read all the same."""

    async def __anext__(self) -> bytes:
        raise httpcore.WriteError("nothing is sent behind the head")


async def _beginning(response: httpx.Response) -> bytes:
    """Enough of a refusal to tell what it says."""
    taken = bytearray()
    with contextlib.suppress(httpx.RequestError):  # its status says enough
        await _read(response, READ_BYTES, taken)
    return bytes(taken)


async def _read(response: httpx.Response, most: int, taken: bytearray) -> bytes:
    """An answer, also in `taken`; what comes after about `most` bytes, of any length, is left."""
    async for chunk in response.aiter_bytes():
        taken += chunk
        if len(taken) >= most:
            break
    return bytes(taken)


async def _prolonging(pieces: AsyncIterator[bytes], limit: asyncio.Timeout, seconds: float) -> AsyncIterator[bytes]:
    """`pieces`, where each that has left gives the request so many seconds from then on."""
    async for piece in pieces:
        yield piece
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _missing_of(answer: bytes, asked: Sequence[str]) -> set[str]:
    """The hashes that a server lacks. What is not meant so must not be taken for: it lacks nothing.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it is another answer.
    """
    named = json.loads(answer)["missing_paths"]
    if not isinstance(named, list) or not set(named) <= set(asked):
        raise ValueError("no list of what was asked for")
    return set(named)


def _json(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()
