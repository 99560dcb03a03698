"""One request at a time, to servers that answer as none should: nothing hangs, fills the memory or is misunderstood."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipelinegen import nar
from pipelinegen.cache.attic import client as attic_client
from pipelinegen.cache.attic.client import ANSWER_BYTES, AtticClient
from pipelinegen.cache.attic.protocol import Address
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.model import FailureClass
from pipelinegen.path_info import PathInfo

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Call = Callable[[AtticClient], Awaitable[object]]

TOKEN = "head.payload.signature"
HASH = "0" * 32


def whole(status: int, body: bytes, *headers: str) -> Answer:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, ""))

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body)
        writer.write_eof()
        await asyncio.sleep(5)  # until the other end has read it

    return answer


def endless(start: bytes, piece: bytes, *, pause: float = 0) -> Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def swallowing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(1 << 16):
        pass


def ask(answer: Answer, call: Call = lambda client: client.settings()) -> object:
    """What the client makes of a server that answers so."""

    connections: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await reader.readuntil(b"\r\n\r\n")
                await answer(reader, writer)
        finally:
            writer.transport.abort()

    async def scene() -> object:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            client = AtticClient(Address(url, "ci"), SecretStr(TOKEN), stall_timeout=0.3, answer_timeout=0.3)
            async with client:
                return await asyncio.wait_for(call(client), 20)
        finally:
            server.close()
            for connection in filter(None, connections):
                connection.cancel()
            await asyncio.gather(*filter(None, connections), return_exceptions=True)
            await asyncio.sleep(0.01)  # until the connections are closed

    return asyncio.run(scene())


def refused(answer: Answer, call: Call = lambda client: client.settings()) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        ask(answer, call)
    return raised.value


OK = b"HTTP/1.1 200 OK\r\n"
DROP_BY_DROP = {
    "the body": endless(OK + b"Content-Length: 9999\r\n\r\n", b" ", pause=0.05),
    "a header": endless(OK + b"X: ", b"x", pause=0.05),
    "a refusal": endless(b"HTTP/1.1 500 X\r\n\r\n", b"x", pause=0.05),
    "continue, for ever": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.05),
}


@pytest.mark.parametrize("answer", DROP_BY_DROP.values(), ids=DROP_BY_DROP)
def test_an_answer_that_comes_drop_by_drop_is_late_as_a_whole(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attic_client, "CONNECT_SECONDS", 0.2)
    assert refused(answer).failure is FailureClass.STALLED


def test_the_answer_to_an_upload_is_late_as_a_whole_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attic_client, "CONNECT_SECONDS", 0.2)
    info = path_info(tmp_path / "file", b"content")
    error = refused(DROP_BY_DROP["a header"], lambda client: client.upload(info))
    assert error.failure is FailureClass.STALLED


ENDLESS = {
    "headers": endless(OK, b"X-A: a\r\n" * 1000),
    "the body": endless(OK + b"\r\n", b"[" * 65536),
    "a refusal": endless(b"HTTP/1.1 502 X\r\n\r\n", b"x" * 65536),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_is_cut(answer: Answer) -> None:
    assert refused(answer).failure in {FailureClass.CONNECTION, FailureClass.WRONG_ENDPOINT, FailureClass.PROXY}


def test_an_answer_longer_than_any_is_not_read_to_its_end() -> None:
    sent = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"\r\n")
        while sent < 20 * ANSWER_BYTES:
            writer.write(b" " * 65536)
            await writer.drain()
            sent += 65536

    assert refused(answer).failure is FailureClass.WRONG_ENDPOINT
    assert sent < 10 * ANSWER_BYTES


@pytest.mark.parametrize("status", [200, 503])
def test_what_says_that_it_is_compressed_and_is_not_may_pass(status: int) -> None:
    assert refused(whole(status, b"0123456789", "Content-Encoding: gzip")).failure is FailureClass.PROXY


def test_a_redirect_to_itself_comes_to_an_end() -> None:
    error = refused(whole(302, b"", "Location: /x"), lambda client: client.fetch(f"{client.address.endpoint}x"))
    assert error.failure is FailureClass.PROXY


WRONG_ANSWERS = {
    "text instead of a list": b'{"missing_paths": "nothing"}',
    "numbers": b'{"missing_paths": [1]}',
    "objects": b'{"missing_paths": [{}]}',
    "other paths": b'{"missing_paths": ["11111111111111111111111111111111"]}',
    "nothing": b'{"missing_paths": null}',
    "a list without end": b"[" * 500_000,
}


@pytest.mark.parametrize("body", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_what_is_no_list_of_asked_paths_does_not_mean_that_none_is_missing(body: bytes) -> None:
    error = refused(whole(200, body), lambda client: client.missing([HASH]))
    assert error.failure is FailureClass.WRONG_ENDPOINT


def test_the_missing_paths_are_those_that_the_server_names() -> None:
    found = ask(
        whole(200, f'{{"missing_paths": ["{HASH}"]}}'.encode()), lambda client: client.missing([HASH, "1" * 32])
    )
    assert found == {HASH}


def path_info(file: Path, content: bytes) -> PathInfo:
    """What Nix's database would say of the file, were it a store path."""
    file.write_bytes(content)
    archive = b"".join(nar.chunks(file))
    digest = hashlib.sha256(archive).hexdigest()
    return PathInfo(path=str(file), nar_hash=f"sha256:{digest}", nar_size=len(archive))


@pytest.mark.parametrize("size", [2_000_000, 5_000_000], ids=["shorter", "longer"])
def test_a_path_that_has_another_size_by_now_is_our_own_trouble(tmp_path: Path, size: int) -> None:
    info = path_info(tmp_path / "file", b"a" * 3_000_000)
    (tmp_path / "file").write_bytes(b"a" * size)
    error = refused(swallowing, lambda client: client.upload(info))
    assert error.failure is FailureClass.LOCAL
    assert str(tmp_path) in error.message


@pytest.mark.parametrize(
    ("status", "headers"),
    [(500, ()), (302, (f"Location: https://elsewhere/?t={TOKEN}",)), (413, (f"Server: {TOKEN}",))],
    ids=["in the body", "in a redirect", "in the name of the server"],
)
def test_a_token_that_the_server_repeats_is_not_shown(status: int, headers: tuple[str, ...]) -> None:
    error = refused(whole(status, f"no access for bearer {TOKEN}".encode(), *headers))
    assert "[masked]" in error.message
    assert TOKEN not in error.message


ENVIRONMENTS = {
    "a proxy of another kind": ("ALL_PROXY", "socks5://user:secret@127.0.0.1:1"),
    "a proxy that is none": ("HTTPS_PROXY", "foo://user:secret@host"),
    "a proxy with a wrong port": ("HTTP_PROXY", "http://user:secret@host:abc"),
    "exceptions that are none": ("NO_PROXY", "[::1],127.0.0.1"),
}


@pytest.mark.parametrize(("name", "value"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_proxies_that_cannot_be_used_are_named_by_their_variables_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RefusedError) as raised:
        AtticClient(Address("https://c.example/", "ci"))
    assert raised.value.failure is FailureClass.LOCAL
    assert name in (raised.value.hint or "")
    assert "secret" not in raised.value.message


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE"])
def test_certificates_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    attic_client._trusted_certificates.cache_clear()
    for other in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "/no-cert-file.crt")
    with pytest.raises(RefusedError, match="certificates"):
        AtticClient(Address("https://c.example/", "ci"))
