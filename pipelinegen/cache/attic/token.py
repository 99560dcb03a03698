"""What a token says of itself. Pure; nothing is verified, since only the server has the key.

The format is declared unstable by Attic: a token that cannot be read is no error. Source: `token/src/lib.rs`.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelinegen.characters import inert

CLAIM = "https://jwt.attic.rs/v1"

PERMISSIONS = {
    "pull": "r",
    "push": "w",
    "delete": "d",
    "create-cache": "cc",
    "configure-cache": "cr",
    "configure-cache-retention": "cq",
    "destroy-cache": "cd",
}
"""`atticadm make-token`'s words for the permissions → the names that tokens have for them."""


@dataclass(frozen=True)
class TokenInfo:
    """The readable part of a token.

    Attributes:
        subject: whom it was made for.
        expires, not_before: seconds since the epoch; null where it has no such limit.
        caches: pattern → permissions (words of `PERMISSIONS`), in the order of the token.
    """

    subject: str | None
    expires: int | None
    not_before: int | None
    caches: Mapping[str, frozenset[str]]

    def entry(self, cache: str) -> str | None:
        """The one entry that counts for a cache: its exact name, else the first pattern. They are not merged."""
        if cache in self.caches:
            return cache
        return next((pattern for pattern in self.caches if _matches(pattern, cache)), None)

    def permissions(self, cache: str) -> frozenset[str]:
        """What it allows on a cache."""
        entry = self.entry(cache)
        return frozenset() if entry is None else self.caches[entry]

    def may(self, cache: str, permission: str) -> bool:
        """Whether it allows `pull`, `push` … on a cache, if the server accepts it at all."""
        return permission in self.permissions(cache)

    def expired(self, now: float) -> bool:
        """Whether its time is over. Attic allows no difference of clocks."""
        return self.expires is not None and now > self.expires


def decode(token: str) -> TokenInfo | None:
    """What a token says; null for anything that is not a token of Attic as we know them."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(payload, dict):
        return None
    access = payload.get(CLAIM)
    caches = access.get("caches") if isinstance(access, dict) else None
    if not isinstance(caches, dict):
        return None
    subject = payload.get("sub")
    return TokenInfo(
        subject=subject if isinstance(subject, str) else None,
        expires=_seconds(payload.get("exp")),
        not_before=_seconds(payload.get("nbf")),
        caches={str(pattern): _permissions(bits) for pattern, bits in caches.items()},
    )


def complaint(token: str | None, cache: str, permission: str, now: float) -> str:
    """Why a server may have refused this token, one sentence without a full stop.

    Args:
        permission: a word of `PERMISSIONS`.
        now: seconds since the epoch.
    """
    if token is None:
        return "no token is configured for it in this job"
    info = decode(token)
    if info is None:
        return "the token cannot be read here; it may be expired or made for another server"
    if info.expired(now):
        return f"the token expired at {moment(info.expires)}"
    if info.not_before is not None and now < info.not_before:
        return f"the token is valid only from {moment(info.not_before)}: a clock is wrong"
    if info.may(cache, permission):
        return (
            f"the token allows to {permission} {until(info)}, so the server does not accept it: it was signed with "
            "another key, or the clocks differ"
        )
    return _too_narrow(info, cache, permission)


def _too_narrow(info: TokenInfo, cache: str, permission: str) -> str:
    entry = info.entry(cache)
    if entry is None:
        return f"the token is for {_list(info.caches)}, not for {cache}"
    allowed = _list(sorted(info.caches[entry]))
    sentence = f"the token allows {allowed} on {entry}, not {permission}"
    wider = [p for p in info.caches if p != entry and _matches(p, cache) and permission in info.caches[p]]
    if wider:
        sentence += f" (its entry {wider[0]} would, but Attic takes one entry and merges none)"
    return sentence


def until(info: TokenInfo) -> str:
    """`until 2027-01-31 10:00 UTC`, or that it has no end."""
    return "for ever" if info.expires is None else f"until {moment(info.expires)}"


def moment(seconds: int | None) -> str:
    """Seconds since the epoch as people read them."""
    try:
        return datetime.fromtimestamp(seconds or 0, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return "a time beyond the calendar"


def _matches(pattern: str, cache: str) -> bool:
    return fnmatch.fnmatchcase(cache, pattern.replace("[", "[[]").replace("?", "[?]"))


def _permissions(bits: Any) -> frozenset[str]:
    if not isinstance(bits, dict):
        return frozenset()
    return frozenset(word for word, bit in PERMISSIONS.items() if bits.get(bit) in (1, True))


def _seconds(value: object) -> int | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18:
        return int(value)
    return None


def _list(words: Any) -> str:
    return inert(", ".join(words)) or "nothing"
