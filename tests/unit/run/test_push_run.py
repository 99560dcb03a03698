"""The course of a push, with a cache that misbehaves on demand."""

from __future__ import annotations

import io

import pytest

from pipelinegen.cache.model import CacheBackend, FailureClass
from pipelinegen.console import Console
from pipelinegen.errors import CredentialsError, InterruptedRunError, PipelinegenError, StepFailedError, TransientError
from pipelinegen.run.push_report import Course
from pipelinegen.run.push_run import PushRun
from pipelinegen.run.push_view import PushView
from pipelinegen.run.result import Reports, Status, StepResult
from tests.unit.run.fake_cache import FakeCache, path

APP, LIB, LIBC, OTHER = (path(name) for name in ("app", "lib", "glibc", "other"))
CLOSURES = {APP: [LIB, LIBC], LIB: [LIBC], OTHER: [LIBC]}


class Push:
    """One push and everything it left."""

    def __init__(self, cache: CacheBackend, *wanted: str, ask_first: bool = False, touch: bool = False) -> None:
        self.screen = io.StringIO()
        console = Console(self.screen, clock=lambda: 100.0)
        self.run = PushRun(Course(cache.name, wanted or (APP,)), console)
        self.raised: PipelinegenError | None = None
        try:
            self.run.carry_out(cache, PushView(console, "ci"), ask_first=ask_first, timeout=1.0, touch=touch)
        except PipelinegenError as error:
            self.raised = error
            self.run.learn(stopped=error)
        self.result: StepResult = self.run.end(Reports(), 14.0)
        self.said = self.screen.getvalue()

    def statuses(self) -> dict[str, Status]:
        return {item.name: item.status for item in self.result.items}


def test_a_whole_closure_arrives_and_is_counted_path_by_path() -> None:
    cache = FakeCache(CLOSURES, upstream=frozenset({LIBC}), duplicates=frozenset({LIB}))
    push = Push(cache)
    push.result.raise_if_failed()
    assert cache.held == {APP, LIB}
    assert push.result.counts == {
        "pushed": 1,
        "deduplicated": 1,
        "present": 0,
        "upstream": 1,
        "failed": 0,
        "not_tried": 0,
        "attempts": 2,
        "retries": 0,
        "bytes": 2 << 20,
        "sent_bytes": 2 << 20,
        "stored_bytes": 1 << 18,
        "verified": 2,
    }
    assert push.result.saved == 0.875
    assert (
        "cache ci: 2 pushed (1 deduplicated), 0 already there, 1 left to upstream; 2.0 MiB sent, 88 % saved, 14 s"
        in (push.said)
    )


def test_what_was_asked_for_comes_first_and_the_rest_is_marked_as_its_company() -> None:
    items = Push(FakeCache(CLOSURES), OTHER, APP).result.items
    assert [(item.name, item.asked) for item in items] == [(OTHER, True), (APP, True), (LIBC, False), (LIB, False)]


def test_a_second_push_sends_nothing() -> None:
    cache = FakeCache(CLOSURES)
    Push(cache)
    assert Push(cache).result.counts["present"] == 3


def test_a_closure_with_a_hole_is_filled_although_its_root_is_there() -> None:
    cache = FakeCache(CLOSURES, held={APP, LIBC})
    assert Push(cache).statuses() == {APP: Status.PRESENT, LIB: Status.OK, LIBC: Status.PRESENT}
    assert cache.held == {APP, LIB, LIBC}


def test_where_the_cache_is_asked_first_only_what_it_lacks_is_pushed() -> None:
    cache = FakeCache(CLOSURES, held={OTHER, LIBC})
    push = Push(cache, OTHER, APP, ask_first=True)
    assert ("push", (APP,)) in cache.log
    assert push.statuses()[OTHER] is Status.PRESENT
    assert push.result.ok
    again = Push(cache, OTHER, APP, ask_first=True)
    assert [call for call, _ in cache.log].count("push") == 1
    assert again.result.counts["present"] == 2


def test_one_failed_path_stops_only_what_refers_to_it_and_both_are_told() -> None:
    push = Push(FakeCache(CLOSURES, failing={LIB: FailureClass.TOO_LARGE}), APP, OTHER)
    assert push.statuses() == {
        APP: Status.NOT_TRIED,
        OTHER: Status.OK,
        LIBC: Status.OK,
        LIB: Status.FAILED,
    }
    with pytest.raises(StepFailedError, match="1 of 4 paths did not get into cache ci, 1 was not tried") as raised:
        push.result.raise_if_failed()
    assert raised.value.why == f"{LIB} (1.0 MiB): the server said too-large"
    assert raised.value.hint == "mend too-large"
    assert [line for line in push.said.split("\n") if line and "pushing" not in line] == [
        "too-large: 1 path",
        f"  {LIB} (1.0 MiB): the server said too-large",
        "  hint: mend too-large",
        "not tried: 1 path",
        f"  {APP} (1.0 MiB): it refers to what failed",
        "cache ci: 2 pushed, 0 already there, 1 failed, 1 not tried; 3.0 MiB sent, 75 % saved, 14 s",
    ]


def test_nothing_is_waited_for_where_something_failed() -> None:
    cache = FakeCache(CLOSURES, failing={LIB: FailureClass.SERVER})
    Push(cache)
    assert "wait" not in [call for call, _ in cache.log]


def test_what_is_accepted_and_not_served_is_a_failure_of_just_that_root() -> None:
    push = Push(FakeCache(CLOSURES, losing=frozenset({APP})), APP, OTHER)
    assert push.statuses()[APP] is Status.FAILED
    assert push.statuses()[OTHER] is Status.OK
    assert push.result.counts["failed"] == 1
    assert next(item for item in push.result.items if item.name == APP).failure_class == "lost"
    with pytest.raises(StepFailedError, match="does not serve what was pushed"):
        push.result.raise_if_failed()


def test_what_upstream_has_is_not_waited_for() -> None:
    cache = FakeCache(CLOSURES, upstream=frozenset({LIBC}))
    Push(cache, APP, LIBC).result.raise_if_failed()
    assert ("wait", (APP,)) in cache.log


@pytest.mark.parametrize("kind", [StepFailedError, TransientError])
def test_a_push_that_cannot_begin_fails_what_was_asked_for(kind: type[PipelinegenError]) -> None:
    cache = FakeCache(CLOSURES, held={OTHER, LIBC}, broken=kind("no", why="because", hint="do"))
    push = Push(cache, APP, OTHER, ask_first=True)
    assert push.statuses() == {APP: Status.FAILED, OTHER: Status.PRESENT}
    assert (push.result.counts["failed"], push.result.counts["present"]) == (1, 1)
    assert "1 already there, 1 failed" in push.said
    with pytest.raises(kind, match="no") as raised:
        push.result.raise_if_failed()
    assert (raised.value.why, raised.value.hint) == ("because", "do")


def test_refused_credentials_are_raised_and_recorded() -> None:
    push = Push(FakeCache(CLOSURES, broken=CredentialsError("token expired")))
    assert isinstance(push.raised, CredentialsError)
    assert push.result.credentials
    assert push.statuses() == {APP: Status.FAILED}
    with pytest.raises(CredentialsError, match="token expired"):
        push.result.raise_if_failed()


def test_an_interrupted_push_says_how_far_it_was_and_claims_no_failure() -> None:
    cache = FakeCache(CLOSURES, dies_after=2, death=InterruptedRunError(15))
    push = Push(cache)
    assert isinstance(push.raised, InterruptedRunError)
    assert (push.result.counts["done"], push.result.counts["to_send"]) == (2, 3)
    assert push.result.message == "interrupted"
    assert push.statuses() == {APP: Status.NOT_TRIED}
    assert push.result.counts["failed"] == 0
    assert "interrupted; the next push goes on from there" in push.said
    cache.dies_after = None
    again = Push(cache)
    assert (again.result.counts["pushed"], again.result.counts["present"]) == (1, 2)


def test_what_was_there_before_is_touched_when_asked_for() -> None:
    cache = FakeCache(CLOSURES, held={LIB, LIBC})
    push = Push(cache, touch=True)
    assert ("touch", tuple(sorted([LIB, LIBC]))) in cache.log
    assert push.result.counts["touched"] == 2
    assert "2 touched" in push.said
    assert "touched" not in Push(cache).result.counts


def test_a_push_to_an_empty_cache_has_nothing_to_touch() -> None:
    cache = FakeCache(CLOSURES)
    assert Push(cache, touch=True).result.counts["touched"] == 0
    assert "touch" not in [call for call, _ in cache.log]


def test_paths_that_cannot_be_touched_fail_a_push_that_went_well() -> None:
    cache = FakeCache(CLOSURES, held={LIBC}, touch_error=TransientError("away"))
    with pytest.raises(TransientError, match="away"):
        Push(cache, touch=True).result.raise_if_failed()


def test_a_push_that_failed_says_so_even_where_touching_failed_as_well() -> None:
    cache = FakeCache(
        CLOSURES, held={LIBC}, failing={LIB: FailureClass.TOO_LARGE}, touch_error=CredentialsError("no pull", why="x")
    )
    push = Push(cache, touch=True)
    with pytest.raises(StepFailedError, match="did not get into cache ci"):
        push.result.raise_if_failed()
    assert "warning: no pull: x" in push.said


def test_what_a_server_says_cannot_forge_lines_of_the_log() -> None:
    class Forger(FakeCache):
        def push(self, *arguments: object, **options: object):  # type: ignore[no-untyped-def]
            report = super().push(*arguments, **options)  # type: ignore[arg-type]
            told = report.paths[0].model_copy(update={"message": "x\x1b[2J\r\nsection_start:1:y"})
            return report.model_copy(update={"paths": (told, *report.paths[1:])})

    said = Push(Forger(CLOSURES, failing=dict.fromkeys([APP, LIB, LIBC, OTHER], FailureClass.REFUSED))).said
    assert "\x1b" not in said
    assert "section_start" not in said
