"""The pure functions of `nix/lib`: how caches of a pipelinegen.toml become settings of Nix and caches of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.nix.modules import NIX, evaluate

pytestmark = pytest.mark.nix

CONFIG = """
[caches.upstream]
url = "https://cache.nixos.org"
priority = 40
public_key = "cache.nixos.org-1:key"

[caches.bucket]
url = "s3://bucket?region=eu-central-003&scheme=https"
writers = "protected"
priority = 45
public_key = "bucket-1:old bucket-2:new"

[caches.prod]
backend = "attic"
url = "https://cache.example.org/prod/"
writers = "protected"
public = true
retention = "90 days"
public_key = "prod:key"

[caches.main]
backend = "attic"
url = "https://cache.example.org/main"
writers = "protected"
retention = "server"
public_key = "main:key"

[caches.requests]
backend = "attic"
url = "https://cache.example.org/requests"
writers = "unprotected"
public_key = "requests:key"

[caches.without-key]
url = "https://other.example.org"
writers = "protected"

[caches.of-another-server]
backend = "attic"
url = "https://cache.example.org.example.net/prod"
writers = "protected"
"""


def caches(programs: Path, folder: Path, expression: str) -> Any:
    """A value made of `lib`, the caches of `nix/lib`, and `config`, the file above."""
    (folder / "pipelinegen.toml").write_text(CONFIG)
    config = f"builtins.fromTOML (builtins.readFile {folder}/pipelinegen.toml)"
    return evaluate(programs, f"let lib = (import {NIX}/lib).caches; config = {config}; in {expression}")


def test_machines_ask_the_caches_that_they_may_believe_in_the_order_of_priorities(
    nix_bin: Path, tmp_path: Path
) -> None:
    settings = caches(nix_bin, tmp_path, "lib.settingsFor (lib.ofConfig config)")
    assert settings == {
        "substituters": [
            "https://cache.nixos.org?priority=40",
            "s3://bucket?region=eu-central-003&scheme=https&priority=45",
            "https://cache.example.org/prod/?priority=50",
            "https://cache.example.org/main?priority=60",
        ],
        "trusted-public-keys": ["cache.nixos.org-1:key", "bucket-1:old", "bucket-2:new", "prod:key", "main:key"],
    }


def test_a_priority_that_is_null_or_in_the_address_already_adds_nothing(nix_bin: Path, tmp_path: Path) -> None:
    given = """{
      unknown = { url = "https://cache.example.org/unknown"; priority = null; publicKeys = [ "unknown:key" ]; };
      said = { url = "https://cache.example.org/said?priority=35"; priority = 30; publicKeys = [ "said:key" ]; };
    }"""
    assert caches(nix_bin, tmp_path, f"(lib.settingsFor {given}).substituters") == [
        "https://cache.example.org/said?priority=35",
        "https://cache.example.org/unknown",
    ]


def test_a_server_gets_the_caches_of_its_own_domain(nix_bin: Path, tmp_path: Path) -> None:
    found = caches(nix_bin, tmp_path, 'lib.provisionedBy "cache.example.org" config')
    upstream = {"upstreamKeys": ["cache.nixos.org-1"]}
    assert found == {
        "prod": {"public": True, "priority": None, "retention": "90 days", **upstream},
        "main": {"public": False, "priority": None, "retention": None, **upstream},
        "requests": {"public": False, "priority": None, "retention": None, **upstream},
    }


def test_caches_of_a_server_have_its_address_and_their_kind_of_priority(nix_bin: Path, tmp_path: Path) -> None:
    given = "{ prod = { public = true; }; main = { }; first = { priority = 30; }; }"
    found = caches(nix_bin, tmp_path, f'lib.onAttic "cache.example.org" {given}')
    assert {name: (cache["url"], cache["priority"]) for name, cache in found.items()} == {
        "prod": ("https://cache.example.org/prod", 50),
        "main": ("https://cache.example.org/main", 60),
        "first": ("https://cache.example.org/first", 30),
    }
