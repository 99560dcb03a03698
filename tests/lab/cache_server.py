"""A binary cache over HTTP, as machines have it: a folder of files, and who asked for which of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class CacheServer(ThreadingHTTPServer):
    """Serves the binary cache in `folder` on a free port of all addresses, and keeps a list of requests."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("0.0.0.0", 0), _Handler)  # noqa: S104  # each machine knows us by another address
        self.folder = folder
        self.requests: list[tuple[str, str]] = []
        """(address of who asked, path) of every answered request."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nix-cache-info").write_text("StoreDir: /nix/store\n")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CacheServer

    def translate_path(self, path: str) -> str:
        self.directory = str(self.server.folder)
        return super().translate_path(path)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
        if int(code) == 200:
            self.server.requests.append((str(self.client_address[0]), self.path))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Nothing: what was not found is no news."""


@contextlib.contextmanager
def cache_server(folder: Path) -> Iterator[CacheServer]:
    """A running server; it is gone afterwards."""
    with CacheServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
