"""One push, whole: what is missing, sending it, and asking whether it is really there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipelinegen.cache.attic.client import AtticClient
from pipelinegen.cache.attic.endpoint import follow
from pipelinegen.cache.attic.protocol import CacheSettings, store_hash
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.attic.retry import Backoff
from pipelinegen.cache.attic.upload import Limits, behind, upload_all
from pipelinegen.cache.model import FailureClass, Outcome, PathReport, PushProgress
from pipelinegen.path_info import PathInfo, references_first

T = TypeVar("T")

SENT_AGAIN = 2
"""How often what the server lost is sent once more."""

LAST_QUESTION_SECONDS = 30.0
"""For a question after the deadline: what arrived is asked for all the same."""


@dataclass(frozen=True)
class Missing:
    """What a push has to do.

    Attributes:
        client: where to send it.
        settings: what the server says of the cache.
        closure: all paths.
        send: what it lacks of them.
        reports: what became of all other paths already.
    """

    client: AtticClient
    settings: CacheSettings
    closure: tuple[PathInfo, ...]
    send: tuple[PathInfo, ...]
    reports: dict[str, PathReport]


async def patiently(call: Callable[[], Awaitable[T]], limits: Limits) -> T:
    """What `call` returns, tried again while its failures may pass and there is time.

    Raises:
        RefusedError: the last failure.
    """
    failures = 0
    while True:
        try:
            # An answer that comes drop by drop is never late for those who only wait for the next drop.
            async with asyncio.timeout(max(limits.deadline - limits.now(), LAST_QUESTION_SECONDS)):
                return await call()
        except TimeoutError as error:
            raise RefusedError(
                FailureClass.DEADLINE, "no whole answer came in the time that there was for it"
            ) from error
        except RefusedError as error:
            failures += 1
            delay = limits.backoff.delay(failures, limits.chance(), error.retry_after)
            if error.failure.permanent or failures >= limits.attempts or limits.now() + delay > limits.deadline:
                raise
            await asyncio.sleep(delay)


async def find_missing(
    client: AtticClient, infos: Sequence[PathInfo], limits: Limits, *, include_upstream: bool, fixed: bool
) -> Missing:
    """Ask the server what it lacks of a closure.

    Args:
        infos: the closure.
        include_upstream: send also what upstream signed.
        fixed: keep to the address of the client, whatever the server says its own is.

    Raises:
        RefusedError: the server does not say.
    """
    settings = await patiently(client.settings, limits)
    follow(client, settings, fixed=fixed)
    left = set() if include_upstream else left_to_upstream(infos, settings)
    asked = [info for info in infos if info.path not in left]
    lacking = await patiently(lambda: client.missing([store_hash(info.path) for info in asked]), limits)
    reports = {
        info.path: PathReport(
            path=info.path,
            outcome=Outcome.UPSTREAM if info.path in left else Outcome.PRESENT,
            nar_bytes=info.nar_size,
        )
        for info in infos
        if info.path in left or store_hash(info.path) not in lacking
    }
    send = tuple(info for info in infos if info.path not in reports)
    return Missing(client, settings, tuple(infos), send, reports)


async def send_missing(
    missing: Missing, limits: Limits, on_progress: Callable[[PushProgress], None]
) -> dict[str, PathReport]:
    """Send what is missing, ask for all of it again, and send once more what the server lost.

    Returns:
        path → what became of it, for all paths of the closure. Of what the server took, and cannot be asked about
        afterwards, it is not known whether it is there: it counts as failed.
    """
    reports = dict(missing.reports)
    send = missing.send
    while send:
        sent = await upload_all(send, missing.client.upload, limits, on_progress=on_progress)
        reports.update({path: added(reports.get(path), report) for path, report in sent.items()})
        send = await _made_possible(missing, reports, limits)
    for again in range(SENT_AGAIN + 1):
        try:
            lost = await _lost(missing, reports, limits)
        except RefusedError as error:
            reports.update(_unconfirmed(reports, error))
            break
        if not lost:
            break
        if again < SENT_AGAIN and limits.now() < limits.deadline:
            repeated = await upload_all(lost, missing.client.upload, limits, on_progress=on_progress)
            reports.update({path: added(reports[path], report) for path, report in repeated.items()})
        else:
            reports.update({info.path: lost_report(reports[info.path]) for info in lost})
    return reports


async def _lost(missing: Missing, reports: dict[str, PathReport], limits: Limits) -> list[PathInfo]:
    """What the server lacks of what it took, or of what it had when it was asked first."""
    there = {Outcome.PUSHED, Outcome.DEDUPLICATED, Outcome.PRESENT}
    held = [info for info in missing.closure if reports[info.path].outcome in there]
    if not held:
        return []
    lacking = await patiently(lambda: missing.client.missing([store_hash(info.path) for info in held]), limits)
    return [info for info in held if store_hash(info.path) in lacking]


def _unconfirmed(reports: dict[str, PathReport], error: RefusedError) -> dict[str, PathReport]:
    """The reports of what the server took, when it does not say afterwards that it has it."""
    update = {
        "outcome": Outcome.FAILED,
        "failure": error.failure,
        "message": f"the server took it, and does not say that it has it: {error.message}",
        "hint": error.hint,
    }
    taken = (report for report in reports.values() if report.outcome in {Outcome.PUSHED, Outcome.DEDUPLICATED})
    return {report.path: report.model_copy(update=update) for report in taken}


async def _made_possible(missing: Missing, reports: dict[str, PathReport], limits: Limits) -> tuple[PathInfo, ...]:
    """What can be sent after all: a path may have arrived though the answer did not, or by somebody else's push."""
    doubtful = [path for path, report in reports.items() if report.outcome is Outcome.FAILED]
    if not doubtful or limits.now() >= limits.deadline:
        return ()
    try:
        lacking = await missing.client.missing([store_hash(path) for path in doubtful])
    except RefusedError:
        return ()
    arrived = {path for path in doubtful if store_hash(path) not in lacking}
    there = {"outcome": Outcome.PUSHED, "failure": None, "message": None, "hint": None}
    reports.update({path: reports[path].model_copy(update=there) for path in arrived})
    return _unblocked(missing.send, reports) if arrived else ()


def _unblocked(send: Sequence[PathInfo], reports: dict[str, PathReport]) -> tuple[PathInfo, ...]:
    """What was not tried and refers to nothing that failed; what does is told what stands in its way."""
    possible = []
    blocked = {path for path, report in reports.items() if report.outcome is Outcome.FAILED}
    for info in references_first(send):
        if reports[info.path].outcome is not Outcome.NOT_TRIED:
            continue
        obstacle = next((other for other in info.others if other in blocked), None)
        if obstacle is None:
            possible.append(info)
            continue
        blocked.add(info.path)
        reports[info.path] = reports[info.path].model_copy(update={"message": behind(obstacle)})
    return tuple(possible)


def added(first: PathReport | None, second: PathReport) -> PathReport:
    """The report of a path that was sent again."""
    if first is None:
        return second
    update = {
        "attempts": first.attempts + second.attempts,
        "sent_bytes": first.sent_bytes + second.sent_bytes,
        "seconds": round(first.seconds + second.seconds, 3),
    }
    return second.model_copy(update=update)


def lost_report(report: PathReport, why: str = "the server took it and does not have it") -> PathReport:
    """The report of a path that was accepted, and is not there."""
    return report.model_copy(
        update={
            "outcome": Outcome.FAILED,
            "failure": FailureClass.LOST,
            "message": why,
            "hint": "look at the server's log and its storage; another run sends what it says it lacks",
        }
    )


def left_to_upstream(infos: Iterable[PathInfo], settings: CacheSettings) -> set[str]:
    """The paths with a signature of an upstream cache, by the rule of Attic's own client.

    It goes by the name of the key alone, since the server knows no more of it.
    """
    names = set(settings.upstream_cache_key_names or ())
    return {info.path for info in infos if any(signature.partition(":")[0] in names for signature in info.signatures)}


def limits_for(jobs: int, attempts: int, seconds: float) -> Limits:
    """Limits of a push that begins now."""
    return Limits(jobs=jobs, attempts=attempts, deadline=time.monotonic() + seconds, backoff=Backoff())


async def touch_all(client: AtticClient, urls: Iterable[str], jobs: int, limits: Limits) -> int:
    """Fetch each of `urls`, a few at once; how many.

    Raises:
        RefusedError: one could not be fetched.
    """
    gate = asyncio.Semaphore(jobs)

    async def one(url: str) -> None:
        async with gate:
            await patiently(lambda: client.fetch(url), limits)

    tasks = [asyncio.ensure_future(one(url)) for url in urls]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return len(tasks)


def nar_url(cache_url: str, path: str) -> str:
    """Where the archive of a path is: Attic names it by the store path's hash."""
    return f"{cache_url.rstrip('/')}/nar/{store_hash(path)}.nar"
