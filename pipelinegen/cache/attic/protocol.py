"""Attic's HTTP interface as values: addresses, the settings of a cache, what an upload says and hears.

Source: `attic/src/api/v1` of https://github.com/zhaofengli/attic at b7c9056. Servers may add fields; ours are
read from what they send, everything else is left alone.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipelinegen.path_info import PathInfo

HEADER = "X-Attic-Nar-Info"
PREAMBLE_HEADER = "X-Attic-Nar-Info-Preamble-Size"
PREAMBLE_FROM = 4096
"""Bytes of nar-info from which it travels at the head of the body: proxies limit headers, mostly to 8 KiB."""

HASHES_AT_ONCE = 5000
"""Paths per question. Each is one parameter of one database statement, and PostgreSQL binds at most 65,535."""

HASH_LENGTH = 32
FOREVER = 0
"""The retention that turns collecting by age off."""


class Address(NamedTuple):
    """Where a cache is: the root of the server's interface, ending in `/`, and the name of the cache there."""

    endpoint: str
    cache: str

    @property
    def config_url(self) -> str:
        """Of the settings of the cache."""
        return f"{self.endpoint}_api/v1/cache-config/{self.cache}"

    @property
    def missing_url(self) -> str:
        """Of the question which paths it lacks."""
        return f"{self.endpoint}_api/v1/get-missing-paths"

    @property
    def upload_url(self) -> str:
        """Of uploads."""
        return f"{self.endpoint}_api/v1/upload-path"


def address(url: str) -> Address:
    """The address behind what Nix substitutes from: `https://SERVER/CACHE`."""
    endpoint, _, cache = url.rstrip("/").rpartition("/")
    return Address(f"{endpoint}/", cache)


class CacheSettings(BaseModel):
    """What a server says of a cache; null is what it keeps to itself.

    Attributes:
        retention: seconds; null means as the server is set.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    substituter_endpoint: str | None = None
    api_endpoint: str | None = None
    public_key: str | None = None
    is_public: bool | None = None
    store_dir: str | None = None
    priority: int | None = None
    upstream_cache_key_names: tuple[str, ...] | None = None
    retention: int | None = Field(default=None, alias="retention_period")

    @field_validator("retention", mode="before")
    @classmethod
    def _retention(cls, value: object) -> object:
        if isinstance(value, dict):
            return value.get("Period")
        return None if value == "Global" else value


def retention_words(seconds: int | None) -> str | dict[str, int]:
    """A retention as the server takes it. Absent would mean *leave it*."""
    return "Global" if seconds is None else {"Period": seconds}


class Uploaded(BaseModel):
    """What the server says of an upload that it took.

    Attributes:
        kind: `Deduplicated` where it had the content already.
        file_size: bytes that it stored; null when it does not say.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["Uploaded", "Deduplicated"] = "Uploaded"
    file_size: int | None = None

    @field_validator("kind", mode="before")
    @classmethod
    def _unknown_is_uploaded(cls, value: object) -> object:
        return value if value == "Deduplicated" else "Uploaded"


def store_hash(path: str) -> str:
    """The 32 characters by which a server knows a path."""
    return path.rsplit("/", 1)[-1][:HASH_LENGTH]


def nar_info(cache: str, info: PathInfo) -> bytes:
    """What precedes an archive. System and deriver are left out, as Attic's own client does."""
    record: dict[str, Any] = {
        "cache": cache,
        "store_path_hash": store_hash(info.path),
        "store_path": info.path,
        "references": [reference.rsplit("/", 1)[-1] for reference in info.references],
        "system": None,
        "deriver": None,
        "sigs": list(info.signatures),
        "ca": info.ca,
        "nar_hash": info.nar_hash,
        "nar_size": info.nar_size,
    }
    return json.dumps(record, separators=(",", ":")).encode()
