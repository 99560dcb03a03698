"""What is to be changed on an Attic server so that a cache is as configured. Pure.

A setting that is not configured is left alone, and is not even sent: Attic's own client sends the retention with
every change, so that changing a priority resets it (`client/src/command/cache.rs`). The key pair is sent when a
cache is created and never again: with another one, everything in the cache loses its signature.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from pipelinegen.cache.attic.protocol import FOREVER, CacheSettings, retention_words
from pipelinegen.config_caches import CacheConfig
from pipelinegen.durations import DAY, seconds
from pipelinegen.errors import ConfigError
from pipelinegen.values import Value

PRIORITY = 41
"""Of a new cache: right behind cache.nixos.org, as Attic's own client has it."""

UPSTREAM_KEYS = ("cache.nixos.org-1",)
"""Of a new cache, as Attic's own client has it."""

STORE = "/nix/store"

LONGEST_RETENTION = 2**31 - 1
"""Seconds: the server reads 32 bits, and refuses what its database takes for negative (`cache_config.rs`)."""

WIRE = {
    "public": "is_public",
    "store_dir": "store_dir",
    "priority": "priority",
    "upstream_keys": "upstream_cache_key_names",
    "retention": "retention_period",
}
"""Setting → what the server calls it, in the order in which they are shown."""

Setting = bool | int | str | tuple[str, ...] | None
"""A retention is a number of seconds, `server` or `forever`."""


class Action(enum.StrEnum):
    """What becomes of a cache."""

    CREATE = "create"
    CHANGE = "change"
    NONE = "none"


class Change(Value):
    """One setting.

    Attributes:
        field: its name, as in `WIRE`.
        before: on the server; null for a new cache.
        after: as it is to be.
        configured: false where a new cache gets our default.
    """

    field: str
    before: Setting = None
    after: Setting
    configured: bool = True


class CachePlan(Value):
    """What is to be done about one cache.

    Attributes:
        name: in the configuration.
        url: what Nix substitutes from.
        left: setting → value of what is not configured and stays as it is.
    """

    name: str
    url: str
    action: Action
    changes: tuple[Change, ...] = ()
    left: dict[str, Setting] = Field(default_factory=dict)

    @property
    def permissions(self) -> tuple[str, ...]:
        """What the token must allow for it (words of `token.PERMISSIONS`)."""
        first = {Action.CREATE: ("create-cache",), Action.CHANGE: ("configure-cache",), Action.NONE: ()}[self.action]
        retention = any(change.field == "retention" for change in self.changes)
        more = ("configure-cache", "configure-cache-retention") if retention else ()
        return tuple(dict.fromkeys(("pull", *first, *more)))


def make_plan(name: str, cache: CacheConfig, settings: CacheSettings | None, *, store_dir: str = STORE) -> CachePlan:
    """The difference between what is configured and what the server says.

    Args:
        settings: of the server; null where there is no such cache.
        store_dir: of the Nix that is to use it.

    Raises:
        ConfigError: the retention is none that a server takes.
    """
    configured = _configured(name, cache)
    if settings is None:
        new = {"public": False, "store_dir": store_dir, "priority": PRIORITY, "upstream_keys": UPSTREAM_KEYS}
        created = tuple(
            Change(field=field, after=value, configured=field in configured)
            for field in WIRE
            if (value := configured.get(field, new.get(field))) is not None
        )
        return CachePlan(name=name, url=cache.url, action=Action.CREATE, changes=created)
    known = current(settings)
    changes = tuple(
        Change(field=field, before=known[field], after=configured[field])
        for field in WIRE
        if field in configured and not _same(known[field], configured[field])
    )
    left = {field: known[field] for field in WIRE if field not in configured and field != "store_dir"}
    action = Action.CHANGE if changes else Action.NONE
    return CachePlan(name=name, url=cache.url, action=action, changes=changes, left=left)


def creation(plan: CachePlan) -> dict[str, Any]:
    """The record that creates the cache. It cannot hold a retention, which is a change afterwards."""
    record = _record(change for change in plan.changes if change.field != "retention")
    return {"keypair": "Generate", **record}


def change(plan: CachePlan) -> dict[str, Any]:
    """The record that changes the cache: only what differs."""
    return _record(plan.changes)


def _record(changes: Iterable[Change]) -> dict[str, Any]:
    return {WIRE[one.field]: _wire(one.field, one.after) for one in changes}


def current(settings: CacheSettings) -> dict[str, Setting]:
    """What a server says, in our words."""
    return {
        "public": settings.is_public,
        "store_dir": settings.store_dir,
        "priority": settings.priority,
        "upstream_keys": settings.upstream_cache_key_names,
        "retention": _retention(settings.retention),
    }


def _configured(name: str, cache: CacheConfig) -> dict[str, Setting]:
    given: dict[str, Setting] = {
        "public": cache.public,
        "priority": cache.priority,
        "upstream_keys": cache.upstream_keys,
        "retention": _configured_retention(name, cache.retention),
    }
    return {field: value for field, value in given.items() if value is not None}


def _configured_retention(name: str, text: str | None) -> Setting:
    if text is None or text in {"server", "forever"}:
        return text
    length = seconds(text)
    if not length:
        why = "no time at all, which servers take for `forever`" if length == 0 else "no duration that can be read"
        raise ConfigError(f"the retention of cache {name} is {why}", where=f"caches.{name}.retention: {text}")
    if length > LONGEST_RETENTION:
        raise ConfigError(
            f"the retention of cache {name} is longer than a server can keep",
            where=f"caches.{name}.retention: {text}",
            hint=f"at most {LONGEST_RETENTION // DAY} days, or `forever`",
        )
    return length


def _retention(length: int | None) -> Setting:
    return "server" if length is None else "forever" if length == FOREVER else length


def _wire(field: str, value: Setting) -> Any:
    if field == "retention":
        length = {"server": None, "forever": FOREVER}.get(value, value) if isinstance(value, str) else value
        return retention_words(length)  # type: ignore[arg-type]  # a retention is a number or one of these words
    return list(value) if isinstance(value, tuple) else value


def _same(one: Setting, other: Setting) -> bool:
    # The order of the names says nothing.
    return set(one) == set(other) if isinstance(one, tuple) and isinstance(other, tuple) else one == other
