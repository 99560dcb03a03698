"""Caches that need time, or forget: what was handed over is there when the job ends, for everybody who then asks."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelinegen import nix, process
from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.cache.substituters import substituter_url
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.errors import StepFailedError, TransientError

pytestmark = pytest.mark.nix

EXPRESSION = """
let make = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
};
in rec { lib = make "lib" "echo lib > $out"; app = make "app" "echo ${lib} > $out"; }
"""


class SlowCache(ThreadingHTTPServer):
    """A binary cache that takes uploads, and denies each narinfo for a while after it was uploaded.

    Attributes:
        delay: seconds for which a narinfo is denied; null for ever.
        status: what it answers meanwhile.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.delay: float | None = 0.0
        self.status = 404
        self.uploaded: dict[str, float] = {}
        self.denied: Counter[str] = Counter()
        folder.mkdir()
        (folder / "nix-cache-info").write_text(f"StoreDir: {folder.parent / 'nix' / 'store'}\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def visible(self, name: str) -> bool:
        """Whether it admits to having a file."""
        if not name.endswith(".narinfo"):
            return True
        since = time.monotonic() - self.uploaded.get(name, 0.0)
        return self.delay is not None and since >= self.delay


class _Handler(BaseHTTPRequestHandler):
    server: SlowCache
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_PUT(self) -> None:
        name = self.path.lstrip("/")
        data = self.rfile.read(int(self.headers["Content-Length"]))
        file = self.server.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
        self.server.uploaded[name] = time.monotonic()
        self._send(200)

    def _answer(self, *, body: bool) -> None:
        name = self.path.lstrip("/")
        file = self.server.folder / name
        if not file.is_file():
            self._send(404)
        elif not self.server.visible(name):
            self.server.denied[name] += 1
            self._send(self.server.status)
        else:
            self._send(200, file.read_bytes(), body=body)

    def _send(self, status: int, data: bytes = b"", *, body: bool = True) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Be quiet."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SlowCache]:
    with SlowCache(tmp_path / "served") as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def app(nix_bin: Path, tmp_path: Path) -> str:
    """A path that refers to another one."""
    file = tmp_path / "paths.nix"
    file.write_text(EXPRESSION)
    return process.run(["nix-build", "--no-out-link", file, "-A", "app"]).text.strip()


@pytest.fixture
def cache(server: SlowCache) -> NixStoreCache:
    return NixStoreCache("ci", CacheConfig(url=server.url, writers=WriterClass.PROTECTED))


def narinfo(path: str) -> str:
    return f"{Path(path).name[:32]}.narinfo"


def test_a_job_waits_until_a_slow_cache_serves_what_it_was_given(
    app: str, server: SlowCache, cache: NixStoreCache
) -> None:
    server.delay = 3
    cache.push([app])
    assert cache.query([app])[0] == {app: False}
    cache.wait_until_visible([app], timeout=60, interval=0.2)
    assert server.denied[narinfo(app)] >= 2
    assert time.monotonic() - server.uploaded[narinfo(app)] >= 3


def test_waiting_has_an_end_and_names_what_did_not_come(app: str, server: SlowCache, cache: NixStoreCache) -> None:
    server.delay = None
    cache.push([app])
    started = time.monotonic()
    with pytest.raises(StepFailedError, match="does not serve what was pushed") as raised:
        cache.wait_until_visible([app], timeout=1, interval=0.2)
    assert raised.value.where == app
    assert time.monotonic() - started < 30


def test_a_cache_that_breaks_while_one_waits_is_worth_a_second_try(
    app: str, server: SlowCache, cache: NixStoreCache
) -> None:
    server.delay, server.status = None, 503
    cache.push([app])
    with pytest.raises(TransientError, match="does not say whether"):
        cache.wait_until_visible([app], timeout=1, interval=0.2)


def test_a_machine_that_remembers_an_absence_fetches_what_came_since(
    app: str, server: SlowCache, cache: NixStoreCache
) -> None:
    # As a job that ran here earlier asks, with Nix's own hour for which an absence counts.
    command = ["nix-store", "--realise", "--option", "substituters", f"{server.url}?trusted=true"]
    process.run(["nix-store", "--delete", app])
    assert process.run([*command, app], allowed="any").returncode != 0
    process.run(["nix-build", "--no-out-link", server.folder.parent / "paths.nix", "-A", "app"])
    cache.push([app])
    process.run(["nix-store", "--delete", app])
    assert process.run([*command, app], allowed="any").returncode != 0, "the absence is remembered"
    sources = nix.Substitution(substituters=(substituter_url(cache.config),))
    assert nix.substitute([app], sources) == []


def test_what_a_cache_deleted_is_pushed_again_though_this_machine_remembers_that_it_was_there(
    app: str, server: SlowCache, cache: NixStoreCache
) -> None:
    cache.push([app])
    assert cache.query([app])[0] == {app: True}
    for file in [*server.folder.glob("*.narinfo"), *server.folder.glob("nar/*")]:
        file.unlink()
    cache.push([app])
    assert cache.query([app])[0] == {app: True}
