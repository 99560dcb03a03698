"""Steering a server that runs as a process of its own: `/_control/…`, where that was asked for."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.attic_server import faults
from tests.attic_server.answers import Answer, json_answer, text_answer
from tests.attic_server.faults import Endpoint, Fault
from tests.attic_server.state import Damage
from tests.attic_server.wire import Head

if TYPE_CHECKING:
    from tests.attic_server.server import AtticServer

PREFIX = "/_control/"


def fault_from_json(value: dict[str, object]) -> Fault:
    """`{"action": {"Reply": {"status": 503, "form": "html"}}, "endpoint": "upload", "probability": 0.05}`."""
    fields: dict[str, Any] = dict(value)
    [(name, arguments)] = fields.pop("action").items()
    if name == "Damaged":
        arguments = {"damage": Damage(arguments["damage"])}
    if "endpoint" in fields:
        fields["endpoint"] = Endpoint(fields["endpoint"])
    return Fault(getattr(faults, name)(**arguments), **fields)


def fault_to_json(fault: Fault) -> dict[str, object]:
    """The other way round; what is left at its default is left out."""
    kept = {
        field.name: getattr(fault, field.name)
        for field in dataclasses.fields(fault)
        if field.name != "action" and getattr(fault, field.name) != field.default
    }
    if "nth" in kept:
        kept["nth"] = sorted(kept["nth"])
    return {"action": {type(fault.action).__name__: dataclasses.asdict(fault.action)}, **kept}


def stats(server: AtticServer) -> dict[str, object]:
    """Figures of all that happened."""
    done = [request for request in server.requests if request.ended is not None]
    return {
        "requests": len(server.requests),
        "endpoints": dict(sorted(Counter(str(request.endpoint) for request in done).items())),
        "statuses": dict(sorted(Counter(str(request.status) for request in done).items())),
        "uploads": sum(server.uploads.values()),
        "uploaded_paths": len(server.uploads),
        "most_parallel_uploads": server.most_parallel_uploads,
        "objects": {name: len(cache.objects) for name, cache in sorted(server.state.caches.items())},
        "nars": len(server.state.nars),
        "acted": server.faults.acted(),
    }


def answer(server: AtticServer, head: Head, body: bytes) -> Answer:
    """GET stats; POST faults (a list, replaces what was there); POST clock (seconds to advance)."""
    match head.method, head.target.removeprefix(PREFIX):
        case "GET", "stats":
            return json_answer(stats(server))
        case "POST", "faults":
            server.faults.clear()
            server.faults.add(*map(fault_from_json, json.loads(body)))
            return json_answer({})
        case "POST", "clock":
            server.clock.advance(float(json.loads(body)))
            return json_answer({})
    return text_answer(404, "no such lever")
