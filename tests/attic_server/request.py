"""What handlers get, and what is remembered of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.attic_server.answers import Said, forbidden, no_such_cache, text_answer, unauthorized
from tests.attic_server.faults import Endpoint, Fault
from tests.attic_server.state import Cache
from tests.attic_server.tokens import Permissions, Token
from tests.attic_server.wire import BodyBroken, Head, Reader

if TYPE_CHECKING:
    from tests.attic_server.server import AtticServer

JSON_LIMIT = 2 * 1024 * 1024


@dataclass
class Request:
    """One request, for assertions; complete when `ended` is set."""

    method: str
    target: str
    """Path and query as sent."""
    headers: Mapping[str, str]
    """Names in lower case. Holds the token."""
    peer: str
    """Address and port of the client: equal for requests over one connection."""
    endpoint: Endpoint = Endpoint.OTHER
    path: str = ""
    """Store path (or its hash) that it is about."""
    started: float = 0
    """Seconds of the monotonic clock."""
    ended: float | None = None
    status: int | None = None
    """Sent; None if the client got no answer."""
    body_bytes: int = 0
    """Received, without the framing."""
    fault: Fault | None = None


@dataclass
class Context:
    """A request under way."""

    server: AtticServer
    head: Head
    body: Reader
    record: Request
    token: Token | None = None
    segments: tuple[str, ...] = ()
    cleanup: list[Callable[[], None]] = field(default_factory=list)

    def permissions(self, cache: str) -> Permissions:
        """What the token says of a cache."""
        return self.token.permissions(cache) if self.token else Permissions()

    def cache_for(self, name: str, bit: str) -> tuple[Cache, Permissions]:
        """The cache, for who may do this there.

        Raises:
            Refusal: 404 or 403 for who may know that it exists, 401 for others.
        """
        permissions = self.permissions(name)
        cache = self.server.state.find_cache(name)
        if cache is None:
            raise no_such_cache() if permissions.any else unauthorized()
        if cache.public:
            permissions = permissions.with_pull()
        require(permissions, bit)
        return cache, permissions

    def json(self) -> dict[str, object]:
        """The body, as the web framework reads it: before anything is known of the caller.

        Raises:
            Said: 415, 413, 400 or 422.
        """
        kind = self.head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise Said(text_answer(415, "Expected request with `Content-Type: application/json`"))
        pieces, size = [], 0
        try:
            while piece := self.body.read(JSON_LIMIT):
                size += len(piece)
                if size > JSON_LIMIT:
                    raise Said(text_answer(413, "Failed to buffer the request body: length limit exceeded"))
                pieces.append(piece)
        except BodyBroken as error:
            raise Said(text_answer(400, "Failed to buffer the request body: error reading a body")) from error
        try:
            value = json.loads(b"".join(pieces))
        except ValueError as error:
            raise Said(text_answer(400, f"Failed to parse the request body as JSON: {error}")) from error
        if not isinstance(value, dict):
            raise wrong_json("invalid type, expected struct")
        return value


def require(permissions: Permissions, bit: str) -> None:
    """Raises: Refusal: 401 or 403 without this permission."""
    if bit not in permissions.bits:
        raise forbidden() if permissions.any else unauthorized()


def wrong_json(what: str) -> Said:
    """JSON that is not of the form wanted."""
    return Said(text_answer(422, f"Failed to deserialize the JSON body into the target type: {what}"))
