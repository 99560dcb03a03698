"""Which address is for what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from tests.attic_server import binary_cache, config_api
from tests.attic_server.answers import HTML_TYPE, Answer, Said, not_found, text_answer
from tests.attic_server.faults import Endpoint
from tests.attic_server.names import CACHE_NAME
from tests.attic_server.request import Context
from tests.attic_server.wire import Head

Handler = Callable[[Context], Answer]

_API = {
    "GET": (Endpoint.CONFIG, config_api.read_config),
    "HEAD": (Endpoint.CONFIG, config_api.read_config),
    "POST": (Endpoint.CREATE, config_api.create),
    "PATCH": (Endpoint.CONFIGURE, config_api.configure),
    "DELETE": (Endpoint.DESTROY, config_api.destroy),
}
_PLACEHOLDER = Answer(200, b"<!doctype html>\n<title>Attic Binary Cache</title>\n", HTML_TYPE)


@dataclass(frozen=True)
class Route:
    """What a request is for."""

    endpoint: Endpoint
    handler: Handler | None = None
    """None for uploads, which are handled with their nar-info."""
    segments: tuple[str, ...] = ()


def _only(*methods: str) -> Callable[[Head, Route], Route]:
    def check(head: Head, route: Route) -> Route:
        if head.method not in methods:
            raise Said(Answer(405, headers=(("allow", ",".join(methods)),)))
        return route

    return check


def find_route(head: Head) -> Route:  # noqa: PLR0911  # a table
    """Raises: Refusal, Said: no such thing."""
    raw = head.target.partition("?")[0]
    segments = tuple(unquote(part) for part in raw.removeprefix("/").split("/"))
    reading = _only("GET", "HEAD")
    match segments:
        case ("",):
            return reading(head, Route(Endpoint.ROOT, lambda _: _PLACEHOLDER))
        case ("_api", "v1", "get-missing-paths"):
            return _only("POST")(head, Route(Endpoint.MISSING, config_api.missing_paths))
        case ("_api", "v1", "upload-path"):
            return _only("PUT")(head, Route(Endpoint.UPLOAD))
        case ("_api", "v1", "cache-config", name) if name:
            if head.method not in _API:
                raise Said(Answer(405, headers=(("allow", ",".join(_API)),)))
            endpoint, handler = _API[head.method]
            return Route(endpoint, handler, _named(segments))
        case (name, "nar", file) if name and file:
            return reading(head, Route(Endpoint.NAR, binary_cache.nar_file, _named((name, file))))
        case (name, "nix-cache-info") if name:
            return reading(head, Route(Endpoint.CACHE_INFO, binary_cache.cache_info, _named(segments)))
        case (name, "attic-cache-info") if name:
            return reading(head, Route(Endpoint.CONFIG, config_api.read_config, _named((name,))))
        case (name, file) if name and file:
            return reading(head, Route(Endpoint.NARINFO, binary_cache.narinfo, _named(segments)))
    raise not_found()


def _named(segments: tuple[str, ...]) -> tuple[str, ...]:
    name = segments[-1] if segments[0] == "_api" and len(segments) == 4 else segments[0]
    if not CACHE_NAME.fullmatch(name):
        raise Said(text_answer(400, f'Invalid URL: Invalid cache name "{name}"'))
    return segments
