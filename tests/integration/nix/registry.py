"""A real registry on a loopback port, behind a door that counts what is asked and can be out of order at first."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PROGRAM = shutil.which("docker-registry")
USER, PASSWORD = "job", "a secret word"
_HTPASSWD = USER + ":$2b$04$abcdefghijklmnopqrstuujlT32dFnX95MGUmIkXzSWb2/RZskMuS\n"
"""The password above with bcrypt, which is the one form that the registry takes."""


@dataclass
class Door:
    """Where clients knock: every request and its answer, as `METHOD path status`."""

    port: int
    faults: int = 0
    """How many of the next requests are answered with 500."""
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def writes(self) -> list[str]:
        """Manifests and blobs that were written."""
        return [line for line in self.asked if line.startswith("PUT ") and line.endswith(" 201")]

    def manifest(self, repository: str, tag: str) -> tuple[str, dict[str, object]] | None:
        """Digest and manifest of a tag; None where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(
            "GET",
            f"/v2/{repository}/manifests/{tag}",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        )
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return (str(answer.getheader("Docker-Content-Digest")), json.loads(body)) if answer.status == 200 else None


@contextlib.contextmanager
def registry(folder: Path, *, login: bool = False) -> Iterator[Door]:
    """A registry that keeps its blobs in `folder`, seen through a door.

    login: whether it wants USER and PASSWORD.
    """
    port = _free_port()
    lines = [
        "version: 0.1",
        f"storage: {{filesystem: {{rootdirectory: {folder / 'blobs'}}}}}",
        f"http: {{addr: '127.0.0.1:{port}'}}",
    ]
    if login:
        (folder / "htpasswd").write_text(_HTPASSWD)
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}")
    (folder / "registry.yml").write_text("\n".join(lines) + "\n")
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [str(PROGRAM), "serve", str(folder / "registry.yml")], stdout=log, stderr=subprocess.STDOUT
        )
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    door = Door(server.server_address[1])
    server.RequestHandlerClass = _handler(door, port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        _wait_for(port, process)
        yield door
    finally:
        server.shutdown()
        server.server_close()
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the registry does not start")


def _handler(door: Door, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self._body()
            with door.lock:
                broken = door.faults > 0
                door.faults -= broken
            if broken:
                self._answer(500, {"Content-Length": "0"}, b"")
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            # With the client's own Host, so that the addresses in answers lead back through the door.
            names = {name for name in self.headers if name != "Transfer-Encoding"}
            headers = {name: ", ".join(self.headers.get_all(name, [])) for name in names}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            self._answer(answer.status, dict(answer.getheaders()), content)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = handle_one  # noqa: N815

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            with door.lock:
                door.asked.append(f"{self.command} {self.path.split('?')[0]} {status}")
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("date", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Nothing: what was asked is in the door."""

    return Handler
