"""Artifacts of jobs as GitLab's API finds them, and an object storage to which it may redirect.

https://docs.gitlab.com/api/job_artifacts/, and `latest_successful_build_for_ref` in GitLab's sources.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Archive:
    """The artifacts of one job: path → content. `ref` is the name of its pipeline's branch or tag."""

    ref: str
    job: str
    files: dict[str, bytes]
    passed: bool = True


def archived(archives: Sequence[Archive], ref: str, job: str, path: str, *, more: bool) -> bytes | None:
    """The file of the last pipeline that passed; of the last one with that job, where `more` of them are looked at.

    Args:
        archives: of older pipelines first, each of one job.
        ref: by its name alone: branches and tags are not told apart.
    """
    passed = [archive for archive in reversed(archives) if archive.ref == ref and archive.passed]
    for archive in passed if more else passed[:1]:
        if archive.job == job:
            return archive.files.get(path)
    return None


class Storage(ThreadingHTTPServer):
    """Serves `data` to those who have a signed address, and refuses whoever shows a token besides.

    Attributes:
        seen: headers of every request.
        location: redirects there, where that is not empty.
    """

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data = data
        self.location = ""
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        """The signed address."""
        return f"http://127.0.0.1:{self.server_address[1]}/bucket/archive?X-Amz-Signature=secret-signature"


class _Handler(BaseHTTPRequestHandler):
    server: Storage
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append(dict(self.headers))
        signed = urlsplit(self.path).query == "X-Amz-Signature=secret-signature"
        token = {"JOB-TOKEN", "PRIVATE-TOKEN", "Authorization"} & set(self.headers)
        status, data = (200, self.server.data) if signed and not token else (400, b"Only one auth mechanism allowed")
        if self.server.location:
            status, data = 307, b""
        self.send_response(status)
        self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Be quiet."""


@contextmanager
def running_storage(data: bytes) -> Iterator[Storage]:
    """A server on a free port of this machine."""
    storage = Storage(data)
    thread = threading.Thread(target=storage.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield storage
    finally:
        storage.shutdown()
        storage.server_close()
        thread.join()
