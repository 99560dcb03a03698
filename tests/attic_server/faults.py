"""The knobs: what goes wrong, where, and how often.

    add = server.faults.add
    add(Fault(Reply(401)))                                            # every request; JSON as Attic's own errors
    add(Fault(Reply(413, form="html"), path="-big"))                  # a proxy's page, for one path
    add(Fault(Reply(429, retry_after="2"), nth=[1, 2]))               # the first two matching requests
    add(Fault(Reply(503, form="html"), each=True, nth=[1]))           # the first request of every path
    add(Fault(Reply(502, form="html"), probability=0.05))             # 5 %, decided by the seed, path and count
    add(Fault(Reply(524, form="html"), latency=0.2, times=3))         # at most three times, each after a while
    add(Fault(Reply(403), endpoint=Endpoint.UPLOAD, after=10))        # from the 11th upload on
    add(Fault(Reset("head")))                                         # reset as soon as the head was read
    add(Fault(Reset("body", after=1000), endpoint=Endpoint.UPLOAD))   # … after 1000 bytes of the NAR
    add(Fault(Reset("answer"), endpoint=Endpoint.UPLOAD))             # … after the whole body, nothing stored
    add(Fault(Reset("stored"), endpoint=Endpoint.UPLOAD))             # … stored, but the answer is lost
    add(Fault(BreakOff(after=100), endpoint=Endpoint.NAR))            # the answer ends, with the connection
    add(Fault(Stall("head"))); add(Fault(Stall("body", after=1000))); add(Fault(Stall("answer", seconds=3)))
    add(Fault(Drip(bytes_per_second=1000), endpoint=Endpoint.UPLOAD)) # the body is read slowly
    add(Fault(Drip(bytes_per_second=1000), endpoint=Endpoint.NAR))    # … the answer comes slowly
    add(Fault(Latency(0.1)))                                          # before anything is done
    add(Fault(Cut(after=100)))                                        # the body ends too early: Bad NAR Hash or Size
    add(Fault(Lose(), path="-lib"))                                   # 200, but the path is not there afterwards
    add(Fault(Damaged(Damage.TRUNCATED), path="-lib"))                # 200 and known, but the NAR is cut (see `Damage`)
    add(Fault(Reply(400, form="html"), preamble=True))                # whoever sends a preamble
    add(Fault(Reply(431, form="html"), head_above=4096))              # a proxy with little room for headers
    add(Fault(Limit(32_000_000)))                                     # 413 as soon as it is known, while still sending
    add(Fault(Anonymous(), after=50))                                 # tokens are not believed any more (expired)
    add(Fault(redirect("https://elsewhere/")))                        # 301, the path is appended
    add(Fault(web_page()))                                            # 200 and HTML: something else answers here
    add(Fault(Reply(200, form="text", text="ok"), endpoint=Endpoint.UPLOAD))  # not JSON, and nothing stored
    add(Fault(HangUp()))                                              # an answer, and the connection is closed silently

The first fault that matches and whose turn it is decides; `server.faults.clear()` ends all. A fault counts the requests
that match its endpoint, path and size, whether it acts or not; `each=True` counts every path for itself. A path matches
by a part of its name or by its hash; a request for many paths (get-missing-paths) has none.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tests.attic_server.state import Damage


class Endpoint(StrEnum):
    """What a request is for."""

    ROOT = "root"
    CACHE_INFO = "nix-cache-info"
    NARINFO = "narinfo"
    NAR = "nar"
    CONFIG = "read-config"
    CREATE = "create"
    CONFIGURE = "configure"
    DESTROY = "destroy"
    MISSING = "missing-paths"
    UPLOAD = "upload"
    STORAGE = "storage"
    """The second listener, to which NARs are redirected."""
    OTHER = "other"


Form = Literal["json", "html", "text"]


@dataclass(frozen=True)
class Reply:
    """Answer this instead of doing what was asked."""

    status: int
    form: Form = "json"
    retry_after: str | None = None
    """Content of the header: seconds or a date."""
    text: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    reads: bool = True
    """The body is read first, as by a proxy that buffers; otherwise the answer comes while the client still sends."""


@dataclass(frozen=True)
class Reset:
    """Cut the connection with a TCP reset."""

    when: Literal["head", "body", "answer", "stored"]
    after: int = 0
    """Bytes of the NAR (or of another body), for "body"."""


@dataclass(frozen=True)
class BreakOff:
    """The answer starts well and ends too early; with a reset, or (False) as if that had been all."""

    after: int = 0
    reset: bool = True


@dataclass(frozen=True)
class Stall:
    """Stop: after the head, after so many bytes of the body, or before the answer."""

    when: Literal["head", "body", "answer"]
    after: int = 0
    seconds: float | None = None
    """Then go on; None: until the client gives up."""


@dataclass(frozen=True)
class Drip:
    """Read the body and write the answer at this pace."""

    bytes_per_second: int


@dataclass(frozen=True)
class Latency:
    """Wait, then do what was asked."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """The body arrives without what comes after so many bytes of the NAR."""

    after: int


@dataclass(frozen=True)
class Lose:
    """An upload succeeds, and the path is not there; a NAR that no other path needs is gone as well."""


@dataclass(frozen=True)
class Damaged:
    """An upload succeeds, and the NAR is not what was sent."""

    damage: Damage


@dataclass(frozen=True)
class Limit:
    """413 from a proxy that takes no larger body, at once when the length is announced, else when it is passed."""

    size: int


@dataclass(frozen=True)
class Anonymous:
    """The token counts for nothing."""


@dataclass(frozen=True)
class HangUp:
    """Answer as asked, then close the connection without having said so."""


Action = Reply | Reset | BreakOff | Stall | Drip | Latency | Cut | Lose | Damaged | Limit | Anonymous | HangUp


def redirect(location: str, status: int = 301) -> Reply:
    """The API lives elsewhere; `{path}` in the location becomes the path that was asked for, else it is appended."""
    return Reply(
        status, form="html", headers=(("location", location if "{path}" in location else location + "{path}"),)
    )


def web_page() -> Reply:
    """Some web site answers here."""
    return Reply(200, form="html", text="<!doctype html><title>Welcome</title>")


@dataclass(frozen=True)
class Fault:
    """An action and where it applies; see the module's text for examples."""

    action: Action
    endpoint: Endpoint | None = None
    path: str | None = None
    """A part of the store path, or its hash."""
    nth: Collection[int] | None = None
    """Which of the matching requests, counted from 1."""
    after: int = 0
    """Not the first so many."""
    times: int | None = None
    """At most so often."""
    probability: float = 1
    each: bool = False
    """Count the requests of every path for themselves."""
    latency: float = 0
    """Seconds before the action."""
    preamble: bool | None = None
    """Only uploads with, or only those without a preamble."""
    head_above: int | None = None
    """Only requests whose head has more bytes."""
    body_above: int | None = None
    """Only requests that announce more bytes."""


@dataclass(frozen=True)
class Asked:
    """What faults look at."""

    endpoint: Endpoint
    path: str = ""
    """Store path, or its hash where only that is known; empty for requests without."""
    preamble: bool = False
    head_size: int = 0
    body_size: int = 0

    @property
    def key(self) -> str:
        """The hash of the path, however much of it is known."""
        return self.path.rpartition("/")[2][:32]


class Faults:
    """The faults of a server, and how often each had its turn."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._faults: list[Fault] = []
        self._seen: Counter[tuple[int, str]] = Counter()
        self._acted: Counter[int] = Counter()
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """More of them, after those that are there."""
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        """No more."""
        with self._lock:
            self._faults, self._seen, self._acted = [], Counter(), Counter()

    def acted(self) -> list[int]:
        """How often each fault was applied, in order of `add`."""
        with self._lock:
            return [self._acted[place] for place in range(len(self._faults))]

    def next(self, asked: Asked) -> Fault | None:
        """The fault of this request."""
        if not self._faults:
            return None
        chosen: Fault | None = None
        with self._lock:
            for place, fault in enumerate(self._faults):
                if not _concerns(fault, asked):
                    continue
                key = (place, asked.key if fault.each else "")
                self._seen[key] += 1
                if chosen is None and self._turn(place, fault, asked, self._seen[key]):
                    self._acted[place] += 1
                    chosen = fault
        return chosen

    def _turn(self, place: int, fault: Fault, asked: Asked, count: int) -> bool:
        if count <= fault.after or (fault.nth is not None and count not in fault.nth):
            return False
        if fault.times is not None and self._acted[place] >= fault.times:
            return False
        if fault.probability >= 1:
            return True
        # By path and its own count: the same requests fail however the clients' threads interleave.
        name = f"{place}/{asked.endpoint}/{asked.key}"
        self._seen[-1, name] += 1
        drawn = random.Random(f"{self.seed}/{name}/{self._seen[-1, name]}").random()  # noqa: S311
        return drawn < fault.probability


def _concerns(fault: Fault, asked: Asked) -> bool:
    return (
        (fault.endpoint is None or fault.endpoint is asked.endpoint)
        and (fault.path is None or (bool(asked.path) and (fault.path in asked.path or asked.path in fault.path)))
        and (fault.preamble is None or (asked.endpoint is Endpoint.UPLOAD and fault.preamble == asked.preamble))
        and (fault.head_above is None or asked.head_size > fault.head_above)
        and (fault.body_above is None or asked.body_size > fault.body_above)
    )
