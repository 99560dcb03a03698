"""HS256 tokens as Attic makes them, and what they permit."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tests.attic_server.names import CACHE_PATTERN, matches

NAMESPACE = "https://jwt.attic.rs/v1"
BITS = ("r", "w", "d", "cc", "cr", "cq", "cd")
"""Pull, push, delete, create cache, configure cache, configure retention, destroy cache."""

_AUTHORIZATION = re.compile(r"(bearer|basic) (.*)", re.IGNORECASE | re.DOTALL)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def make_token(
    secret: bytes,
    caches: Mapping[str, str],
    *,
    expires: float | None = None,
    not_before: float | None = None,
    issued: float | None = None,
    sub: str = "test",
    issuer: str | None = None,
    claims: Mapping[str, object] | None = None,
) -> str:
    """A signed token.

    Args:
        secret: the HS256 key.
        caches: pattern → bits, separated by spaces ("r w cc"); the order is kept, as it decides between wildcards.
        expires: seconds since 1970; in an hour if None.
        not_before: likewise; no such claim if None.
        issued: likewise.
        sub: who it is for.
        issuer: the claim `iss`.
        claims: more claims, or others in place of those above.
    """
    content: dict[str, object] = {"exp": int(time.time() + 3600 if expires is None else expires)}
    if not_before is not None:
        content["nbf"] = int(not_before)
    if issued is not None:
        content["iat"] = int(issued)
    if issuer is not None:
        content["iss"] = issuer
    content["sub"] = sub
    content[NAMESPACE] = {"caches": {pattern: dict.fromkeys(bits.split(), 1) for pattern, bits in caches.items()}}
    content.update(claims or {})
    head = _encode(b'{"alg":"HS256","typ":"JWT"}')
    signed = f"{head}.{_encode(json.dumps(content, separators=(',', ':')).encode())}"
    return f"{signed}.{_encode(hmac.digest(secret, signed.encode('ascii'), hashlib.sha256))}"


@dataclass(frozen=True)
class Permissions:
    """What somebody may do with one cache."""

    bits: frozenset[str] = frozenset()

    @property
    def any(self) -> bool:
        """Whether the cache may be known to exist."""
        return bool(self.bits)

    def with_pull(self) -> Permissions:
        """What anybody may do with a public cache, added."""
        return Permissions(self.bits | {"r"})


@dataclass(frozen=True)
class Token:
    """A token that was found valid."""

    sub: str | None
    caches: Mapping[str, frozenset[str]]

    def permissions(self, cache: str) -> Permissions:
        """The entry of exactly this name, else of the first pattern that covers it; entries are not merged."""
        if cache in self.caches:
            return Permissions(self.caches[cache])
        for pattern, bits in self.caches.items():
            if matches(pattern, cache):
                return Permissions(bits)
        return Permissions()


def read_authorization(header: str | None) -> str | None:
    """The token in an Authorization header: Bearer, or Basic's password."""
    found = _AUTHORIZATION.fullmatch(header or "")
    if found is None:
        return None
    scheme, rest = found.groups()
    if scheme.lower() == "bearer":
        return rest
    try:
        _, colon, password = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password if colon else None


def read_token(text: str | None, secret: bytes, now: float) -> Token | None:  # noqa: PLR0911  # one per reason
    """The token, or None for one that is bad in any way, expired or not valid yet: its bearer is then nobody."""
    if text is None:
        return None
    try:
        signed, _, signature = text.rpartition(".")
        head, _, content = signed.partition(".")
        if json.loads(_decode(head))["alg"] != "HS256":
            return None
        if not hmac.compare_digest(_decode(signature), hmac.digest(secret, signed.encode("ascii"), hashlib.sha256)):
            return None
        claims = json.loads(_decode(content))
        if now > claims.get("exp", now) or now < max(claims.get("nbf", now), claims.get("iat", now)):
            return None
        caches = {name: _bits(entry) for name, entry in claims[NAMESPACE]["caches"].items()}
        if not all(map(CACHE_PATTERN.fullmatch, caches)):
            return None
        return Token(claims.get("sub"), caches)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _bits(entry: Mapping[str, object]) -> frozenset[str]:
    if any(type(value) is not int or value not in {0, 1} for bit, value in entry.items() if bit in BITS):
        raise ValueError("a bit is 0 or 1")
    return frozenset(bit for bit, value in entry.items() if bit in BITS and value)
