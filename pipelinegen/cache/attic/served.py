"""Whether a cache serves what it took, as a machine that fetches from it sees it."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import remote_store
from pipelinegen.cache.model import Outcome, PathReport
from pipelinegen.errors import CommandError
from pipelinegen.path_info import PathInfo

SENT = frozenset({Outcome.PUSHED, Outcome.DEDUPLICATED})

PATIENCE = (0.0, 0.5, 2.0, 5.0)
"""Seconds before each look: what stands before a server may deny for a moment what it was just given."""

TROUBLES = 2
"""Looks in a row that may fail: Nix itself has asked twice in each, and a server that hangs takes it minutes."""

SAMPLE_SECONDS = 60.0
"""For fetching one output of the sample after the deadline."""


@dataclass(frozen=True)
class Served:
    """The cache as Nix reads it.

    Attributes:
        url: store URL.
        public_key: keys whose signatures count; null where none is known, and none is looked for.
        options: Nix's options with the credentials.
        on_idle: called about once a second while an archive is fetched.
        deadline: when the sample must have been fetched, on the monotonic clock.
    """

    url: str
    public_key: str | None
    options: tuple[str, ...] = ()
    on_idle: Callable[[], None] | None = None
    deadline: float = math.inf

    def unserved(self, paths: Sequence[str], sample: Sequence[str]) -> dict[str, str]:
        """Which of `paths` cannot be had, and which of `sample` are not what they were: path → why, a sentence.

        Raises:
            CommandError: the cache cannot be read from here at all.
            TransientError: the deadline passed while the sample was fetched.
        """
        why: dict[str, str] = {}
        left = list(paths)
        troubles = 0
        for seconds in PATIENCE:
            if not left:
                break
            time.sleep(seconds)
            try:
                left = self._absent(left, why)
                troubles = 0
            except CommandError:
                troubles += 1
                if troubles == TROUBLES:
                    raise
        failed = {path: why.get(path, "the server took it and does not serve it") for path in left}
        for path in sample:
            if path not in failed and (damage := self._damage(path)) is not None:
                failed[path] = damage
        return failed

    def _absent(self, paths: Sequence[str], why: dict[str, str]) -> list[str]:
        with _memory() as memory:
            # Many at once; one after the other, each would take a round trip.
            remote_store.remember_closures(paths, store=self.url, options=self.options, memory=memory)
            found = remote_store.infos(paths, store=self.url, options=self.options, memory=memory)
            there = [path for path in paths if found.get(path) is not None]
            signed = self._signed(there, memory)
        why.update(dict.fromkeys(set(there) - signed, "what the server says of it is not signed by its key"))
        return [path for path in paths if path not in signed]

    def _signed(self, paths: Sequence[str], memory: Path) -> set[str]:
        if self.public_key is None or not paths:
            return set(paths)
        keys = self.public_key.split()
        return remote_store.trusted(paths, store=self.url, public_keys=keys, options=self.options, memory=memory)

    def _damage(self, path: str) -> str | None:
        keys = self.public_key.split() if self.public_key else None
        said = remote_store.damage(
            [path],
            store=self.url,
            public_keys=keys,
            options=self.options,
            on_idle=self.on_idle,
            timeout=max(self.deadline - time.monotonic(), SAMPLE_SECONDS),
        )
        return None if said is None else f"what the server serves of it is damaged or incomplete: {said}"


@contextlib.contextmanager
def _memory() -> Iterator[Path]:
    """A folder for what Nix remembers of the cache: only within one look."""
    with tempfile.TemporaryDirectory(prefix="pipelinegen-narinfo-") as folder:
        yield Path(folder)


def sample_of(
    roots: Sequence[str], infos: Sequence[PathInfo], reports: Mapping[str, PathReport], budget: int
) -> list[str]:
    """The roots to fetch again: the smallest first, `budget` bytes together, and always one where there is any."""
    sizes = {info.path: info.nar_size for info in infos}
    there = {Outcome.PRESENT, *SENT}
    wanted = sorted((path for path in roots if reports[path].outcome in there), key=lambda path: (sizes[path], path))
    chosen: list[str] = []
    for path in wanted:
        budget -= sizes[path]
        if chosen and budget < 0:
            break
        chosen.append(path)
    return chosen
