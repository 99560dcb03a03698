"""Many uploads at once, against a server that is a function: order, retries, giving up, the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.cache.attic.protocol import Uploaded
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.attic.retry import Backoff
from pipelinegen.cache.attic.upload import Limits, upload_all
from pipelinegen.cache.model import FailureClass, Outcome, PathReport, PushProgress
from pipelinegen.path_info import PathInfo


def path(number: int) -> str:
    return f"/nix/store/{number:032d}-p{number}"


def info(number: int, references: Sequence[int] = (), size: int = 100) -> PathInfo:
    return PathInfo(
        path=path(number),
        nar_hash=f"sha256:{number:064x}",
        nar_size=size,
        references=tuple(path(one) for one in references),
    )


@dataclass
class Server:
    """Takes a path when its script for it is at its end.

    Attributes:
        scripts: path → what each attempt meets; "hang" never answers.
        arrived: in the order of arrival.
        attempts: path → how often it was tried.
        most: how many were on their way at once.
    """

    scripts: Mapping[str, Sequence[FailureClass | str]] = field(default_factory=dict)
    arrived: list[str] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    most: int = 0
    now: int = 0
    hesitated: int = 0
    waits: dict[str, float] = field(default_factory=dict)

    async def send(self, one: PathInfo, on_bytes: Callable[[int], None], *, hesitate: bool) -> Uploaded:
        self.hesitated += hesitate
        number = self.attempts.get(one.path, 0)
        self.attempts[one.path] = number + 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            script = self.scripts.get(one.path, ())
            if number < len(script):
                await self._fail(script[number], one.path)
            on_bytes(one.nar_size)
            self.arrived.append(one.path)
            return Uploaded()
        finally:
            self.now -= 1

    async def _fail(self, what: FailureClass | str, name: str) -> None:
        if isinstance(what, FailureClass):
            raise RefusedError(what, f"{what} of {name}", hint="a hint", retry_after=self.waits.get(name))
        await asyncio.sleep(3600)


def limits(seconds: float = 30, *, jobs: int = 4, attempts: int = 4, base: float = 0.0005) -> Limits:
    return Limits(
        jobs=jobs,
        attempts=attempts,
        deadline=time.monotonic() + seconds,
        backoff=Backoff(base=base, cap=0.002),
        chance=lambda: 0.5,
    )


def push(
    infos: Sequence[PathInfo], server: Server, how: Limits | None = None, told: list[PushProgress] | None = None
) -> dict[str, PathReport]:
    on_progress = told.append if told is not None else (lambda _: None)
    return asyncio.run(upload_all(infos, server.send, how or limits(), on_progress=on_progress))


def outcomes(reports: Mapping[str, PathReport]) -> dict[int, Outcome]:
    return {int(one.rsplit("-p", 1)[1]): report.outcome for one, report in reports.items()}


def test_references_arrive_before_what_refers_to_them() -> None:
    infos = [info(0, [0, 1, 2], size=900), info(1, [3]), info(2, [3]), info(3, size=1)]
    server = Server()
    assert set(outcomes(push(infos, server)).values()) == {Outcome.PUSHED}
    assert server.arrived.index(path(3)) == 0
    assert server.arrived[-1] == path(0)


def test_no_more_than_jobs_are_on_their_way_at_once() -> None:
    server = Server()
    push([info(number) for number in range(40)], server, limits(jobs=3))
    assert server.most == 3


def test_the_largest_goes_first() -> None:
    server = Server()
    push([info(0, size=5), info(1, size=50), info(2, size=500)], server, limits(jobs=1))
    assert server.arrived == [path(2), path(1), path(0)]


@pytest.mark.parametrize("failure", [kind for kind in FailureClass if not kind.permanent])
def test_what_may_pass_is_tried_again(failure: FailureClass) -> None:
    server = Server({path(0): [failure]})
    reports = push([info(0)], server)
    assert reports[path(0)].outcome is Outcome.PUSHED
    assert reports[path(0)].attempts == 2


@pytest.mark.parametrize("failure", [kind for kind in FailureClass if kind.permanent])
def test_what_is_permanent_is_tried_once_and_stops_no_other(failure: FailureClass) -> None:
    server = Server({path(0): [failure] * 9})
    reports = push([info(0), info(1)], server)
    assert server.attempts == {path(0): 1, path(1): 1}
    assert reports[path(0)].failure is failure
    assert reports[path(0)].hint == "a hint"
    assert reports[path(1)].outcome is Outcome.PUSHED


def test_behind_a_broken_connection_the_head_goes_first() -> None:
    server = Server({path(0): [FailureClass.CONNECTION], path(1): [FailureClass.SERVER]})
    push([info(0), info(1)], server)
    assert server.hesitated == 1


def test_what_a_proxy_cuts_is_tried_twice() -> None:
    server = Server({path(0): [FailureClass.TRUNCATED] * 9})
    reports = push([info(0), info(1)], server)
    assert reports[path(0)].failure is FailureClass.TRUNCATED
    assert server.attempts[path(0)] == 2


def test_what_was_cut_once_among_other_troubles_is_tried_again() -> None:
    server = Server({path(0): [FailureClass.SERVER, FailureClass.TRUNCATED, FailureClass.BUSY]})
    assert push([info(0)], server)[path(0)].outcome is Outcome.PUSHED


def test_attempts_come_to_an_end_and_the_last_failure_is_reported() -> None:
    server = Server({path(0): [FailureClass.PROXY, FailureClass.BUSY, FailureClass.SERVER, FailureClass.STALLED]})
    reports = push([info(0), info(1)], server, limits(attempts=4))
    assert (reports[path(0)].outcome, reports[path(0)].failure) == (Outcome.FAILED, FailureClass.STALLED)
    assert reports[path(0)].attempts == 4


def test_what_refers_to_a_failed_path_is_not_tried_and_says_so() -> None:
    server = Server({path(3): [FailureClass.TOO_LARGE]})
    reports = push([info(0, [1]), info(1, [3]), info(2), info(3)], server)
    assert outcomes(reports) == {
        0: Outcome.NOT_TRIED,
        1: Outcome.NOT_TRIED,
        2: Outcome.PUSHED,
        3: Outcome.FAILED,
    }
    assert path(3) in (reports[path(1)].message or "")


def test_a_token_that_is_refused_again_and_again_ends_it() -> None:
    infos = [info(number) for number in range(50)]
    server = Server({one.path: [FailureClass.UNAUTHORIZED] for one in infos})
    reports = push(infos, server, limits(jobs=2))
    assert len(server.attempts) < 10
    assert {report.outcome for report in reports.values()} == {Outcome.FAILED, Outcome.NOT_TRIED}
    assert any("given up" in (report.message or "") for report in reports.values())


def test_a_server_that_takes_nothing_at_all_is_given_up() -> None:
    infos = [info(number) for number in range(50)]
    server = Server({one.path: [FailureClass.CONNECTION] * 99 for one in infos})
    reports = push(infos, server, limits(jobs=2, attempts=3))
    assert sum(server.attempts.values()) < 30
    begun = {one for one in server.attempts if reports[one].outcome is Outcome.FAILED}
    assert begun == set(server.attempts), "what was tried and did not arrive has failed"
    assert len(reports) == 50


def test_trouble_halves_the_uploads_at_once_and_success_brings_them_back() -> None:
    told: list[PushProgress] = []
    infos = [info(number) for number in range(200)]
    push(infos, Server({path(0): [FailureClass.SERVER], path(1): [FailureClass.SERVER]}), limits(jobs=8), told)
    allowed = [one.jobs for one in told]
    assert min(allowed) <= 4
    assert allowed[-1] > min(allowed)


def test_the_deadline_ends_everything_and_names_what_is_left() -> None:
    infos = [info(number) for number in range(6)]
    server = Server({path(0): ["hang"]})
    reports = push(infos, server, limits(0.3, jobs=1))
    assert reports[path(0)].failure is FailureClass.DEADLINE
    assert {reports[path(n)].outcome for n in range(1, 6)} == {Outcome.NOT_TRIED}


def test_the_deadline_ends_also_what_goes_on_when_everything_else_was_given_up() -> None:
    server = Server({path(0): ["hang"], **{path(n): [FailureClass.UNAUTHORIZED] for n in range(1, 9)}})
    used = time.process_time()
    reports = push([info(number) for number in range(9)], server, limits(0.5, jobs=3))
    assert time.process_time() - used < 0.25, "nothing is to be done meanwhile"
    assert reports[path(0)].failure is FailureClass.DEADLINE
    assert "given up" in (reports[path(8)].message or "")


def test_the_server_is_given_the_time_that_it_asks_for() -> None:
    server = Server({path(0): [FailureClass.BUSY]}, waits={path(0): 0.2})
    began = time.monotonic()
    assert push([info(0)], server)[path(0)].outcome is Outcome.PUSHED
    assert time.monotonic() - began >= 0.2


def test_waiting_for_another_try_keeps_no_place_from_others() -> None:
    server = Server({path(0): [FailureClass.CONNECTION]})
    slow = replace(limits(jobs=2), backoff=Backoff(base=0.3))
    push([info(0, size=1000), *(info(number) for number in range(1, 20))], server, slow)
    assert server.arrived[-1] == path(0)


def test_a_cancelled_push_leaves_nothing_running() -> None:
    async def scene() -> None:
        server = Server({path(0): ["hang"]})
        task = asyncio.ensure_future(upload_all([info(0)], server.send, limits()))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert server.now == 0

    asyncio.run(scene())


FAILURES = st.sampled_from([*FailureClass])


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[PathInfo], dict[str, list[FailureClass | str]]]:
    count = draw(st.integers(1, 14))
    infos = [
        info(number, draw(st.lists(st.integers(0, number), max_size=3, unique=True)), size=draw(st.integers(1, 999)))
        for number in range(count)
    ]
    scripts: dict[str, list[FailureClass | str]] = {
        path(number): list(draw(st.lists(FAILURES, max_size=6))) for number in range(count) if draw(st.booleans())
    }
    return draw(st.permutations(infos)), scripts


@settings(max_examples=120, deadline=None)
@given(scene=scenes(), jobs=st.integers(1, 5))
def test_either_it_is_there_or_the_report_names_it(
    scene: tuple[list[PathInfo], dict[str, list[FailureClass | str]]], jobs: int
) -> None:
    infos, scripts = scene
    server = Server(scripts)
    reports = push(infos, server, limits(jobs=jobs))
    assert set(reports) == {one.path for one in infos}
    there = {one for one, report in reports.items() if report.outcome in {Outcome.PUSHED, Outcome.DEDUPLICATED}}
    assert there == set(server.arrived)
    assert len(server.arrived) == len(there), "nothing arrives twice"
    for one in infos:
        if one.path in there:
            assert {ref for ref in one.references if ref != one.path} <= there, "never what refers to nothing"
        else:
            assert reports[one.path].message
    for name, number in server.attempts.items():
        assert number <= 4
        assert reports[name].attempts == number
