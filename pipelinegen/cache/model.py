"""Availability as values, and what every cache backend can do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pydantic import Field

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


class CacheBackend(Protocol):
    """A binary cache. `nix` serves any store URL; others speak a protocol of their own."""

    name: str

    def query(self, paths: Iterable[str]) -> tuple[Answers, str | None]:
        """Ask for each path: held with an accepted signature and its whole closure, or not, or unknown.

        Never raises for a cache that is away or refuses: those are unknown, and the second value says why.
        """
        ...

    def push(self, paths: Iterable[str]) -> None:
        """Copy the whole closures of `paths` into the cache, signed where a key is configured.

        Raises:
            StepFailedError, CredentialsError, TransientError: some path did not arrive.
        """
        ...

    def substituter(self) -> Mapping[str, str]:
        """What a job needs to fetch from it: `url`, and `public_key` where paths are signed."""
        ...
