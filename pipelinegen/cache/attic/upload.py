"""Many uploads: references before referrers, several at once, each tried until it arrives or cannot.

Only times and chance come from outside; what one upload does is the caller's, so that all of this can be tested
without a server.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipelinegen.cache.attic.protocol import Uploaded
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.attic.retry import Backoff, Parallelism
from pipelinegen.cache.model import FailureClass, Outcome, PathReport, PushProgress
from pipelinegen.path_info import PathInfo


class Send(Protocol):
    """Sends one path; `AtticClient.upload`."""

    def __call__(self, info: PathInfo, on_bytes: Callable[[int], None], /, *, hesitate: bool) -> Awaitable[Uploaded]:
        """Raises `RefusedError` where it did not arrive."""
        ...


TRUNCATED_ATTEMPTS = 2
"""What was cut once may be an accident; twice is a proxy that cuts."""

TOKEN_REFUSALS = 4
"""So many paths in a row refused for the token, and none taken: all others would be, too."""

_TICK_SECONDS = 1.0
_ABOUT_THE_TOKEN = frozenset({FailureClass.UNAUTHORIZED, FailureClass.FORBIDDEN})


@dataclass(frozen=True)
class Limits:
    """How hard to try.

    Attributes:
        jobs: uploads at once, at most.
        attempts: of one path.
        deadline: when everything must have ended, on the clock of `now`.
        backoff: the waits between attempts.
        now: seconds.
        chance: from 0 to 1.
    """

    jobs: int
    attempts: int
    deadline: float
    backoff: Backoff = field(default_factory=Backoff)
    now: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random


@dataclass
class _Path:
    """One path on its way."""

    info: PathInfo
    waits_for: set[str]
    wanted_by: list[str] = field(default_factory=list)
    attempts: int = 0
    cut: int = 0
    sent: int = 0
    began: float | None = None
    last: RefusedError | None = None
    report: PathReport | None = None


async def upload_all(
    infos: Sequence[PathInfo],
    send: Send,
    limits: Limits,
    *,
    on_progress: Callable[[PushProgress], None] = lambda _: None,
) -> dict[str, PathReport]:
    """Send all of `infos`; what became of each, by path.

    A path is sent when everything it refers to has arrived: whoever ends this, at any moment, leaves no path
    in the cache whose references are not there. What refers to a failed path is not tried.

    Args:
        infos: what the cache lacks.
    """
    return await _Uploads(infos, send, limits, on_progress).run()


class _Uploads:
    def __init__(
        self,
        infos: Sequence[PathInfo],
        send: Send,
        limits: Limits,
        on_progress: Callable[[PushProgress], None],
    ) -> None:
        self._send = send
        self._limits = limits
        self._on_progress = on_progress
        self._parallelism = Parallelism(limits.jobs)
        self._paths = {
            info.path: _Path(info, set()) for info in sorted(infos, key=lambda one: (-one.nar_size, one.path))
        }
        for path, one in self._paths.items():
            for reference in one.info.references:
                if reference != path and reference in self._paths:
                    one.waits_for.add(reference)
                    self._paths[reference].wanted_by.append(path)
        # The largest first: begun last, it would keep all the others waiting at the end.
        self._rank = {path: number for number, path in enumerate(self._paths)}
        self._ready = [self._rank[path] for path, one in self._paths.items() if not one.waits_for]
        self._names = list(self._paths)
        heapq.heapify(self._ready)
        self._delayed: list[tuple[float, int]] = []
        self._running: dict[asyncio.Task[Uploaded], str] = {}
        self._given_up: str | None = None
        self._arrived = 0
        self._token_refusals = 0
        self._troubles = 0
        self._quiet_until = 0.0
        self._bytes_done = 0
        self._ended = 0
        self._retries = 0
        self._total = sum(one.info.nar_size for one in self._paths.values())

    async def run(self) -> dict[str, PathReport]:
        try:
            while self._ready or self._delayed or self._running:
                if self._limits.now() >= self._limits.deadline:
                    await self._stop_at_deadline()
                    break
                self._start()
                await self._wait()
                self._tell()
                if self._given_up is not None and not self._running:
                    break
        finally:
            await _cancel(self._running)
        for path, one in self._paths.items():
            if one.report is None and one.last is not None:
                self._fail(path, one.last)
        for path, one in self._paths.items():
            if one.report is None:
                self._end(path, Outcome.NOT_TRIED, message=self._given_up)
        self._tell()
        return {path: one.report for path, one in sorted(self._paths.items()) if one.report is not None}

    def _start(self) -> None:
        now = self._limits.now()
        if now < self._quiet_until:
            return
        while self._delayed and self._delayed[0][0] <= now:
            heapq.heappush(self._ready, heapq.heappop(self._delayed)[1])
        while self._ready and len(self._running) < self._parallelism.allowed and self._given_up is None:
            path = self._names[heapq.heappop(self._ready)]
            one = self._paths[path]
            one.attempts += 1
            one.began = now if one.began is None else one.began
            broke_off = one.last is not None and one.last.failure is FailureClass.CONNECTION
            sending = self._send(one.info, self._counter(one), hesitate=broke_off)
            self._running[asyncio.ensure_future(sending)] = path

    def _counter(self, one: _Path) -> Callable[[int], None]:
        def count(number: int) -> None:
            one.sent += number

        return count

    async def _wait(self) -> None:
        """Until something ends, a wait is over, or a second has passed."""
        now = self._limits.now()
        seconds = min(_TICK_SECONDS, max(0.0, self._limits.deadline - now))
        if len(self._running) < self._parallelism.allowed:
            if now < self._quiet_until:
                seconds = min(seconds, self._quiet_until - now)
            elif self._delayed and self._given_up is None:
                seconds = min(seconds, max(0.0, self._delayed[0][0] - now))
        if not self._running:
            await asyncio.sleep(seconds)
            return
        done, _ = await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=lambda one: self._rank[self._running[one]]):
            self._finished(self._running.pop(task), task)

    def _finished(self, path: str, task: asyncio.Task[Uploaded]) -> None:
        try:
            uploaded = task.result()
        except RefusedError as error:
            self._refused(path, error)
            return
        self._arrived += 1
        self._token_refusals = self._troubles = 0
        self._parallelism.succeeded()
        outcome = Outcome.DEDUPLICATED if uploaded.kind == "Deduplicated" else Outcome.PUSHED
        self._end(path, outcome, stored=uploaded.file_size)
        for other in self._paths[path].wanted_by:
            waiting = self._paths[other]
            waiting.waits_for.discard(path)
            if not waiting.waits_for and waiting.report is None:
                heapq.heappush(self._ready, self._rank[other])

    def _refused(self, path: str, error: RefusedError) -> None:
        one = self._paths[path]
        one.last = error
        if error.failure in _ABOUT_THE_TOKEN:
            self._token_refusals += 1
            if self._token_refusals >= TOKEN_REFUSALS:
                self._given_up = f"given up: {error.message}"
        if not error.failure.permanent:
            self._parallelism.troubled()
            self._keep_quiet(error.retry_after)
            one.cut += error.failure is FailureClass.TRUNCATED
            hopeful = one.attempts < self._limits.attempts and one.cut < TRUNCATED_ATTEMPTS
            if hopeful and self._given_up is None:
                self._retries += 1
                delay = self._limits.backoff.delay(one.attempts, self._limits.chance(), error.retry_after)
                heapq.heappush(self._delayed, (self._limits.now() + delay, self._rank[path]))
                return
            if not self._arrived and error.failure is not FailureClass.TRUNCATED:
                self._given_up = f"given up, since nothing arrived at all: {error.message}"
        self._fail(path, error)

    def _keep_quiet(self, retry_after: float | None) -> None:
        """Begin nothing for a while: the server asked for that, or nothing but trouble comes from it."""
        self._troubles += 1
        failures = self._troubles - self._limits.jobs + 1
        pause = self._limits.backoff.delay(failures, self._limits.chance()) if failures > 0 else 0.0
        self._quiet_until = max(self._quiet_until, self._limits.now() + max(pause, retry_after or 0.0))

    def _fail(self, path: str, error: RefusedError) -> None:
        self._end(path, Outcome.FAILED, failure=error.failure, message=error.message, hint=error.hint)
        referrers = list(self._paths[path].wanted_by)
        while referrers:
            other = referrers.pop()
            if self._paths[other].report is None:
                self._end(other, Outcome.NOT_TRIED, message=behind(path))
                referrers += self._paths[other].wanted_by

    def _end(
        self,
        path: str,
        outcome: Outcome,
        *,
        failure: FailureClass | None = None,
        message: str | None = None,
        hint: str | None = None,
        stored: int | None = None,
    ) -> None:
        one = self._paths[path]
        if outcome in {Outcome.PUSHED, Outcome.DEDUPLICATED}:
            self._bytes_done += one.info.nar_size
        self._ended += 1
        one.report = PathReport(
            path=path,
            outcome=outcome,
            failure=failure,
            message=message,
            hint=hint,
            attempts=one.attempts,
            nar_bytes=one.info.nar_size,
            sent_bytes=one.sent,
            stored_bytes=stored,
            seconds=0.0 if one.began is None else round(self._limits.now() - one.began, 3),
        )

    async def _stop_at_deadline(self) -> None:
        running = dict(self._running)
        await _cancel(self._running)
        self._running.clear()
        self._given_up = self._given_up or "not tried: the time for the whole push was over"
        begun = [*running.values(), *(self._names[rank] for _, rank in self._delayed)]
        for path in sorted(begun):
            last = self._paths[path].last
            reason = f"; the last try: {last.message}" if last else ""
            error = RefusedError(
                FailureClass.DEADLINE,
                f"the time for the whole push was over{reason}",
                hint="[push] deadline; what has arrived stays there, and another run pushes only the rest",
            )
            self._fail(path, error)

    def _tell(self) -> None:
        underway = sum(min(self._paths[path].sent, self._paths[path].info.nar_size) for path in self._running.values())
        self._on_progress(
            PushProgress(
                paths_done=self._ended,
                paths=len(self._paths),
                bytes_done=self._bytes_done + underway,
                bytes=self._total,
                retries=self._retries,
                jobs=self._parallelism.allowed,
            )
        )


def behind(path: str) -> str:
    """Why something that refers to `path` is not sent."""
    return f"it refers to {path}, which was not pushed"


async def _cancel(tasks: dict[asyncio.Task[Uploaded], str]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
