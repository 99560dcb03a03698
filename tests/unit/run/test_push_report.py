"""What a push came to: which error, which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.cache.model import FailureClass, Outcome, PathReport, PushReport
from pipelinegen.errors import CredentialsError, PipelinegenError, StepFailedError, TransientError
from pipelinegen.run import push_report
from pipelinegen.run.push_report import Course
from tests.unit.run.fake_cache import path

C = FailureClass
PASSING = [one for one in FailureClass if not one.permanent]
FINAL = [one for one in FailureClass if one.permanent and one not in {C.UNAUTHORIZED, C.FORBIDDEN}]


def failed(*kinds: FailureClass | None, **fields: object) -> list[PathReport]:
    return [
        PathReport.model_validate(
            {"path": path(f"f{number}"), "outcome": Outcome.FAILED, "failure": kind, "message": f"because {kind}"}
            | fields
        )
        for number, kind in enumerate(kinds)
    ]


def report(*paths: PathReport) -> PushReport:
    return PushReport(paths=(*paths, PathReport(path=path("good"), outcome=Outcome.PUSHED, nar_bytes=100)))


WAITING = PathReport(path=path("waiting"), outcome=Outcome.NOT_TRIED, message="it refers to what failed")


@pytest.mark.parametrize(
    ("paths", "kind", "code"),
    [
        pytest.param(failed(C.UNAUTHORIZED), CredentialsError, 4, id="no token"),
        pytest.param(failed(C.FORBIDDEN), CredentialsError, 4, id="a token too narrow"),
        pytest.param(failed(C.TOO_LARGE, C.FORBIDDEN, C.BUSY), CredentialsError, 4, id="credentials among others"),
        *(pytest.param(failed(one), StepFailedError, 1, id=one.value) for one in FINAL),
        *(pytest.param(failed(one), TransientError, 75, id=one.value) for one in PASSING),
        pytest.param(failed(*PASSING), TransientError, 75, id="everything may pass"),
        pytest.param(failed(C.BUSY, C.TOO_LARGE), StepFailedError, 1, id="one of two may pass"),
        pytest.param(failed(None), StepFailedError, 1, id="no class"),
        pytest.param([*failed(C.STALLED), WAITING], TransientError, 75, id="waiting for what may pass"),
        pytest.param([*failed(C.LOCAL), WAITING], StepFailedError, 1, id="waiting for what may not"),
        pytest.param([WAITING], TransientError, 75, id="nothing failed and not everything was tried"),
    ],
)
def test_the_error_follows_from_the_classes(paths: list[PathReport], kind: type[PipelinegenError], code: int) -> None:
    error = push_report.verdict("ci", report(*paths))
    assert type(error) is kind
    assert error.exit_code == code


def test_a_push_of_which_everything_is_there_has_no_error() -> None:
    there = [
        PathReport(path=path(one.value), outcome=one)
        for one in Outcome
        if one not in {Outcome.FAILED, Outcome.NOT_TRIED}
    ]
    assert push_report.verdict("ci", PushReport(paths=tuple(there))) is None
    assert push_report.verdict("ci", PushReport()) is None


def test_the_error_tells_of_the_path_that_decides_it() -> None:
    error = push_report.verdict("ci", report(*failed(C.BUSY, C.TOO_LARGE, hint="go round it")))
    assert error is not None
    assert error.message == "2 of 3 paths did not get into cache ci"
    assert error.why is not None
    assert "because too-large" in error.why
    assert error.hint == "go round it"


def test_only_what_the_cache_denies_is_lost_and_what_it_cannot_tell_of_failed_too() -> None:
    there, denied, unknown = (PathReport(path=path(name), outcome=Outcome.PUSHED) for name in ("a", "b", "c"))
    answers = {there.path: True, denied.path: False, unknown.path: None}
    error = StepFailedError("it does not serve it", hint="mend it")
    seen = push_report.not_served(report(there, denied, unknown), answers, error).paths
    assert [(one.outcome, one.failure, one.hint) for one in seen] == [
        (Outcome.PUSHED, None, None),
        (Outcome.FAILED, C.LOST, "mend it"),
        (Outcome.FAILED, None, "mend it"),
        (Outcome.PUSHED, None, None),
    ]


def lines(*paths: PathReport) -> list[str]:
    return list(push_report.failures(report(*paths)))


def test_failures_are_told_by_class_with_the_first_few_paths() -> None:
    many = failed(*[C.SERVER] * 7, message="500", hint="look at its log", nar_bytes=3 << 30)
    assert lines(*many, *failed(C.BUSY, message="429")) == [
        "busy: 1 path",
        f"  {path('f0')} (0 B): 429",
        "server: 7 paths",
        *(f"  {path(f'f{number}')} (3.0 GiB)" for number in range(5)),
        "  … and 2 more",
        "  why: 500",
        "  hint: look at its log",
    ]


def test_where_each_path_has_a_sentence_of_its_own_it_stands_with_the_path() -> None:
    one, two = failed(C.TOO_LARGE, C.TOO_LARGE)
    told = one.model_copy(update={"message": f"a proxy refuses {one.path} with 3.0 MiB"})
    assert lines(told, two) == [
        "too-large: 2 paths",
        f"  a proxy refuses {one.path} with 3.0 MiB",
        f"  {two.path} (0 B): because too-large",
    ]


def test_nothing_is_told_of_a_push_without_failures() -> None:
    assert lines() == []


def pushed(outcome: Outcome, nar: int, stored: int | None) -> PathReport:
    return PathReport(path=path(f"{outcome.value}{nar}"), outcome=outcome, nar_bytes=nar, stored_bytes=stored)


@pytest.mark.parametrize(
    ("paths", "share"),
    [
        pytest.param([], None, id="nothing pushed"),
        pytest.param([pushed(Outcome.PUSHED, 100, None)], None, id="a server that does not say"),
        pytest.param([pushed(Outcome.PUSHED, 100, 38)], 0.62, id="packed"),
        pytest.param([pushed(Outcome.PUSHED, 100, 38), pushed(Outcome.PUSHED, 900, None)], 0.62, id="said of one"),
        pytest.param(
            [pushed(Outcome.PUSHED, 100, 100), pushed(Outcome.DEDUPLICATED, 100, None)], 0.5, id="a duplicate"
        ),
        pytest.param([pushed(Outcome.PUSHED, 100, 110)], -0.1, id="packing made it larger"),
        pytest.param([pushed(Outcome.PRESENT, 100, 10)], None, id="there before"),
        pytest.param([pushed(Outcome.PUSHED, 0, 10)], None, id="no size"),
    ],
)
def test_the_saved_share_counts_what_the_server_says(paths: list[PathReport], share: float | None) -> None:
    assert push_report.saved(PushReport(paths=tuple(paths))) == share


def test_a_result_leaves_out_what_nobody_said() -> None:
    course = Course("ci", (path("good"),), report())
    result = push_report.step_result(course, 2.0)
    assert "stored_bytes" not in result.counts
    assert "touched" not in result.counts
    assert push_report.summary(result) == "cache ci: 1 pushed, 0 already there; 2.0 s"


def test_retries_are_the_attempts_after_the_first() -> None:
    tried = failed(C.BUSY, C.BUSY, attempts=3)
    result = push_report.step_result(Course("ci", (path("good"),), report(*tried)), 2.0)
    assert (result.counts["attempts"], result.counts["retries"]) == (6, 4)
    assert "4 retries" in push_report.summary(result)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (85 << 20, "85 MiB"),
        (2 << 30, "2.0 GiB"),
        (5000 << 30, "5000.0 GiB"),
    ],
)
def test_sizes_are_told_in_the_unit_that_people_read(number: int, text: str) -> None:
    assert push_report.size(number) == text


@pytest.mark.parametrize("kind", FailureClass)
def test_every_class_of_failures_is_explained_in_the_documentation(kind: FailureClass) -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "read-a-push-report.md"
    assert f"`{kind.value}`" in page.read_text("utf-8")
