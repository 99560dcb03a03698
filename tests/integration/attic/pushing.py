"""A store with something in it, a server, and a cache between them: what the tests of pushing start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelinegen import process
from pipelinegen.cache.attic.backend import AtticCache
from pipelinegen.cache.model import CacheBackend, PathReport, PushReport
from pipelinegen.config_caches import CacheConfig, Pushing, WriterClass
from tests.attic_server import AtticServer

EXPRESSION = """
let make = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
};
in rec {
  lib = make "lib" "echo lib > $out";
  app = make "app" "echo ${lib} > $out";
  other = make "other" "echo > $out";
  big = make "big" "i=0; while [ $i -lt 40000 ]; do echo $i-abcdefghijklmnopqrstuvwxyz; i=$((i+1)); done > $out";
  parts = builtins.genList (n: make "part-${toString n}" "echo ${toString n} > $out") 60;
  many = make "many" "echo ${toString parts} > $out";
}
"""

NAMES = ("lib", "app", "other", "big", "many")
TOKEN = "ATTIC_TOKEN"


@dataclass(frozen=True)
class Paths:
    """Built store paths: `app` refers to `lib`, `many` to sixty small ones; `big` has more than a mebibyte."""

    lib: str
    app: str
    other: str
    big: str
    many: str


def build(folder: Path) -> Paths:
    """Build them in the store of this test."""
    file = folder / "paths.nix"
    file.write_text(EXPRESSION)
    wanted = [word for name in NAMES for word in ("-A", name)]
    return Paths(*process.run(["nix-build", "--no-out-link", file, *wanted]).text.split())


@dataclass
class Scene:
    """A server with the cache `ci`, and this test's store.

    Attributes:
        key: the cache's public key.
    """

    server: AtticServer
    paths: Paths
    key: str
    monkeypatch: pytest.MonkeyPatch

    def cache(
        self,
        rights: Mapping[str, str] | None = None,
        *,
        pushing: Mapping[str, object] | None = None,
        upstream: tuple[CacheBackend, ...] = (),
        seconds: float = 3600,
        **settings: object,
    ) -> AtticCache:
        """The cache as a job with such a token sees it."""
        token = self.server.token(rights or {"ci": "r w"}, seconds=seconds)
        self.monkeypatch.setenv(TOKEN, token)
        config = {
            "url": f"{self.server.url}ci",
            "backend": "attic",
            "writers": WriterClass.PROTECTED,
            "public_key": self.key,
            "token_env": TOKEN,
            **settings,
        }
        how = Pushing.model_validate({"attempts": 3, "stall_timeout": 2, "answer_timeout": 3, **(pushing or {})})
        return AtticCache("ci", CacheConfig.model_validate(config), pushing=how, upstream=upstream)

    def push(self, *paths: str, **settings: object) -> PushReport:
        """Push to it."""
        return self.cache(**settings).push(paths)  # type: ignore[arg-type]


def report_of(report: PushReport, path: str) -> PathReport:
    """What became of one path."""
    return next(one for one in report.paths if one.path == path)
