"""What a push came to: counts, items, the error it ends with, and what people are told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipelinegen.cache.model import Answers, FailureClass, Outcome, PathReport, PushError, PushProgress, PushReport
from pipelinegen.errors import (
    CredentialsError,
    InterruptedRunError,
    PipelinegenError,
    StepFailedError,
    TransientError,
)
from pipelinegen.run.heartbeat import duration
from pipelinegen.run.result import ItemResult, Status, StepResult

SHOWN = 5
"""Paths of one kind that are named in the log; the report has all."""

_REFUSED = (FailureClass.UNAUTHORIZED, FailureClass.FORBIDDEN)
_STATUS = {
    Outcome.PUSHED: Status.OK,
    Outcome.DEDUPLICATED: Status.OK,
    Outcome.PRESENT: Status.PRESENT,
    Outcome.UPSTREAM: Status.PRESENT,
    Outcome.FAILED: Status.FAILED,
    Outcome.NOT_TRIED: Status.NOT_TRIED,
}


@dataclass(frozen=True)
class Course:
    """How a push went, as far as it is known.

    Attributes:
        cache: its name in the configuration.
        wanted: the paths that were asked for, each once.
        report: what became of each path; of a push that did not end, what was known beforehand.
        progress: how far it was when it was last heard of.
        stopped: what ended it before its end, or was found wrong after it.
        touched: paths that were fetched so that the cache keeps them; null where that was not asked for.
    """

    cache: str
    wanted: tuple[str, ...]
    report: PushReport = field(default_factory=PushReport)
    progress: PushProgress | None = None
    stopped: PipelinegenError | None = None
    touched: int | None = None

    @property
    def error(self) -> PipelinegenError | None:
        """What the push failed with; null where it did not."""
        return self.stopped or verdict(self.cache, self.report)


def verdict(cache: str, report: PushReport) -> PushError | None:
    """The error that a push with this report ends with; null where everything is there.

    Refused credentials go before everything else: they must be mended first, and say so by an exit code of
    their own. Otherwise a second try is worth it only where it may cure every failure. Paths that were not
    tried are cured with what they wait for.
    """
    if report.ok:
        return None
    failed, skipped = report.of(Outcome.FAILED), report.of(Outcome.NOT_TRIED)
    deciding = next((one for one in failed if one.failure in _REFUSED), None)
    kind: type[PushError] = CredentialsError
    if deciding is None:
        # A failure of no class is none of which it is known that it may pass.
        deciding = next((one for one in failed if one.failure is None or one.failure.permanent), None)
        kind = TransientError if deciding is None else StepFailedError
    deciding = deciding or (failed or skipped)[0]
    message = f"{len(failed) or len(skipped)} of {_paths(len(report.paths))} did not get into cache {cache}"
    if failed and skipped:
        message += f", {len(skipped)} {'was' if len(skipped) == 1 else 'were'} not tried"
    return kind(message, why=_told(deciding), hint=deciding.hint)


def not_served(report: PushReport, answers: Answers, error: PushError) -> PushReport:
    """`report` after the cache, asked again, gave these `answers`: what it cannot tell of is of no known class."""

    def told(one: PathReport) -> PathReport:
        answer = answers.get(one.path, True)
        lost = FailureClass.LOST if answer is False else None
        failed = {"outcome": Outcome.FAILED, "failure": lost, "message": error.message, "hint": error.hint}
        return one if answer else one.model_copy(update=failed)

    return report.model_copy(update={"paths": tuple(told(one) for one in report.paths)})


def with_present(report: PushReport, paths: Iterable[str]) -> PushReport:
    """`report` and these paths, which the cache held already."""
    known = {one.path: one for one in report.paths}
    for path in paths:
        known.setdefault(path, PathReport(path=path, outcome=Outcome.PRESENT))
    return report.model_copy(update={"paths": tuple(known[path] for path in sorted(known))})


def saved(report: PushReport) -> float | None:
    """The share of the pushed archives that the server need not store; null where it does not say."""
    told = [one for one in report.of(Outcome.PUSHED, Outcome.DEDUPLICATED) if _stored(one) is not None]
    archives = sum(one.nar_bytes for one in told)
    return round(1 - sum(_stored(one) or 0 for one in told) / archives, 4) if archives else None


def _stored(one: PathReport) -> int | None:
    # That it is a duplicate says that nothing was stored.
    return 0 if one.outcome is Outcome.DEDUPLICATED and one.stored_bytes is None else one.stored_bytes


def counts(course: Course) -> dict[str, int]:
    """Numbers of the push; `pushed` and `deduplicated` count different paths. Bytes are of those two."""
    report = course.report
    told = {one.value.replace("-", "_"): len(report.of(one)) for one in Outcome}
    arrived = report.of(Outcome.PUSHED, Outcome.DEDUPLICATED)
    told["attempts"] = sum(one.attempts for one in report.paths)
    told["retries"] = sum(max(one.attempts - 1, 0) for one in report.paths)
    told["bytes"] = sum(one.nar_bytes for one in arrived)
    told["sent_bytes"] = sum(one.sent_bytes for one in report.paths)
    stored = [size for one in arrived if (size := _stored(one)) is not None]
    if stored:
        told["stored_bytes"] = sum(stored)
    told["verified"] = report.verified
    if course.touched is not None:
        told["touched"] = course.touched
    if isinstance(course.stopped, InterruptedRunError) and course.progress is not None:
        told["done"], told["to_send"] = course.progress.paths_done, course.progress.paths
        told["retries"] = max(told["retries"], course.progress.retries)
    return told


def accounted(course: Course) -> Course:
    """`course` with a record of each path that was asked for, also where the push did not come to its end."""
    known = {one.path for one in course.report.paths}
    untold = [_untold(path, course.stopped) for path in course.wanted if path not in known]
    paths = sorted([*course.report.paths, *untold], key=lambda one: one.path)
    return replace(course, report=course.report.model_copy(update={"paths": tuple(paths)}))


def _untold(path: str, stopped: PipelinegenError | None) -> PathReport:
    # It may have arrived all the same; the next push sees that.
    if stopped is None or isinstance(stopped, InterruptedRunError):
        why = f"{stopped.message} before it was known to be there" if stopped else "nothing is known of it"
        return PathReport(path=path, outcome=Outcome.NOT_TRIED, message=why)
    return PathReport(path=path, outcome=Outcome.FAILED, message=stopped.message, hint=stopped.hint)


def items(course: Course) -> tuple[ItemResult, ...]:
    """What was asked for, in that order, then the rest of its closures."""
    known = {one.path: one for one in course.report.paths}
    asked = set(course.wanted)
    first = [_item(known[path]) for path in course.wanted]
    return (*first, *(_item(one, asked=False) for path, one in known.items() if path not in asked))


def _item(one: PathReport, *, asked: bool = True) -> ItemResult:
    return ItemResult(
        name=one.path,
        status=_STATUS[one.outcome],
        seconds=one.seconds,
        message=one.message,
        asked=asked,
        outcome=one.outcome.value,
        failure_class=one.failure.value if one.failure else None,
        hint=one.hint,
        attempts=one.attempts,
        bytes=one.nar_bytes,
        sent_bytes=one.sent_bytes,
        stored_bytes=one.stored_bytes,
    )


def step_result(course: Course, seconds: float) -> StepResult:
    """The record of the push."""
    error, course = course.error, accounted(course)
    return StepResult(
        step="push",
        what=course.cache,
        seconds=seconds,
        items=items(course),
        counts=counts(course),
        saved=saved(course.report),
        message=error.message if error else None,
        why="\n".join(part for part in (error.why, error.where) if part) or None if error else None,
        hint=error.hint if error else None,
        transient=isinstance(error, TransientError),
        credentials=isinstance(error, CredentialsError),
    )


def summary(result: StepResult) -> str:
    """One line for people with the totals of a push."""
    numbers = result.counts
    arrived = numbers["pushed"] + numbers["deduplicated"]
    parts = [f"{arrived} pushed" + (f" ({numbers['deduplicated']} deduplicated)" if numbers["deduplicated"] else "")]
    parts.append(f"{numbers['present']} already there")
    for key, words in (("upstream", "left to upstream"), ("failed", "failed"), ("not_tried", "not tried")):
        if numbers[key]:
            parts.append(f"{numbers[key]} {words}")
    if numbers.get("touched"):
        parts.append(f"{numbers['touched']} touched")
    costs = [f"{size(numbers['sent_bytes'])} sent"] if numbers["sent_bytes"] else []
    if result.saved is not None and result.saved >= 0.005:
        costs.append(f"{result.saved * 100:.0f} % saved")
    if numbers["retries"]:
        costs.append(f"{numbers['retries']} {'retry' if numbers['retries'] == 1 else 'retries'}")
    return f"cache {result.what}: {', '.join(parts)}; {', '.join([*costs, duration(result.seconds)])}"


def failures(report: PushReport) -> Iterator[str]:
    """Lines for people about what is not in the cache: a block for each class, then what was not tried."""
    failed = report.of(Outcome.FAILED)
    for kind in sorted({one.failure.value if one.failure else "" for one in failed}):
        block = [one for one in failed if (one.failure.value if one.failure else "") == kind]
        yield from _block(f"{kind or 'failed'}: {_paths(len(block))}", block)
    if skipped := report.of(Outcome.NOT_TRIED):
        yield from _block(f"not tried: {_paths(len(skipped))}", skipped)


def _block(title: str, block: Sequence[PathReport]) -> Iterator[str]:
    yield title
    sentences = list(dict.fromkeys(one.message for one in block if one.message))
    shared = len(block) > 1 and len(sentences) == 1
    for one in block[:SHOWN]:
        yield "  " + (f"{one.path} ({size(one.nar_bytes)})" if shared else _told(one))
    if len(block) > SHOWN:
        yield f"  … and {len(block) - SHOWN} more"
    if shared:
        yield f"  why: {sentences[0]}"
    for hint in list(dict.fromkeys(one.hint for one in block if one.hint))[:SHOWN]:
        yield f"  hint: {hint}"


def _told(one: PathReport) -> str:
    about = one.message or "nothing is known of why"
    return about if one.path in about else f"{one.path} ({size(one.nar_bytes)}): {about}"


def size(number: int) -> str:
    """`512 B`, `1.5 KiB`, `85 MiB`, `2.0 GiB`."""
    value = float(number)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def _paths(number: int) -> str:
    return f"{number} path{'' if number == 1 else 's'}"
