"""The pure parts of the cache server's module, whole: what is told of single values, and the caches that are wanted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import ONE_NIX
from tests.integration.nix.modules import NIX, evaluate

pytestmark = [pytest.mark.nix, ONE_NIX]


def test_the_caches_are_wanted_in_pipelinegens_words(nix_bin: Path) -> None:
    cache = '{ public = true; priority = null; retention = null; upstreamKeys = [ "cache.nixos.org-1" ]; }'
    expression = f"""import {NIX}/attic-server/wanted-caches.nix {{
      domain = "cache.example.org";
      caches = {{ prod = {cache}; ci = {cache} // {{ public = false; retention = "2 weeks"; }}; }};
    }}"""

    assert evaluate(nix_bin, expression) == {
        "prod": {
            "backend": "attic",
            "url": "https://cache.example.org/prod",
            "writers": "protected",
            "public": True,
            "priority": 50,
            "retention": "server",
            "upstream_keys": ["cache.nixos.org-1"],
        },
        "ci": {
            "backend": "attic",
            "url": "https://cache.example.org/ci",
            "writers": "protected",
            "public": False,
            "priority": 60,
            "retention": "2 weeks",
            "upstream_keys": ["cache.nixos.org-1"],
        },
    }


TRUE_AND_FALSE = {
    "isHostName": (
        ["cache.example.org", "a.b", "A1.xn--p1ai"],
        ["", "cache", "a..b", "-a.b", "a.b.", "a.b:443", "a_b.c"],
    ),
    "isCacheName": (["a", "pantherOS", "ci-main_2+x", "a" * 50], ["", "-a", "a.b", "a/b", "é", "a" * 51]),
    "isSocketAddress": (["127.0.0.1:8080", "[::]:80"], ["localhost:80", "127.0.0.1", ":8080", "::1:80"]),
    "isLoopback": (["127.0.0.1:80", "127.1.2.3:80", "[::1]:80"], ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "[::1]"]),
    "isServiceAddress": (
        ["https://s3.example.org", "https://s3.example.org/", "http://127.0.0.1:9000", "http://localhost"],
        ["s3.example.org", "http://s3.example.org", "https://s3.example.org/bucket", "https://key@s3.example.org", ""],
    ),
    "isDuration": (
        ["12 hours", "90 days", "1h 30m", "90days", "1 day 2 hours"],
        ["", "0", "days", "1 fortnight", "-1 day"],
    ),
    "isNothing": (["0", "0s", "00 days", "0 days 0h"], ["10s", "1 day", "0 days 1s", "forever", ""]),
    'namesDatabase "atticd"': (
        ["postgresql:///atticd?host=/run/postgresql", "postgres://db/atticd"],
        ["postgresql:///attic", "sqlite:///atticd", "postgresql:///atticd2", "postgresql://atticd"],
    ),
    "holdsPassword": (
        ["postgresql://u:p@db/x", "postgresql://db/x?password=p"],
        ["postgresql://u@db/x", "postgresql:///x?host=/run", "postgresql://db:5432/x"],
    ),
    "isSqlite": (["sqlite:///x", "sqlite::memory:"], ["postgresql:///sqlite:"]),
    "isInStore": (["/nix/store/abc-key"], ["/run/secrets/nix/store/key", "/nix/storage/key"]),
    "isCamelCase": (["atticKey", "a1"], ["attic-key", "AtticKey", "attic_key", "1a", ""]),
    "isBackblaze": (["https://s3.us-west-004.backblazeb2.com"], ["https://backblazeb2.com.example.org"]),
    "endsInSlash": (["https://a.b/"], ["https://a.b", ""]),
    "isHttps": (["https://a.b/"], ["http://a.b/", "https://", ""]),
}


@pytest.mark.parametrize("name", TRUE_AND_FALSE)
def test_a_predicate_tells_good_from_bad(nix_bin: Path, name: str) -> None:
    good, bad = TRUE_AND_FALSE[name]
    listed = json.dumps(json.dumps(good + bad, ensure_ascii=False), ensure_ascii=False)

    found = evaluate(nix_bin, f"map ((import {NIX}/attic-server/predicates.nix).{name}) (builtins.fromJSON {listed})")

    assert dict(zip(good + bad, found, strict=True)) == dict.fromkeys(good, True) | dict.fromkeys(bad, False)
