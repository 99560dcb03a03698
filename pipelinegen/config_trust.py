"""What a configuration of caches may not allow: that merge requests write where protected pipelines look. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from pipelinegen.config_caches import CacheConfig, Handoff, WriterClass

_DEFAULT_PORTS = {"http": 80, "https": 443}

_PART_OF_THE_PLACE = {"endpoint", "remote-store", "root"}
"""Settings in a store's URL that decide which store it is."""


def refuse_mixing(caches: Mapping[str, CacheConfig], handoff: Handoff) -> None:
    """See that no two caches are one place, or share a secret, where that would lead around the gates.

    Raises:
        ValueError: they do.
    """
    opened = {name: cache for name, cache in caches.items() if cache.writers is WriterClass.UNPROTECTED}
    closed = {name: cache for name, cache in caches.items() if name not in opened}
    if found := _common(opened, closed, _places, _places):
        raise ValueError(f"caches: merge requests can write to {found[0]!r}, and {found[1]!r}: one URL for both")
    if found := _common(opened, closed, _secrets, _write_secrets):
        raise ValueError(
            f"caches: merge requests have {found[2]} for {found[0]!r}, which would also write to {found[1]!r}: give "
            "one of them a token of its own for pushing (push_token_env, push_token_file), or a key or netrc file"
        )
    published = {name: cache for name, cache in caches.items() if cache.publish}
    handed = {name: cache for name, cache in caches.items() if name == handoff.protected}
    if found := _common(handed, published, _places, _places):
        raise ValueError(
            f"caches: build jobs leave things in {found[0]!r}, and {found[1]!r} is published to: one URL for both, so "
            "that they would be published before any test"
        )


Words = Callable[[CacheConfig], Mapping[str, str]]
"""What caches are compared by → how the configuration spells it."""


def _common(
    some: Mapping[str, CacheConfig], others: Mapping[str, CacheConfig], of_some: Words, of_others: Words
) -> tuple[str, str, str] | None:
    """The first cache of each kind that have a word in common, and how the first of them spells it."""
    known = {word: (name, shown) for name, cache in some.items() for word, shown in of_some(cache).items()}
    for other, cache in others.items():
        for word in sorted(of_others(cache).keys() & known.keys()):
            name, shown = known[word]
            return name, other, shown
    return None


def _places(cache: CacheConfig) -> dict[str, str]:
    return {place(url): url for url in (cache.url, cache.push_url) if url}


def place(url: str) -> str:
    """Where a store URL leads, however it is spelled: unencrypted or not, with the usual port, slashes, settings."""
    parts = urlsplit(url if "://" in url else f"file://{url}")
    scheme = {"https": "http", "ssh-ng": "ssh"}.get(parts.scheme, parts.scheme)
    host = (parts.hostname or "").rstrip(".")
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    path = posixpath.normpath(f"/{unquote(parts.path)}").lstrip("/")
    options = sorted((name, value) for name, value in parse_qsl(parts.query) if name in _PART_OF_THE_PLACE)
    return f"{scheme}://{host}{port}/{path}{options or ''}"


def _secrets(cache: CacheConfig) -> dict[str, str]:
    """Everything that jobs have which use the cache."""
    return {**_tokens(cache), **_pushing(cache), **_files(cache.secret_key_file, cache.netrc_file)}


def _write_secrets(cache: CacheConfig) -> dict[str, str]:
    """What it takes to write to a cache that is ours."""
    if cache.writers is WriterClass.UPSTREAM:
        return {}
    if cache.backend == "attic":
        return _pushing(cache) or _tokens(cache)
    asks = place(cache.push_url or cache.url).startswith("http:")
    return _files(cache.secret_key_file, cache.netrc_file if asks else None)


def _tokens(cache: CacheConfig) -> dict[str, str]:
    return _files(cache.token_file, cache.token_env and f"${cache.token_env}")


def _pushing(cache: CacheConfig) -> dict[str, str]:
    return _files(cache.push_token_file, cache.push_token_env and f"${cache.push_token_env}")


def _files(*names: str | None) -> dict[str, str]:
    return {name: name for name in names if name}
