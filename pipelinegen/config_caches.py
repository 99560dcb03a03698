"""The settings about binary caches: `[caches.NAME]`, `[handoff]` and `[push]`."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from pipelinegen.config_words import GATE, Duration, Gate, Pattern, SecretFile, StoreUrl, VariableName
from pipelinegen.values import Value


class WriterClass(enum.StrEnum):
    """Who can write to a cache."""

    PROTECTED = "protected"
    """Only pipelines of protected refs (and people with such rights)."""
    UNPROTECTED = "unprotected"
    """Any pipeline, merge requests too: never trusted by a pipeline on a protected ref."""
    UPSTREAM = "upstream"
    """Somebody else; we only read."""


ATTIC_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,49}")
"""Names of caches on an Attic server (its `attic/src/cache.rs`)."""

ATTIC_ONLY = frozenset(
    {"token_file", "token_env", "push_token_file", "push_token_env", "include_upstream", "public", "retention"}
    | {"upstream_keys"}
)
"""Keys of a cache that only an Attic server has a meaning for."""


def _refuse_together(given: set[str], keys: Iterable[str], why: str) -> None:
    wrong = sorted(given & set(keys))
    if wrong:
        raise ValueError(f"{', '.join(f'`{key}`' for key in wrong)}: {why}")


class CacheConfig(Value):
    """One binary cache."""

    url: StoreUrl = Field(description="where jobs read from")
    push_url: StoreUrl | None = Field(default=None, description="where jobs write to, if it is not `url`")
    backend: Literal["nix", "attic"] = Field(
        default="nix",
        description="`nix`: any store URL that Nix can copy to; `attic`: an Attic server, `url` ends in "
        "the cache's name there",
    )
    writers: WriterClass = Field(default=WriterClass.UPSTREAM, description="who can write to it; decides who trusts it")
    publish: bool = Field(default=False, description="the push stage puts finished outputs here")
    public_key: str | None = Field(
        default=None,
        description="`name:base64` of the keys that sign it, separated by spaces; without it no signature is needed",
    )
    secret_key_file: SecretFile | None = Field(
        default=None,
        description="file with the secret signing key; `$NAME` takes it from a file variable, `op://…` from 1Password",
    )
    netrc_file: SecretFile | None = Field(
        default=None,
        description="netrc file with its credentials; `$NAME` takes it from a file variable, `op://…` from 1Password",
    )
    token_file: SecretFile | None = Field(
        default=None,
        description="attic: file with the token; `$NAME` takes it from a file variable, `op://…` from 1Password",
    )
    token_env: VariableName | None = Field(default=None, description="attic: variable that holds the token itself")
    push_token_file: SecretFile | None = Field(
        default=None, description="attic: as `token_file`, for pushing alone, where reading takes another token"
    )
    push_token_env: VariableName | None = Field(
        default=None, description="attic: as `token_env`, for pushing alone, where reading takes another token"
    )
    include_upstream: bool = Field(
        default=False, description="attic: push also what is signed by a key that the server counts as upstream's"
    )
    public: bool | None = Field(
        default=None,
        description="attic, `cache provision`: whether anybody may read it; null leaves it, new caches are private",
    )
    priority: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="order of substituters, lower is asked first; null leaves it"
    )
    retention: Duration | Literal["server", "forever"] | None = Field(
        default=None,
        description="attic, `cache provision`: how long what nobody fetches is kept; `server`: as the server is set; "
        "null leaves it",
    )
    upstream_keys: tuple[str, ...] | None = Field(
        default=None,
        description="attic, `cache provision`: names of keys whose paths are not pushed, such as cache.nixos.org-1; "
        "null leaves them",
    )
    warm: tuple[Pattern, ...] = Field(
        default=(), description="publish caches: outputs that scheduled pipelines keep from being collected there"
    )
    include: tuple[Pattern, ...] = Field(default=("**",), description="publish caches: which outputs go there")
    gate: Gate = Field(default="all", description=GATE)
    checks: tuple[Pattern, ...] = Field(default=(), description="publish caches with gate = related: these must pass")

    @model_validator(mode="after")
    def _consistent(self) -> CacheConfig:
        if self.publish and self.writers is not WriterClass.PROTECTED:
            raise ValueError('a publish cache needs writers = "protected": everyone trusts what it holds')
        if self.warm and not self.publish:
            raise ValueError("`warm` is for publish caches: it keeps what was pushed there")
        keys = self.public_key.split() if self.public_key is not None else ["none:"]
        if not keys or not all(re.fullmatch(r"[^:]+:.*", key) for key in keys):
            raise ValueError("`public_key`: expected `name:base64`, or several with spaces between them")
        # What says just the default says nothing: a configuration that was written out can be read again.
        fields = type(self).model_fields
        given = {name for name in self.model_fields_set if getattr(self, name) != fields[name].default}
        if self.backend == "attic":
            self._attic_urls()
            _refuse_together(
                given, {"secret_key_file", "netrc_file"}, 'backend = "attic" signs and authenticates itself'
            )
            for role in ("token", "push_token"):
                if {f"{role}_file", f"{role}_env"} <= given:
                    raise ValueError(f"`{role}_file` or `{role}_env`, not both")
        else:
            _refuse_together(given, ATTIC_ONLY, 'only for backend = "attic"')
        return self

    def _attic_urls(self) -> None:
        for url in (self.url, self.push_url):
            if url is None:
                continue
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
                raise ValueError(f'backend = "attic" needs https://SERVER/CACHE, not {url}')
            if not ATTIC_NAME.fullmatch(parts.path.rstrip("/").rsplit("/", 1)[-1]):
                raise ValueError(f"{url} does not end in the name of a cache on that Attic server")


def refuse_equal_key_names(caches: Mapping[str, CacheConfig]) -> None:
    """Of several keys with one name, Nix believes only the first.

    Raises:
        ValueError: two of the caches have such keys.
    """
    keys: dict[str, tuple[str, str]] = {}
    for cache_name, cache in caches.items():
        for word in (cache.public_key or "").split():
            key_name = word.partition(":")[0]
            other, key = keys.setdefault(key_name, (cache_name, word))
            if key != word:
                raise ValueError(
                    f"caches: {other!r} and {cache_name!r} have different keys of the name {key_name!r}, and Nix "
                    "believes only the first of one name: give one of them another (on Attic: another cache name)"
                )


class Handoff(Value):
    """How outputs travel between the jobs of one pipeline."""

    mode: Literal["cache", "artifacts", "runner"] = Field(
        default="runner",
        description="`cache`: build jobs push to a cache, later jobs fetch; `artifacts`: they leave what no cache "
        "has as job artifacts; `runner`: runners share a store",
    )
    derivations: Literal["export", "evaluate"] = Field(
        default="export",
        description="how jobs get derivations: from the export of the bootstrap job, or by evaluating the flake again",
    )
    protected: str | None = Field(default=None, description="name of the cache for pipelines of protected refs")
    unprotected: str | None = Field(default=None, description="name of the cache for all other pipelines")
    visible_timeout: int = Field(default=120, gt=0, description="seconds to wait until pushed paths can be fetched")


class Pushing(Value):
    """How paths are pushed to Attic servers."""

    jobs: int = Field(default=4, ge=1, le=64, description="uploads at once; fewer while the server has trouble")
    attempts: int = Field(default=6, ge=1, le=20, description="how often one path is tried")
    deadline: Duration = Field(default="50 minutes", description="time for everything; then the rest counts as failed")
    stall_timeout: int = Field(
        default=60, gt=0, description="seconds in which an upload must get on; then it is cut and tried again"
    )
    answer_timeout: int = Field(
        default=300, gt=0, description="seconds that the server may take to answer once it has the whole path"
    )
    sample_mb: int = Field(
        default=256,
        ge=0,
        description="MiB of pushed outputs that are fetched again and hashed to see that they are there",
    )
