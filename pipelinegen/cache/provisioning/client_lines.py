"""What goes into nix.conf, a flake and pipelinegen.toml so that machines use the caches of a project. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipelinegen.config_caches import CacheConfig, WriterClass

_KEY = re.compile(r"[A-Za-z0-9._+-]+:[A-Za-z0-9+/]{43}=")
"""A name and the 32 bytes of an Ed25519 key in base 64."""


@dataclass(frozen=True)
class Offered:
    """A cache as its server offers it.

    Attributes:
        name: in the configuration.
        public: whether it is read without a token.
        public_key: that signs it; null where the server does not tell.
    """

    name: str
    config: CacheConfig
    public: bool
    public_key: str | None


def client_lines(offered: Sequence[Offered]) -> list[str]:
    """Lines for all three files, each part under a comment that names the file.

    People and hosts are offered what is published, which has passed its tests, or else what protected pipelines
    write; never what any merge request can write.
    """
    known = [one for one in offered if one.public_key is not None]
    believed = [one for one in known if one.config.publish] or [
        one for one in known if one.config.writers is not WriterClass.UNPROTECTED
    ]
    left_out = [one.name for one in known if one not in believed]
    lines: list[str] = []
    if believed:
        lines += [*_nix_conf(believed), "", *_flake(believed), ""]
    lines.append("# pipelinegen.toml")
    if left_out:
        lines.append(
            f"# (nowhere else: {', '.join(left_out)}, since what was not tested, or not approved, is for jobs alone)"
        )
    for one in offered:
        if one.public_key is not None:
            lines += toml_lines(one.name, one.public_key)
    return lines


def _nix_conf(offered: Sequence[Offered]) -> list[str]:
    lines = [
        "# nix.conf",
        f"extra-substituters = {' '.join(one.config.url for one in offered)}",
        f"extra-trusted-public-keys = {' '.join(_keys(offered))}",
    ]
    hosts = sorted({urlsplit(one.config.url).hostname or "" for one in offered if not one.public})
    if hosts:
        lines.append("# In the file that `netrc-file` names, with a token that may pull:")
        lines += [f"#   machine {host} login pipelinegen password TOKEN" for host in hosts]
    return lines


def _flake(offered: Sequence[Offered]) -> list[str]:
    urls = " ".join(nix_string(one.config.url) for one in offered)
    keys = " ".join(nix_string(key) for key in _keys(offered))
    return [
        "# flake.nix",
        "nixConfig = {",
        f"  extra-substituters = [ {urls} ];",
        f"  extra-trusted-public-keys = [ {keys} ];",
        "};",
    ]


def _keys(offered: Sequence[Offered]) -> list[str]:
    return list(dict.fromkeys(one.public_key for one in offered if one.public_key is not None))


def toml_lines(name: str, public_key: str) -> list[str]:
    """The table and the line of pipelinegen.toml."""
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    return [f"[caches.{name if bare else json.dumps(name)}]", f"public_key = {json.dumps(public_key)}"]


def readable_key(text: str | None) -> str | None:
    """A public key as a server tells it, if it is one; anything else has no place in anybody's settings."""
    return text if text is not None and _KEY.fullmatch(text) else None


def nix_string(text: str) -> str:
    """A string of the Nix language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


def other_keys(offered: Sequence[Offered]) -> list[str]:
    """Sentences about caches whose configured key is not the one that they sign with."""
    return [
        f"cache {one.name} signs with another key than the configured public_key, so nothing that it holds is believed"
        for one in offered
        if one.public_key is not None
        and one.config.public_key is not None
        and one.public_key not in one.config.public_key.split()
    ]


def clashing_names(keys: Mapping[str, str]) -> list[str]:
    """Sentences about caches whose different keys have one name: Nix takes one key per name.

    A server names the key that it generates like the cache, so equal names on two servers clash.

    Args:
        keys: name of the cache in the configuration → its public keys, separated by spaces.
    """
    by_name: dict[str, dict[str, list[str]]] = {}
    for cache, several in sorted(keys.items()):
        for key in several.split():
            by_name.setdefault(key.partition(":")[0], {}).setdefault(key, []).append(cache)
    return [
        f"caches {', '.join(sorted({name for names in different.values() for name in names}))} have different keys "
        f"of one name, {key_name}: Nix believes only one of them; name the caches differently on their servers"
        for key_name, different in sorted(by_name.items())
        if len(different) > 1
    ]
