"""A cache without a network: a dictionary of closures, and whatever goes wrong with it when told so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelinegen.cache.model import Answers, FailureClass, Outcome, PathReport, PushProgress, PushReport
from pipelinegen.errors import PipelinegenError, StepFailedError

STORE = "/nix/store"
SIZE = 1 << 20


def path(name: str) -> str:
    """A store path whose hash is made of its name."""
    letters = "".join(letter for letter in name if letter in "0123456789abcdfghijklmnpqrsvwxyz")
    return f"{STORE}/{(letters + '0' * 32)[:32]}-{name}"


@dataclass
class FakeCache:
    """A `CacheBackend`.

    Attributes:
        closures: path → what it refers to, itself left out.
        held: what the cache has.
        upstream: what is left to another cache.
        duplicates: paths whose content the server has under another name.
        failing: path → class of the failure.
        losing: what is accepted and never served.
        broken: raised by `push` before anything is sent.
        dies_after: so many paths; then `push` raises `death`.
        log: every call, by name.
    """

    closures: Mapping[str, Sequence[str]]
    held: set[str] = field(default_factory=set)
    upstream: frozenset[str] = frozenset()
    duplicates: frozenset[str] = frozenset()
    failing: Mapping[str, FailureClass] = field(default_factory=dict)
    losing: frozenset[str] = frozenset()
    broken: PipelinegenError | None = None
    dies_after: int | None = None
    death: PipelinegenError | None = None
    touch_error: PipelinegenError | None = None
    name: str = "ci"
    log: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def _closure(self, paths: Iterable[str]) -> list[str]:
        return sorted({one for root in paths for one in (root, *self.closures.get(root, ()))})

    def query(self, paths: Iterable[str]) -> tuple[Answers, str | None]:
        asked = list(paths)
        self.log.append(("query", tuple(asked)))
        there = self.held | self.upstream
        return {one: there.issuperset(self._closure([one])) for one in asked}, None

    def push(self, paths: Sequence[str], *, on_progress: Callable[[PushProgress], None] | None = None) -> PushReport:
        self.log.append(("push", tuple(paths)))
        if self.broken is not None:
            raise self.broken
        closure = self._closure(paths)
        todo = [one for one in closure if one not in self.held | self.upstream]
        done: list[PathReport] = []
        # What is referred to goes first, as on a real server.
        for number, one in enumerate(sorted(todo, key=lambda one: len(self._closure([one])))):
            if on_progress is not None:
                on_progress(PushProgress(paths_done=number, paths=len(todo), bytes_done=number * SIZE, jobs=4))
            if self.dies_after is not None and number >= self.dies_after:
                assert self.death is not None
                raise self.death
            done.append(self._send(one, done))
        rest = [one for one in closure if one not in todo]
        done += [PathReport(path=one, outcome=Outcome.UPSTREAM) for one in rest if one in self.upstream]
        done += [PathReport(path=one, outcome=Outcome.PRESENT) for one in rest if one not in self.upstream]
        return PushReport(paths=tuple(sorted(done, key=lambda one: one.path)), verified=len(self._sent(done)))

    def _send(self, one: str, done: Sequence[PathReport]) -> PathReport:
        bad = {report.path for report in done if report.outcome in {Outcome.FAILED, Outcome.NOT_TRIED}}
        if bad.intersection(self._closure([one])):
            return PathReport(path=one, outcome=Outcome.NOT_TRIED, message="it refers to what failed", nar_bytes=SIZE)
        failure = self.failing.get(one)
        if failure is not None:
            return PathReport(
                path=one,
                outcome=Outcome.FAILED,
                failure=failure,
                message=f"the server said {failure.value}",
                hint=f"mend {failure.value}",
                attempts=1 if failure.permanent else 6,
                nar_bytes=SIZE,
                sent_bytes=SIZE,
                seconds=1.0,
            )
        if one not in self.losing:
            self.held.add(one)
        outcome = Outcome.DEDUPLICATED if one in self.duplicates else Outcome.PUSHED
        stored = None if one in self.duplicates else SIZE // 4
        return PathReport(
            path=one, outcome=outcome, attempts=1, nar_bytes=SIZE, sent_bytes=SIZE, stored_bytes=stored, seconds=0.5
        )

    @staticmethod
    def _sent(done: Sequence[PathReport]) -> list[PathReport]:
        return [one for one in done if one.outcome in {Outcome.PUSHED, Outcome.DEDUPLICATED}]

    def wait_until_visible(self, paths: Sequence[str], *, timeout: float) -> None:
        assert timeout > 0
        self.log.append(("wait", tuple(paths)))
        gone = [one for one in paths if not self.query([one])[0][one]]
        if gone:
            raise StepFailedError("cache ci does not serve what was pushed to it", where="\n".join(gone), hint="a key")

    def touch(self, paths: Sequence[str]) -> int:
        self.log.append(("touch", tuple(paths)))
        if self.touch_error is not None:
            raise self.touch_error
        return len(self._closure(paths))
