"""Caddy before the cache server: what it is told is valid, and a real one carries pushes of any size and speed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.conftest import ONE_NIX
from tests.integration.nix.modules import NIX, evaluate

pytestmark = [pytest.mark.nix, pytest.mark.processes, ONE_NIX]

MIB = 1024 * 1024
EXTRA = "log {\n\toutput discard\n}"


def rendered(nix_bin: Path, upstream: str, **settings: object) -> dict[str, str]:
    """The two texts of `caddyfile.nix`."""
    arguments = json.dumps(json.dumps({"upstream": upstream, **settings}))
    expression = f"import {NIX}/attic-server/caddyfile.nix (builtins.fromJSON {arguments})"
    found: dict[str, str] = evaluate(nix_bin, expression)
    return found


def caddy() -> str:
    found = shutil.which("caddy")
    if found is None:
        pytest.skip("Debian's package caddy is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def validate(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    file = folder / "Caddyfile"
    file.write_text(text)
    command = [caddy(), "validate", "--config", str(file), "--adapter", "caddyfile"]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tailscale_only", [False, True], ids=["for-all", "tailnet-alone"])
@pytest.mark.parametrize("extra", ["", EXTRA], ids=["plain", "with-more-lines"])
def test_caddy_takes_the_site_and_the_options(nix_bin: Path, tmp_path: Path, tailscale_only: bool, extra: str) -> None:
    texts = rendered(nix_bin, "127.0.0.1:8080", tailscaleOnly=tailscale_only, extraConfig=extra)

    # As nixpkgs puts them together.
    text = f"{{\n{texts['global']}\nemail ops@example.org\n}}\ncache.example.org {{\n{texts['site']}\n}}\n"
    done = validate(tmp_path, text)

    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout + done.stderr
    assert ("log" in texts["site"]) == bool(extra)


def test_caddy_refuses_a_site_with_a_word_that_it_does_not_know(nix_bin: Path, tmp_path: Path) -> None:
    texts = rendered(nix_bin, "127.0.0.1:8080", extraConfig="no_such_directive")

    assert "no_such_directive" in validate(tmp_path, f"cache.example.org {{\n{texts['site']}}}\n").stderr


def test_the_dns_challenge_gets_to_the_plugin_that_the_package_must_have(nix_bin: Path, tmp_path: Path) -> None:
    texts = rendered(nix_bin, "127.0.0.1:8080", dns="cloudflare {env.CLOUDFLARE_API_TOKEN}", tailscaleOnly=True)

    done = validate(tmp_path, f"cache.example.org {{\n{texts['site']}}}\n")

    assert "tls {\n\tdns cloudflare {env.CLOUDFLARE_API_TOKEN}\n}\n" in texts["site"]
    assert "dns.providers.cloudflare" in done.stderr


class Upstream(ThreadingHTTPServer):
    """Counts what arrives of bodies, as it arrives."""

    daemon_threads = True

    def __init__(self, port: int = 0, pause: float = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.arrived, self.pause = 0, pause
        self.changed = threading.Condition()
        self.host = ""

    def wait_for(self, count: int, seconds: float = 20) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.arrived >= count, seconds)


class Handler(BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_PUT(self) -> None:
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        left = int(self.headers.get("Content-Length", 0))
        self.server.host = self.headers["Host"]
        while chunked or left:
            size = int(self.rfile.readline(), 16) if chunked else min(left, 65536)
            body = self.rfile.read(size) if chunked else self.rfile.read1(size)
            with self.server.changed:
                self.server.arrived += len(body)
                self.server.changed.notify_all()
            left -= len(body)
            if chunked:
                self.rfile.readline()
                if not size:
                    break
        time.sleep(self.server.pause)
        self._answer(str(self.server.arrived).encode())

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (b"first", b"second"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
            self.server.wait_for(1)
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def upstream(port: int = 0, pause: float = 0) -> Iterator[Upstream]:
    with Upstream(port, pause) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def proxy(nix_bin: Path, folder: Path, port: int, **settings: object) -> Iterator[int]:
    """A Caddy before a port of the loopback address, without TLS; its own port."""
    texts = rendered(nix_bin, f"127.0.0.1:{port}", **settings)
    own = free_port()
    options = f"admin off\nauto_https off\n{texts['global']}"
    file = folder / "Caddyfile"
    file.write_text(f"{{\n{options}}}\nhttp://127.0.0.1:{own} {{\n{texts['site']}}}\n")
    command = [caddy(), "run", "--config", str(file), "--adapter", "caddyfile"]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    with (
        (folder / "caddy.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as child,
    ):
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and child.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", own)) == 0:
                        break
                time.sleep(0.05)
            assert child.poll() is None, (folder / "caddy.log").read_text()
            yield own
        finally:
            child.kill()


class Client:
    """One connection, by hand: a body comes when a test wants it to."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.port = port

    def head(self, text: str) -> None:
        lines = f"{text}\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close"
        self.socket.sendall(f"{lines}\r\n\r\n".encode())

    def rest(self) -> str:
        """All that is still answered, until the end of the connection."""
        parts = []
        while part := self.socket.recv(65536):
            parts.append(part)
        self.socket.close()
        return b"".join(parts).decode()


def test_a_large_upload_arrives_whole_while_it_is_sent(nix_bin: Path, tmp_path: Path) -> None:
    size = 300 * MIB
    block = bytes(MIB)
    with upstream() as server, proxy(nix_bin, tmp_path, server.server_port) as port:
        client = Client(port)
        client.head(f"PUT /_api/v1/upload-path HTTP/1.1\r\nContent-Length: {size}")
        for _ in range(150):
            client.socket.sendall(block)

        # Half of it was sent, and all but what the two systems hold on the way is there.
        assert server.wait_for(100 * MIB)
        for _ in range(150):
            client.socket.sendall(block)

        assert client.rest().endswith(f"\r\n\r\n{size}")
        assert server.host == f"127.0.0.1:{port}"


def test_an_upload_of_unknown_length_is_carried_as_well(nix_bin: Path, tmp_path: Path) -> None:
    with upstream() as server, proxy(nix_bin, tmp_path, server.server_port) as port:
        client = Client(port)
        client.head("PUT /_api/v1/upload-path HTTP/1.1\r\nTransfer-Encoding: chunked")
        for _ in range(20):
            client.socket.sendall(b"100000\r\n" + bytes(MIB) + b"\r\n")
        client.socket.sendall(b"0\r\n\r\n")

        assert client.rest().endswith(f"\r\n\r\n{20 * MIB}")


def test_a_slow_upload_and_a_late_answer_are_waited_for(nix_bin: Path, tmp_path: Path) -> None:
    # More than the buffers on the way hold, which may keep back less than a part.
    part = bytes(64 * 1024)
    with upstream(pause=3) as server, proxy(nix_bin, tmp_path, server.server_port) as port:
        client = Client(port)
        client.head(f"PUT /_api/v1/upload-path HTTP/1.1\r\nContent-Length: {12 * len(part)}")
        for count in range(12):
            client.socket.sendall(part)
            assert server.wait_for(count * len(part) + 1, 5), "what was sent is kept back"
            time.sleep(0.5)

        assert client.rest().endswith(f"\r\n\r\n{12 * len(part)}")


def test_a_nar_is_passed_on_while_it_is_read(nix_bin: Path, tmp_path: Path) -> None:
    with upstream() as server, proxy(nix_bin, tmp_path, server.server_port) as port:
        client = Client(port)
        client.head("GET /prod/nar/x.nar HTTP/1.1")
        seen = ""
        while "first" not in seen:
            seen += client.socket.recv(65536).decode()

        # The server goes on only now.
        with server.changed:
            server.arrived = 1
            server.changed.notify_all()
        assert "second" in seen + client.rest()


def test_who_fetches_waits_while_the_server_starts_anew(nix_bin: Path, tmp_path: Path) -> None:
    later = free_port()
    with proxy(nix_bin, tmp_path, later) as port:
        client = Client(port)
        client.head("GET /prod/nar/x.nar HTTP/1.1")
        time.sleep(2)
        with upstream(later) as server:
            server.arrived = 1
            assert "second" in client.rest()


def test_who_is_not_of_the_tailnet_is_answered_403_and_reaches_nothing(nix_bin: Path, tmp_path: Path) -> None:
    with upstream() as server, proxy(nix_bin, tmp_path, server.server_port, tailscaleOnly=True) as port:
        client = Client(port)
        client.head(f"PUT /_api/v1/upload-path HTTP/1.1\r\nContent-Length: {MIB}")

        assert client.rest().startswith("HTTP/1.1 403 Forbidden\r\n")
        assert server.host == ""


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        pytest.param("100.64.0.7", "200", id="tailnet"),
        pytest.param("100.127.255.254", "200", id="its-last-address"),
        pytest.param("100.128.0.1", "403", id="next-to-it"),
        pytest.param("10.0.0.7", "403", id="private"),
        pytest.param("fd7a:115c:a1e0::7", "200", id="tailnet-v6"),
        pytest.param("fd7a:115c:a1e1::7", "403", id="next-to-it-v6"),
    ],
)
def test_the_addresses_of_the_tailnet_are_let_in(nix_bin: Path, tmp_path: Path, address: str, answer: str) -> None:
    for tool in ("unshare", "ip", "curl"):
        if not shutil.which(tool):
            pytest.skip(f"there is no {tool}")
    bits = 128 if ":" in address else 32
    host = f"[{address}]" if ":" in address else address
    texts = rendered(nix_bin, "127.0.0.1:8080", tailscaleOnly=True)
    (tmp_path / "Caddyfile").write_text(
        f"{{\nadmin off\nauto_https off\n{texts['global']}}}\n"
        f"http://:8081 {{\n{texts['site']}}}\nhttp://127.0.0.1:8080 {{\nrespond atticd\n}}\n"
    )
    script = f"""
      ip link set lo up && ip addr add {address}/{bits} dev lo || exit 77
      HOME={tmp_path} {caddy()} run --config {tmp_path}/Caddyfile --adapter caddyfile 2>{tmp_path}/log &
      # The kernel takes the server's own address as the client's.
      curl --silent --retry 8 --retry-connrefused --retry-delay 1 -o /dev/null -w '%{{http_code}}' http://{host}:8081/
      kill $!
    """

    done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=False)

    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no network of its own can be made here: {done.stderr.strip()}")
    assert done.stdout == answer, (tmp_path / "log").read_text()
