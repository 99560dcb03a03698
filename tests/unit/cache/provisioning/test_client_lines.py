"""Lines for nix.conf, flake.nix and pipelinegen.toml."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from pipelinegen.cache.provisioning.client_lines import (
    Offered,
    clashing_names,
    client_lines,
    nix_string,
    other_keys,
    readable_key,
    toml_lines,
)
from pipelinegen.config_caches import CacheConfig

KEY = "prod:" + "A" * 43 + "="
OTHER = "prod:" + "B" * 43 + "="


def offered(name: str, *, public: bool = False, key: str | None = KEY, **settings: Any) -> Offered:
    given = {"url": f"https://cache.example.org/{name}", "backend": "attic", "writers": "protected", **settings}
    return Offered(name, CacheConfig(**given), public, key)


def test_every_file_gets_its_lines() -> None:
    assert client_lines([offered("prod")]) == [
        "# nix.conf",
        "extra-substituters = https://cache.example.org/prod",
        f"extra-trusted-public-keys = {KEY}",
        "# In the file that `netrc-file` names, with a token that may pull:",
        "#   machine cache.example.org login pipelinegen password TOKEN",
        "",
        "# flake.nix",
        "nixConfig = {",
        '  extra-substituters = [ "https://cache.example.org/prod" ];',
        f'  extra-trusted-public-keys = [ "{KEY}" ];',
        "};",
        "",
        "# pipelinegen.toml",
        "[caches.prod]",
        f'public_key = "{KEY}"',
    ]


def test_a_public_cache_needs_no_password() -> None:
    assert not any("netrc" in line for line in client_lines([offered("prod", public=True)]))


def test_what_merge_requests_write_is_offered_to_nobody_but_jobs() -> None:
    lines = client_lines([offered("mr", writers="unprotected", key=OTHER)])
    assert lines[0] == "# pipelinegen.toml"
    assert "mr" in lines[1]
    assert lines[1].startswith("#")
    assert f'public_key = "{OTHER}"' in lines
    mixed = client_lines([offered("mr", writers="unprotected", key=OTHER), offered("prod")])
    assert OTHER not in "\n".join(mixed[: mixed.index("# pipelinegen.toml")])


@pytest.mark.parametrize(
    "text",
    [None, "", "prod", "prod:", f"prod:{'A' * 43}", f"{KEY}\nextra-substituters = https://evil", f"a b:{KEY[5:]}"],
)
def test_what_is_no_key_is_not_printed_as_one(text: str | None) -> None:
    assert readable_key(text) is None


def test_a_key_is_a_key() -> None:
    assert readable_key(KEY) == KEY


@pytest.mark.parametrize("name", ["prod", "a+b", "0"])
def test_the_lines_for_the_configuration_are_toml(name: str) -> None:
    assert tomllib.loads("\n".join(toml_lines(name, KEY))) == {"caches": {name: {"public_key": KEY}}}


def test_strings_of_nix_are_quoted() -> None:
    assert nix_string('a"b\\c${d}') == '"a\\"b\\\\c\\${d}"'


def test_keys_of_one_name_that_differ_are_told() -> None:
    (sentence,) = clashing_names({"one": KEY, "two": OTHER, "three": "free:key", "none": ""})
    assert "one, two" in sentence
    assert "prod" in sentence


def test_one_key_for_two_caches_is_no_clash() -> None:
    assert clashing_names({"one": KEY, "two": KEY}) == []


def test_a_configured_key_that_is_not_the_server_s_is_told() -> None:
    assert other_keys([offered("prod", public_key=OTHER)])
    assert not other_keys([offered("prod", public_key=f"{OTHER} {KEY}")])
    assert not other_keys([offered("prod")])
