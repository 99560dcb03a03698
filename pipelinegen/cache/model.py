"""Availability and pushes as values, and what every cache backend can do."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from pydantic import Field

from pipelinegen.errors import CredentialsError, StepFailedError, TransientError
from pipelinegen.values import Value

Answers = dict[str, bool | None]
"""Store path → whether the cache holds it (null: the cache could not say)."""


class Availability(Value):
    """What each cache said of each output path that was asked for.

    Attributes:
        caches: cache name → store path → yes, no or unknown. A path that was not asked is absent.
        trusted: names of the caches whose content this pipeline may use, in order of preference.
        trouble: cache name → why it could not answer, one sentence.
    """

    caches: dict[str, Answers] = Field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    trouble: dict[str, str] = Field(default_factory=dict)

    def where(self, path: str) -> str | None:
        """The first trusted cache that holds `path`."""
        return next((name for name in self.trusted if self.caches.get(name, {}).get(path)), None)


class Outcome(enum.StrEnum):
    """What became of one path of a push."""

    PUSHED = "pushed"
    DEDUPLICATED = "deduplicated"
    """Sent, but the server had the same content already."""
    PRESENT = "present"
    UPSTREAM = "upstream"
    """Left to the cache that signed it."""
    FAILED = "failed"
    NOT_TRIED = "not-tried"
    """Something it refers to failed, or everything was given up."""


class FailureClass(enum.StrEnum):
    """Why a path was not pushed. What is permanent is not tried again."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    TOO_LARGE = "too-large"
    """A proxy takes no body of this size (413)."""
    INFO_TOO_LARGE = "info-too-large"
    """It refers to more paths than the server reads (`max-nar-info-size`)."""
    WRONG_ENDPOINT = "wrong-endpoint"
    """There is no such cache, or no Attic server, or it wants another host name."""
    REFUSED = "refused"
    """Any other answer that trying again does not change."""
    LOCAL = "local"
    """It cannot be read here, or is not what Nix's database says."""

    TRUNCATED = "truncated"
    """The server received something else than was sent."""
    BUSY = "busy"
    """429, 408."""
    SERVER = "server"
    """5xx of the server itself."""
    PROXY = "proxy"
    """5xx, or a page, of something that stands before the server."""
    CONNECTION = "connection"
    """Reset, refused, no such host, TLS."""
    STALLED = "stalled"
    DEADLINE = "deadline"
    LOST = "lost"
    """The server accepted it, and does not serve it."""

    @property
    def permanent(self) -> bool:
        """Whether another try can only end the same way."""
        return self in _PERMANENT


_PERMANENT = frozenset(
    {
        FailureClass.UNAUTHORIZED,
        FailureClass.FORBIDDEN,
        FailureClass.TOO_LARGE,
        FailureClass.INFO_TOO_LARGE,
        FailureClass.WRONG_ENDPOINT,
        FailureClass.REFUSED,
        FailureClass.LOCAL,
    }
)


class PathReport(Value):
    """What became of one path.

    Attributes:
        path: the store path.
        outcome: see there.
        failure: failed paths: the class of the last failure.
        message: failed and not tried paths: why, one sentence.
        hint: what to do about it.
        attempts: uploads begun.
        nar_bytes: size of the path as an archive.
        sent_bytes: bytes that left here for it, all attempts together.
        stored_bytes: what the server stored for it, where it says so.
        seconds: of all its attempts, waits included.
    """

    path: str
    outcome: Outcome
    failure: FailureClass | None = None
    message: str | None = None
    hint: str | None = None
    attempts: int = 0
    nar_bytes: int = 0
    sent_bytes: int = 0
    stored_bytes: int | None = None
    seconds: float = 0.0


PushError = StepFailedError | CredentialsError | TransientError


class PushReport(Value):
    """What became of every path of the pushed closures, sorted by path.

    Attributes:
        paths: one record each.
        verified: how many outputs were fetched again and hashed.
    """

    paths: tuple[PathReport, ...] = ()
    verified: int = 0

    def of(self, *outcomes: Outcome) -> list[PathReport]:
        """The records with one of these outcomes."""
        return [one for one in self.paths if one.outcome in outcomes]

    @property
    def ok(self) -> bool:
        """Whether everything that is to be in the cache is there."""
        return not self.of(Outcome.FAILED, Outcome.NOT_TRIED)


class PushProgress(Value):
    """How far a push is, for people.

    Attributes:
        paths_done, paths: finished ones, and all that are to be sent.
        bytes_done, bytes: of archives.
        retries: attempts that failed and were begun again.
        jobs: uploads at once that are allowed now.
    """

    paths_done: int = 0
    paths: int = 0
    bytes_done: int = 0
    bytes: int = 0
    retries: int = 0
    jobs: int = 0


class CacheBackend(Protocol):
    """A binary cache. `nix` serves any store URL; `attic` speaks the protocol of Attic servers."""

    name: str

    def query(self, paths: Iterable[str]) -> tuple[Answers, str | None]:
        """Ask for each path: held with an accepted signature and its whole closure, or not, or unknown.

        Never raises for a cache that is away or refuses: those are unknown, and the second value says why.
        What a cache leaves to an upstream cache may be there instead.
        """
        ...

    def push(self, paths: Sequence[str], *, on_progress: Callable[[PushProgress], None] | None = None) -> PushReport:
        """Put the whole closures of `paths` (valid in the local store) into the cache, and see that they are there.

        Args:
            paths: store paths, or built outputs (`….drv!out`) where their realisations are to travel, too.
            on_progress: called often, from this thread.

        Returns:
            What became of each path. A path that failed stops no other that does not refer to it.

        Raises:
            StepFailedError, CredentialsError, TransientError: nothing can be pushed at all, or (`nix`) some
                path did not arrive.
        """
        ...

    def wait_until_visible(self, paths: Sequence[str], *, timeout: float) -> None:
        """Ask again until every path (with its closure and signatures) can be fetched.

        Raises:
            StepFailedError: after `timeout` seconds some still cannot; they are named.
            TransientError: the cache could not say, for a reason that may pass.
        """
        ...

    def touch(self, paths: Sequence[str]) -> int:
        """Fetch the closures of `paths` from it, so that it does not collect them as unused; how many paths.

        Raises:
            StepFailedError, CredentialsError, TransientError: some could not be fetched.
        """
        ...
