"""A GitLab that answers the two listings that we read, over real HTTP, and refuses on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SHA = "a" * 40


class FakeGitLab(ThreadingHTTPServer):
    """The two listings that we read, as https://docs.gitlab.com/api/deployments/ and /pipelines/ describe."""

    daemon_threads = True
    status = 200
    deployed: str = SHA
    later: tuple[str, ...] = ()
    """Statuses of deployments after the one that succeeded, the newest first."""
    passed: str = SHA
    seen: list[tuple[str, dict[str, list[str]], dict[str, str]]]


class Handler(BaseHTTPRequestHandler):
    server: FakeGitLab

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.seen.append((url.path, parse_qs(url.query), dict(self.headers)))
        body: object = {"message": "refused"}
        if self.server.status == 200:
            rows = {
                "deployments": [
                    *({"id": 9 - place, "sha": "b" * 40, "status": one} for place, one in enumerate(self.server.later)),
                    {"id": 1, "sha": self.server.deployed, "status": "success"},
                ],
                "pipelines": [{"id": 2, "sha": self.server.passed}],
            }
            body = rows[url.path.rsplit("/", 1)[-1]]
        data = json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Be quiet."""


@contextmanager
def running_gitlab() -> Iterator[FakeGitLab]:
    """A server on a free port of this machine."""
    fake = FakeGitLab(("127.0.0.1", 0), Handler)
    fake.seen = []
    thread = threading.Thread(target=fake.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.shutdown()
        fake.server_close()
        thread.join()


def api_url(server: FakeGitLab) -> str:
    """What GitLab puts into `CI_API_V4_URL`."""
    return f"http://127.0.0.1:{server.server_address[1]}/api/v4"
