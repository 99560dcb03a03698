"""A folder served as a binary cache, with a record of what was asked of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class CacheServer(ThreadingHTTPServer):
    """Serves a folder.

    Attributes:
        folder: what it serves.
        status: what it answers to everything; null means that it answers properly.
        put_status: what it answers to uploads.
        fails_after: so many answers; then it answers 500.
        asked: paths that were fetched, in order.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.status: int | None = None
        self.put_status = 405
        self.fails_after: int | None = None
        self.asked: list[str] = []
        folder.mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: CacheServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        file = self.server.folder / self.path.lstrip("/")
        failing = self.server.fails_after is not None and len(self.server.asked) > self.server.fails_after
        if self.server.status is not None or failing:
            self._send(self.server.status or 500)
        elif file.is_file():
            self._send(200, file.read_bytes())
        else:
            self._send(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.server.put_status)

    def _send(self, status: int, data: bytes = b"<html>\nno\n</html>") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Be quiet."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[CacheServer]:
    """A server of `folder` on a free port of this machine, as long as this lasts."""
    with CacheServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
