"""A test double of Attic's server, atticd: real HTTP, real tokens, real signatures, and faults on demand.

    from tests.attic_server import Endpoint, Fault, Reply, Reset, attic_server

    with attic_server() as server:
        server.create_cache("ci", public=True)
        token = server.token({"ci": "r w"})                      # bits as Attic writes them: r w d cc cr cq cd
        server.faults.add(Fault(Reply(503, form="html"), endpoint=Endpoint.UPLOAD, path="-lib", nth=[1]))
        ...                                                      # talk to server.url, for example f"{server.url}ci"
        assert server.uploads == {"…32 characters…": 1}          # what was stored, by the hash of the store path
        assert server.objects("ci") == {"/nix/store/…-lib"}

What it holds can be changed directly: `put`, `forget`, `damage`, `collect` (garbage collection), `clock.advance`;
its settings are attributes that may change while it runs: `api_endpoint`, `substituter_endpoint`, `allowed_hosts`,
`soft_delete`, `require_proof`, `max_nar_info_size`, `redirect_nars`. What happened is in `requests` (one `Request`
each), `uploads`, `completed` (order), `most_parallel_uploads` and `storage_requests` (the redirect target).

    answers.py   the shapes of answers and refusals      binary_cache.py  what Nix asks for
    tokens.py    HS256 tokens and what they permit        config_api.py    cache-config
    state.py     caches, objects, NARs, collection        upload.py        upload-path
    wire.py      sockets, heads and bodies                faults.py        the knobs, with one example each
    server.py    routes, records, life cycle              real.py          the real atticd with the same interface

As a process of its own (for load tests): `python -m tests.attic_server --help`, or `server_process(...)` of process.py.
Written from a description of the protocol, and held against the real server by tests/integration/attic.
"""

from tests.attic_server.faults import (
    Anonymous,
    BreakOff,
    Cut,
    Damaged,
    Drip,
    Endpoint,
    Fault,
    Faults,
    HangUp,
    Latency,
    Limit,
    Lose,
    Reply,
    Reset,
    Stall,
    redirect,
    web_page,
)
from tests.attic_server.request import Request
from tests.attic_server.server import AtticServer, attic_server
from tests.attic_server.state import Clock, Damage
from tests.attic_server.tokens import make_token

__all__ = [
    "Anonymous",
    "AtticServer",
    "BreakOff",
    "Clock",
    "Cut",
    "Damage",
    "Damaged",
    "Drip",
    "Endpoint",
    "Fault",
    "Faults",
    "HangUp",
    "Latency",
    "Limit",
    "Lose",
    "Reply",
    "Request",
    "Reset",
    "Stall",
    "attic_server",
    "make_token",
    "redirect",
    "web_page",
]
