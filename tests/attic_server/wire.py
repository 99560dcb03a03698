"""HTTP/1.1 over a socket, close enough to the bytes that every way of failing can be produced."""

from __future__ import annotations

import contextlib
import http
import select
import socket
import struct
import threading
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Protocol

from tests.attic_server.answers import Answer

MAX_HEAD = 420_000
"""Bytes; the real server's library answers 431 from about here, or from 100 headers."""
MAX_HEADERS = 100
RECEIVE = 256 * 1024
_CONNECTED = {"01", "08"}
"""States in /proc/net/tcp: established, and closed by us only."""


class Gone(Exception):  # noqa: N818
    """The connection is over: the client left, or the server is to drop it."""


class BodyBroken(Exception):  # noqa: N818
    """The body cannot be read to its end."""


class HeadRefused(Exception):  # noqa: N818
    """The head is not one, or too large; holds the status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Head:
    """Request line and headers; names in lower case, the last of equal ones."""

    method: str
    target: str
    version: str
    headers: dict[str, str]
    size: int
    """Bytes of all of it."""

    @property
    def length(self) -> int | None:
        """Content-Length."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdigit() else None

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to go on with this connection."""
        wish = self.headers.get("connection", "").lower()
        return wish == "keep-alive" if self.version == "HTTP/1.0" else wish != "close"


class Reader(Protocol):
    """Where a handler reads a body from."""

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end.

        Raises:
            BodyBroken: there is no end.
        """
        ...


class Connection:
    """One client's socket."""

    def __init__(self, sock: socket.socket, peer: str, stopping: threading.Event) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.peer, self.stopping = sock, peer, stopping
        self._pending = bytearray()

    def receive(self, size: int) -> bytes:
        """At most so many bytes; none when the client said that it is done.

        Raises:
            Gone: the connection broke.
        """
        if self._pending:
            data = bytes(self._pending[:size])
            del self._pending[:size]
            return data
        try:
            return self.sock.recv(min(size, RECEIVE))
        except OSError as error:
            raise Gone from error

    def line(self) -> bytes:
        """Up to the end of a line, without it.

        Raises:
            BodyBroken: there is none.
        """
        while (end := self._pending.find(b"\r\n")) < 0:
            if len(self._pending) > 65536 or not self._more():
                raise BodyBroken
        data = bytes(self._pending[:end])
        del self._pending[: end + 2]
        return data

    def _more(self) -> bool:
        try:
            data = self.sock.recv(RECEIVE)
        except OSError as error:
            raise Gone from error
        self._pending += data
        return bool(data)

    def head(self) -> Head:
        """The next request.

        Raises:
            Gone: there is none.
            HeadRefused: with the status for it.
        """
        searched = 0
        while (end := self._pending.find(b"\r\n\r\n", max(0, searched - 3))) < 0:
            searched = len(self._pending)
            if searched > MAX_HEAD:
                raise HeadRefused(431)
            if not self._more():
                raise Gone
        text = bytes(self._pending[:end]).decode("latin-1")
        del self._pending[: end + 4]
        first, *rest = text.split("\r\n")
        parts = first.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise HeadRefused(400)
        if len(rest) > MAX_HEADERS or len(text) > MAX_HEAD:
            raise HeadRefused(431)
        headers = {}
        for line in rest:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Head(parts[0], parts[1], parts[2], headers, len(text) + 4)

    def send(self, data: bytes) -> None:
        """All of it.

        Raises:
            Gone: nobody reads it.
        """
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def reset(self) -> None:
        """Cut the connection, so that the client sees "connection reset by peer".

        Raises:
            Gone: always.
        """
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise Gone

    def wait(self, seconds: float | None) -> None:
        """Do nothing for so long, or until the client leaves.

        Raises:
            Gone: the client left, or the server stops.
        """
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        left = float("inf") if seconds is None else seconds
        while left > 0:
            step = min(left, 0.1)
            if self.stopping.is_set() or poll.poll(step * 1000) or self._left_with_full_buffers():
                raise Gone
            left -= step

    def _left_with_full_buffers(self) -> bool:
        """Whether a client on this machine closed its end, which it cannot tell us while we do not read."""
        try:
            ends = [_in_table(*self.sock.getpeername()[:2]), _in_table(*self.sock.getsockname()[:2])]
            table = Path("/proc/self/net/tcp").read_text("ascii")
        except OSError:
            return False
        rows = (line.split() for line in table.splitlines())
        return any(row[3] not in _CONNECTED for row in rows if row[1:3] == ends)

    @property
    def has_pending(self) -> bool:
        """Whether something was received and not used yet."""
        return bool(self._pending)

    def close(self) -> None:
        """Done."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def _in_table(host: str, port: int) -> str:
    return f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"


class Body:
    """The body of a request, by length or in chunks; the client is told to go on when the first byte is wanted."""

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self._chunked = head.headers.get("transfer-encoding", "").lower() == "chunked"
        self._left = 0 if self._chunked else head.length or 0
        self._waits = head.headers.get("expect", "").lower() == "100-continue"
        self.finished = not self._chunked and not self._left
        self.received = 0
        """Bytes of content so far."""

    @property
    def waits(self) -> bool:
        """Whether the client still waits to be told to send."""
        return self._waits and not self.finished

    def read(self, size: int) -> bytes:
        """See `Reader`."""
        if self.finished:
            return b""
        if self._waits:
            self._waits = False
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._chunked and not self._left and not self._next_chunk():
            return b""
        data = self._connection.receive(min(size, self._left))
        if not data:
            raise BodyBroken
        self._left -= len(data)
        self.received += len(data)
        if not self._left:
            if self._chunked:
                self._connection.line()
            else:
                self.finished = True
        return data

    def _next_chunk(self) -> bool:
        try:
            self._left = int(self._connection.line().split(b";")[0], 16)
        except ValueError as error:
            raise BodyBroken from error
        if not self._left:
            while self._connection.line():
                pass
            self.finished = True
        return bool(self._left)

    def drop(self) -> bool:
        """Whether the rest could be passed over without waiting, and the connection thus go on."""
        while not self.finished:
            if self.waits or not _readable(self._connection):
                return False
            try:
                if self._left > RECEIVE:
                    return False
                self.read(RECEIVE)
            except BodyBroken:
                return False
        return True


def _readable(connection: Connection) -> bool:
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return connection.has_pending or bool(poll.poll(0))


def send_answer(connection: Connection, head: Head, answer: Answer, *, goes_on: bool) -> bool:
    """Send it.

    Returns:
        Whether the connection may be used again.

    Raises:
        Gone: it was not taken.
    """
    named = {name.lower() for name, _ in answer.headers}
    lines = [f"{head.version} {answer.status} {_reason(answer.status)}"]
    if answer.content_type:
        lines.append(f"content-type: {answer.content_type}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    chunked = answer.stream is not None and answer.length is None and head.version == "HTTP/1.1"
    bodiless = head.method == "HEAD"
    if answer.stream is None or answer.length is not None:
        if "content-length" not in named:
            lines.append(f"content-length: {len(answer.body) if answer.stream is None else answer.length}")
    elif chunked and not bodiless:
        lines.append("transfer-encoding: chunked")
    elif not bodiless:
        goes_on = False
    if head.headers.get("connection", "").lower() == "close":
        lines.append("connection: close")
    lines.append(f"date: {formatdate(usegmt=True)}")
    text = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if answer.stream is None or bodiless:
        connection.send(text if bodiless else text + answer.body)
        return goes_on
    connection.send(text)
    for piece in answer.stream:
        connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if answer.aborts:
        return False
    if chunked:
        connection.send(b"0\r\n\r\n")
    return goes_on


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
