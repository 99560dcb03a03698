"""The double in a process of its own, for load tests and for clients that are not on this machine's loopback.

with server_process(tmp_path, caches={"ci": True}) as server:
    server.url, server.public_keys["ci"], server.token({"ci": "r w"})
    server.set_faults(Fault(Reply(503, form="html"), probability=0.05))
    server.stats()["most_parallel_uploads"]
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httpx

from tests.attic_server.control import PREFIX, fault_to_json
from tests.attic_server.faults import Fault
from tests.attic_server.server import SECRET
from tests.attic_server.tokens import make_token

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain HTTP: reading the machine's certificates would take longer than the request."""
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ServerProcess:
    """A running server."""

    url: str
    storage_url: str
    public_keys: Mapping[str, str]
    pid: int

    def token(self, caches: Mapping[str, str], *, seconds: float = 3600, sub: str = "test") -> str:
        """As `AtticServer.token`."""
        return make_token(SECRET, caches, expires=time.time() + seconds, sub=sub)

    def stats(self) -> dict[str, object]:
        """See `control.stats`."""
        return cast("dict[str, object]", self._steer("GET", "stats", None))

    def set_faults(self, *faults: Fault) -> None:
        """These, and no others any more."""
        self._steer("POST", "faults", [fault_to_json(fault) for fault in faults])

    def advance(self, seconds: float) -> None:
        """Let its clock go forwards."""
        self._steer("POST", "clock", seconds)

    def _steer(self, method: str, lever: str, value: object) -> object:
        url = f"{self.url}{PREFIX.removeprefix('/')}{lever}"
        answer = httpx.request(method, url, json=value, timeout=30, verify=NO_TLS)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def server_process(
    folder: Path,
    *,
    caches: Mapping[str, bool],
    host: str = "127.0.0.1",
    seed: int = 0,
    redirect_nars: bool = False,
) -> Iterator[ServerProcess]:
    """A server until the end of the block.

    Args:
        folder: where large NARs go.
        caches: name → whether it is public.
        host: address to listen on; 0.0.0.0 for clients in other network namespaces.
        seed: decides which requests faults with a probability hit.
        redirect_nars: small NARs are fetched from a second port.
    """
    argv = [sys.executable, "-m", "tests.attic_server", "--while-stdin", "--folder", str(folder), "--host", host]
    argv += ["--seed", str(seed), *(["--redirect-nars"] if redirect_nars else [])]
    for name, public in caches.items():
        argv += ["--cache", f"{name}:public" if public else name]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            started = json.loads(child.stdout.readline())
            yield ServerProcess(started["url"], started["storage_url"], started["public_keys"], child.pid)
        finally:
            child.terminate()
            child.wait(10)
