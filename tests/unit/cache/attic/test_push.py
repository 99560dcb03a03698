"""One push, whole, to a server that is a function: what may still be sent, and what is said where nothing is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from pipelinegen.cache.attic.protocol import CacheSettings, Uploaded, store_hash
from pipelinegen.cache.attic.push import Missing, patiently, send_missing
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.attic.retry import Backoff
from pipelinegen.cache.attic.upload import Limits
from pipelinegen.cache.model import FailureClass, Outcome, PathReport
from pipelinegen.path_info import PathInfo


def path(number: int) -> str:
    return f"/nix/store/{number:032d}-p{number}"


def info(number: int, *references: int) -> PathInfo:
    return PathInfo(
        path=path(number),
        nar_hash=f"sha256:{number:064x}",
        nar_size=1,
        references=tuple(path(one) for one in references),
    )


@dataclass
class Server:
    """A server and its client in one.

    Attributes:
        fails: path → how each upload of it ends; `CONNECTION` is stored, only the answer is lost.
        silent: what it answers when it is asked what it lacks.
    """

    fails: Mapping[str, FailureClass] = field(default_factory=dict)
    silent: RefusedError | None = None
    stored: set[str] = field(default_factory=set)

    async def upload(
        self, one: PathInfo, _on_bytes: Callable[[int], None] = lambda _: None, *, hesitate: bool = False
    ) -> Uploaded:
        await asyncio.sleep(0)
        failure = self.fails.get(one.path)
        if failure in {None, FailureClass.CONNECTION}:
            self.stored.add(one.path)
        if failure is not None:
            raise RefusedError(failure, f"{failure}{' at the head' if hesitate else ''}")
        return Uploaded()

    async def missing(self, hashes: Sequence[str]) -> set[str]:
        if self.silent is not None:
            raise self.silent
        return set(hashes) - {store_hash(one) for one in self.stored}


def limits(seconds: float = 30, attempts: int = 2) -> Limits:
    deadline = time.monotonic() + seconds
    return Limits(jobs=2, attempts=attempts, deadline=deadline, backoff=Backoff(base=0.0005, cap=0.002))


def send(server: Server, infos: Sequence[PathInfo]) -> dict[str, PathReport]:
    missing = Missing(server, CacheSettings(), tuple(infos), tuple(infos), {})  # type: ignore[arg-type]
    return asyncio.run(send_missing(missing, limits(), lambda _: None))


def test_what_becomes_possible_is_sent_but_never_before_what_it_refers_to() -> None:
    server = Server({path(0): FailureClass.CONNECTION, path(1): FailureClass.TOO_LARGE})
    reports = send(server, [info(0), info(1), info(2, 0), info(3, 1), info(4, 2, 3), info(5, 2)])
    assert server.stored == {path(0), path(2), path(5)}
    assert {one for one, report in reports.items() if report.outcome is Outcome.PUSHED} == server.stored
    assert reports[path(3)].outcome is reports[path(4)].outcome is Outcome.NOT_TRIED
    assert path(1) in (reports[path(3)].message or "")
    assert path(3) in (reports[path(4)].message or "")


@pytest.mark.parametrize("failure", [FailureClass.UNAUTHORIZED, FailureClass.SERVER])
def test_what_the_server_took_and_cannot_be_asked_about_counts_as_failed_each_by_name(failure: FailureClass) -> None:
    server = Server({path(1): FailureClass.TOO_LARGE}, silent=RefusedError(failure, "no answer", hint="a hint"))
    reports = send(server, [info(0), info(1)])
    assert (reports[path(0)].outcome, reports[path(0)].failure) == (Outcome.FAILED, failure)
    assert "no answer" in (reports[path(0)].message or "")
    assert reports[path(0)].hint == "a hint"
    assert reports[path(1)].failure is FailureClass.TOO_LARGE


def test_a_question_is_over_with_the_time_for_the_whole_push(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelinegen.cache.attic.push.LAST_QUESTION_SECONDS", 0.1)

    async def never() -> None:
        await asyncio.sleep(10)

    began = time.monotonic()
    with pytest.raises(RefusedError) as raised:
        asyncio.run(patiently(never, limits(0.2)))
    assert raised.value.failure is FailureClass.DEADLINE
    assert time.monotonic() - began < 5
