"""Requests as any client of Attic makes them, and paths to send."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from tests.attic_server import AtticServer
from tests.attic_server.names import ALPHABET
from tests.attic_server.process import NO_TLS
from tests.attic_server.real import RealAttic

Attic = AtticServer | RealAttic

ALL = "r w cc cr cq cd"
_numbers = itertools.count(1)


def new_hash() -> str:
    """The hash of a store path that no other test has."""
    number = next(_numbers)
    return "".join(ALPHABET[(number >> (5 * place)) & 31] for place in range(32))


def new_nar(size: int = 1000) -> bytes:
    """Content that no other test sent; not a real NAR, which servers do not look at."""
    start = f"content {next(_numbers)} ".encode()
    return (start * (size // len(start) + 1))[:size]


@dataclass(frozen=True)
class Client:
    """Talks to one cache of a server with one token, or none."""

    attic: Attic
    cache: str
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Any request; `{cache}` in the path is the cache's name."""
        named = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **self.headers, **(headers or {})}
        url = self.attic.url + path.format(cache=self.cache)
        if content is not None:
            return httpx.request(method, url, headers=named, timeout=30, verify=NO_TLS, content=content)
        return httpx.request(method, url, headers=named, timeout=30, verify=NO_TLS, json=json)

    def config(
        self,
        method: str = "GET",
        *,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """cache-config."""
        return self.ask(method, "_api/v1/cache-config/{cache}", json=json, content=content, headers=headers)

    def missing(self, *hashes: str) -> httpx.Response:
        """get-missing-paths."""
        body = {"cache": self.cache, "store_path_hashes": list(hashes)}
        return self.ask("POST", "_api/v1/get-missing-paths", json=body)

    def info(self, nar: bytes, **changes: object) -> dict[str, object]:
        """The nar-info of a new path, with some fields changed; one that becomes `...` is left out."""
        path_hash = str(changes.get("store_path_hash", new_hash()))
        fields: dict[str, object] = {
            "cache": self.cache,
            "store_path_hash": path_hash,
            "store_path": f"/nix/store/{path_hash}-thing",
            "references": [],
            "system": None,
            "deriver": None,
            "sigs": [],
            "ca": None,
            "nar_hash": f"sha256:{hashlib.sha256(nar).hexdigest()}",
            "nar_size": len(nar),
        }
        return {name: value for name, value in (fields | changes).items() if value is not ...}

    def put(
        self, nar: bytes, info: object = None, *, preamble: bool = False, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """upload-path, with the nar-info in the header or before the NAR."""
        text = json.dumps(self.info(nar) if info is None else info)
        named = {"X-Attic-Nar-Info-Preamble-Size": str(len(text))} if preamble else {"X-Attic-Nar-Info": text}
        content = text.encode() + nar if preamble else nar
        return self.ask("PUT", "_api/v1/upload-path", content=content, headers={**named, **(headers or {})})

    def store(self, nar: bytes | None = None, **changes: object) -> str:
        """Upload a new path; returns its hash."""
        nar = new_nar() if nar is None else nar
        info = self.info(nar, **changes)
        answer = self.put(nar, info)
        assert answer.status_code == 200, answer.text
        return str(info["store_path_hash"])

    def narinfo(self, path_hash: str) -> httpx.Response:
        """The narinfo of a path."""
        return self.ask("GET", f"{{cache}}/{path_hash}.narinfo")

    def nar(self, path_hash: str) -> httpx.Response:
        """The NAR of a path."""
        return self.ask("GET", f"{{cache}}/nar/{path_hash}.nar")


def error(answer: httpx.Response) -> tuple[int, str]:
    """Status and the name of Attic's error; the body repeats the status."""
    body = answer.json()
    assert set(body) == {"code", "error", "message"}
    assert body["code"] == answer.status_code
    return answer.status_code, body["error"]
