"""The real atticd, where it is built, with the interface of the double as far as that goes.

It is looked for on PATH and in `attic/bin` of the lab's folder; `real_problem()` says why there is none.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from tests.attic_server.process import NO_TLS
from tests.attic_server.server import SECRET
from tests.attic_server.tokens import make_token
from tests.lab.machine import Lab

SECRET_VARIABLE = "ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64"
START_SECONDS = 30


def find_atticd() -> Path | None:
    """The server's program, if this machine has it."""
    on_path = shutil.which("atticd")
    built = Lab.find().folder / "attic" / "bin" / "atticd"
    return Path(on_path) if on_path else built if built.exists() else None


def real_problem() -> str | None:
    """Why tests against the real server cannot run here."""
    return None if find_atticd() else f"there is no atticd on PATH or in {Lab.find().folder}/attic/bin"


@dataclass(frozen=True)
class Settings:
    """What may differ from a server's defaults; the double has attributes of the same names."""

    api_endpoint: str | None = None
    substituter_endpoint: str | None = None
    allowed_hosts: Sequence[str] = ()
    soft_delete: bool = False
    require_proof: bool = True
    max_nar_info_size: int = 1024 * 1024

    def toml(self, folder: Path, port: int, compression: str, default_retention: int) -> str:
        """The whole configuration; strings are written as JSON, which TOML reads alike."""
        lines = [
            f'listen = "127.0.0.1:{port}"',
            f"allowed-hosts = {json.dumps(list(self.allowed_hosts))}",
            f"soft-delete-caches = {json.dumps(self.soft_delete)}",
            f"require-proof-of-possession = {json.dumps(self.require_proof)}",
            f"max-nar-info-size = {self.max_nar_info_size}",
            *([f"api-endpoint = {json.dumps(self.api_endpoint)}"] if self.api_endpoint else []),
            *([f"substituter-endpoint = {json.dumps(self.substituter_endpoint)}"] if self.substituter_endpoint else []),
            f"[database]\nurl = {json.dumps(f'sqlite://{folder}/db.sqlite?mode=rwc')}",
            f'[storage]\ntype = "local"\npath = {json.dumps(str(folder / "storage"))}',
            "[chunking]\nnar-size-threshold = 65536\nmin-size = 16384\navg-size = 65536\nmax-size = 262144",
            f'[compression]\ntype = "{compression}"',
            f'[garbage-collection]\ninterval = "0s"\ndefault-retention-period = "{default_retention}s"',
        ]
        return "\n".join(lines) + "\n"


class RealAttic:
    """A running atticd; made by `real_attic`."""

    kind: Literal["real"] = "real"

    def __init__(self, program: Path, folder: Path, url: str, settings: Settings, compression: str) -> None:
        self.program, self.folder, self.url, self.secret = program, folder, url, SECRET
        self.settings, self.compression = settings, compression

    def token(self, caches: Mapping[str, str], *, seconds: float = 3600, sub: str = "test") -> str:
        """As `AtticServer.token`."""
        return make_token(self.secret, caches, expires=time.time() + seconds, sub=sub)

    def token_of_atticadm(self, *arguments: str) -> str:
        """What `atticadm make-token` prints for these arguments."""
        argv = [
            str(self.program.with_name("atticadm")),
            "-f",
            str(self.folder / "server.toml"),
            "make-token",
            *arguments,
        ]
        done = subprocess.run(argv, env=environment(self.folder), capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def create_cache(
        self,
        name: str,
        *,
        public: bool = False,
        priority: int = 41,
        upstream: Sequence[str] = ("cache.nixos.org-1",),
        store_dir: str = "/nix/store",
        retention: int | None = None,
    ) -> str:
        """As `AtticServer.create_cache`."""
        content = {
            "keypair": "Generate",
            "is_public": public,
            "store_dir": store_dir,
            "priority": priority,
            "upstream_cache_key_names": list(upstream),
        }
        url = f"{self.url}_api/v1/cache-config/{name}"
        headers = {"Authorization": f"Bearer {self.token({name: 'r cc cr cq'})}"}
        if self.settings.allowed_hosts:
            headers["Host"] = self.settings.allowed_hosts[0]
        with httpx.Client(headers=headers, verify=NO_TLS) as client:
            client.post(url, json=content).raise_for_status()
            if retention is not None:
                client.patch(url, json={"retention_period": {"Period": retention}}).raise_for_status()
            return str(client.get(url).raise_for_status().json()["public_key"])

    def collect(self, default_retention: int = 0) -> None:
        """Run the garbage collector once."""
        config = self.folder / "collect.toml"
        config.write_text(self.settings.toml(self.folder, 1, self.compression, default_retention))
        argv = [str(self.program), "-f", str(config), "--mode", "garbage-collector-once"]
        subprocess.run(argv, env=environment(self.folder), capture_output=True, check=True, timeout=60)


def environment(folder: Path) -> dict[str, str]:
    """What atticd and atticadm need, and nothing of ours."""
    secret = base64.b64encode(SECRET).decode("ascii")
    return {"HOME": str(folder), "PATH": os.environ.get("PATH", ""), SECRET_VARIABLE: secret}


@contextmanager
def real_attic(
    folder: Path, *, settings: Settings | None = None, compression: Literal["none", "xz", "zstd", "brotli"] = "none"
) -> Iterator[RealAttic]:
    """A server on a free port of the loopback address, with SQLite and storage in `folder`, until the block's end.

    Raises:
        AssertionError: it did not start; with what it said.
    """
    program = find_atticd()
    assert program is not None, real_problem()
    settings = settings or Settings()
    (folder / "storage").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config, log = folder / "server.toml", folder / "atticd.log"
    config.write_text(settings.toml(folder, port, compression, 0))
    # Without a parent it goes away, also when the tests are killed.
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    argv = [*guard, str(program), "-f", str(config)]
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, env=environment(folder), stdout=output, stderr=output) as child,
    ):
        try:
            server = RealAttic(program, folder, f"http://127.0.0.1:{port}/", settings, compression)
            _wait(server, child, log)
            yield server
        finally:
            child.kill()


def _wait(server: RealAttic, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            httpx.get(server.url, timeout=5, verify=NO_TLS)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"atticd did not start:\n{log.read_text('utf-8', 'replace')}")
