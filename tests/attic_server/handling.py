"""One request: which fault it meets, and its answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.attic_server import binary_cache, control, upload
from tests.attic_server.acting import TOO_LARGE, FaultyBody, ordered, slow_or_short
from tests.attic_server.answers import Answer, Refusal, Said, bad_request, not_found
from tests.attic_server.faults import (
    Anonymous,
    Asked,
    BreakOff,
    Cut,
    Drip,
    Endpoint,
    HangUp,
    Latency,
    Limit,
    Reply,
    Reset,
    Stall,
)
from tests.attic_server.names import PATH_HASH
from tests.attic_server.request import Context, Request
from tests.attic_server.routes import Route, find_route
from tests.attic_server.state import PIECE, NarInfo
from tests.attic_server.tokens import read_authorization, read_token
from tests.attic_server.wire import Body, BodyBroken, Connection, Gone, Head, Reader, send_answer

if TYPE_CHECKING:
    from tests.attic_server.server import AtticServer


def handle(server: AtticServer, connection: Connection, head: Head, record: Request) -> bool:
    """Answer one request.

    Returns:
        Whether the connection may be used again.

    Raises:
        Gone: it is over.
    """
    body = Body(connection, head)
    try:
        return _handle(server, connection, head, record, body)
    finally:
        record.body_bytes = body.received
        record.ended = time.monotonic()


def _handle(server: AtticServer, connection: Connection, head: Head, record: Request, body: Body) -> bool:
    context = Context(server, head, body, record)
    route, info, refused = _understand(server, head, body)
    record.endpoint = route.endpoint
    record.path = _path(server, route, info)
    context.segments = route.segments
    asked = Asked(route.endpoint, record.path, upload.PREAMBLE in head.headers, head.size, head.length or 0)
    record.fault = fault = server.faults.next(asked)
    action = fault.action if fault else None
    if fault and fault.latency:
        connection.wait(fault.latency)
    if not isinstance(action, Anonymous):
        context.token = read_token(
            read_authorization(head.headers.get("authorization")), server.secret, server.clock.now()
        )
    with server.counting(route.endpoint):
        answer, goes_on = _answer(context, connection, route, info, refused, body)
        if isinstance(action, Drip | BreakOff):
            answer = slow_or_short(connection, answer, action)
        goes_on = goes_on and body.drop() and head.keeps_alive
        record.status = answer.status
        goes_on = send_answer(connection, head, answer, goes_on=goes_on)
    return goes_on and not isinstance(action, HangUp)


def _understand(server: AtticServer, head: Head, body: Body) -> tuple[Route, NarInfo | None, Refusal | Said | None]:
    route = Route(Endpoint.OTHER)
    try:
        if "host" not in head.headers:
            raise bad_request("Missing Host header")
        if server.allowed_hosts and head.headers["host"] not in server.allowed_hosts:
            raise bad_request("Bad Host")
        route = find_route(head)
        if route.endpoint is Endpoint.UPLOAD:
            return route, upload.read_info(head, body, server.max_nar_info_size), None
    except (Refusal, Said) as refused:
        return route, None, refused
    return route, None, None


def _path(server: AtticServer, route: Route, info: NarInfo | None) -> str:
    if info:
        return info.store_path
    if route.endpoint in {Endpoint.NARINFO, Endpoint.NAR}:
        name, path_hash = route.segments[0], route.segments[-1].partition(".")[0]
        if PATH_HASH.fullmatch(path_hash):
            cache = server.state.find_cache(name)
            stored = cache.objects.get(path_hash) if cache else None
            return stored.info.store_path if stored else path_hash
    return ""


def _answer(
    context: Context,
    connection: Connection,
    route: Route,
    info: NarInfo | None,
    refused: Refusal | Said | None,
    body: Body,
) -> tuple[Answer, bool]:
    action = context.record.fault.action if context.record.fault else None
    match action:
        case Reply():
            if action.reads:
                _read_all(body)
            return ordered(action, context.head.target), True
        case Reset(when="head"):
            connection.reset()
        case Reset(when="answer"):
            _read_all(body)
            connection.reset()
        case Stall(when="head") | Latency():
            connection.wait(action.seconds)
        case Limit(size=size) if (context.head.length or 0) > size:
            return TOO_LARGE, True
        case Reset(when="body") | Stall(when="body") | Cut() | Limit() | Drip():
            context.body = FaultyBody(connection, body, action)
    try:
        if refused:
            raise refused
        if info is not None:
            answer = upload.upload(context, info)
        elif route.handler is not None:
            answer = route.handler(context)
        else:
            answer = not_found().answer()
    except Refusal as refusal:
        answer = refusal.answer()
    except Said as said:
        answer = said.answer
    if isinstance(action, Reset) and action.when == "stored":
        connection.reset()
    if isinstance(action, Reset | Stall) and action.when == "body" and not body.finished:
        _read_all(context.body)  # nothing wanted the body, but the fault is about it
    if isinstance(action, Stall) and action.when == "answer":
        connection.wait(action.seconds)
    return answer, True


def _read_all(body: Reader) -> None:
    try:
        while body.read(PIECE):
            pass
    except BodyBroken as error:
        raise Gone from error


def handle_storage(server: AtticServer, connection: Connection, head: Head, record: Request) -> bool:
    """Answer one request to the second listener."""
    body = Body(connection, head)
    record.endpoint = Endpoint.STORAGE
    record.fault = fault = server.faults.next(Asked(Endpoint.STORAGE, head_size=head.size))
    action = fault.action if fault else None
    if isinstance(action, Reset):
        connection.reset()
    if isinstance(action, Stall | Latency):
        connection.wait(action.seconds)
    if isinstance(action, Reply):
        answer = ordered(action, head.target)
    else:
        try:
            answer = binary_cache.storage(Context(server, head, body, record))
        except Refusal as refusal:
            answer = refusal.answer()
    if isinstance(action, Drip | BreakOff):
        answer = slow_or_short(connection, answer, action)
    record.status = answer.status
    record.ended = time.monotonic()
    return send_answer(connection, head, answer, goes_on=body.drop() and head.keeps_alive)


def handle_control(server: AtticServer, connection: Connection, head: Head) -> bool:
    """Answer a request of who steers this server; it is neither recorded nor subject to faults."""
    body = Body(connection, head)
    pieces: list[bytes] = []
    while piece := body.read(PIECE):
        pieces.append(piece)
    return send_answer(connection, head, control.answer(server, head, b"".join(pieces)), goes_on=head.keeps_alive)
