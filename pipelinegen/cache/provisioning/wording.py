"""The settings of a cache, and what changing them means, in words for people. Pure."""

from __future__ import annotations

from pipelinegen.cache.provisioning.provision import Change, Setting
from pipelinegen.durations import DAY, HOUR, MINUTE


def words(field: str, value: Setting) -> str:
    """A setting as people read it."""
    if value is None:
        return "not told"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    if field == "retention":
        named = {"server": "as the server is set", "forever": "for ever"}
        return named[value] if isinstance(value, str) else duration_words(value)
    return str(value)


def duration_words(length: int) -> str:
    """Seconds as people read them: `90 days`, `1 day 12 hours`."""
    parts = []
    for unit, size in (("day", DAY), ("hour", HOUR), ("minute", MINUTE), ("second", 1)):
        count, length = divmod(length, size)
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " ".join(parts) or "0 seconds"


def consequence(one: Change) -> str | None:
    """What a person should know before saying yes to a change; null where it speaks for itself."""
    if one.field == "public":
        return _of_visibility(one)
    if one.field == "retention":
        return _of_retention(one)
    return None


def _of_visibility(one: Change) -> str | None:
    if one.after:
        return "anybody who reaches the server may read all that is in it"
    return "from now on nobody reads it without a token" if one.before else None


def _of_retention(one: Change) -> str | None:
    if one.after == "forever":
        return "turns collecting by age off: nothing is deleted, and the storage grows without bound"
    if one.before is None:
        return None
    if one.after == "server":
        return "the server's own retention counts, which it does not tell"
    if not isinstance(one.before, int) or (isinstance(one.after, int) and one.after < one.before):
        return f"what nobody has fetched for {words('retention', one.after)} is deleted at the next collection"
    return None
