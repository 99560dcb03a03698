"""What a step came to, as a value, and the files that say so."""

from __future__ import annotations

import enum
import re
from pathlib import Path

from pydantic import Field

from pipelinegen import files
from pipelinegen.errors import CredentialsError, StepFailedError, TransientError
from pipelinegen.run import junit, metrics
from pipelinegen.values import Value

FORMAT_VERSION = "1.1"

_STORE_PATH = re.compile(r"^/.*/[0-9a-df-np-sv-z]{32}-")


class Status(enum.StrEnum):
    """How one item ended."""

    OK = "ok"
    FAILED = "failed"
    NOT_TRIED = "not-tried"
    """Something it depends on failed."""
    PRESENT = "present"
    """There was nothing to do."""


class ItemResult(Value):
    """One derivation, path or command of a step.

    Attributes:
        name: store path, attribute path or name of a command.
        status: how it ended.
        seconds: how long it took, where that is known.
        message: why it failed, one sentence; null otherwise.
        log: the last lines of its log, cleaned.
        asked: whether somebody named it; false: it came along with the closure of what was named.
        outcome: pushes: what became of it, in the words of `cache.model.Outcome`.
        failure_class: failed pushes: why, in the words of `cache.model.FailureClass`.
        hint: what to do about a failure.
        attempts: pushes: uploads begun.
        bytes: pushes: its size as an archive.
        sent_bytes: pushes: bytes that left here for it, all attempts together.
        stored_bytes: pushes: what the server stored for it; null where it does not say so.
    """

    name: str
    status: Status
    seconds: float | None = None
    message: str | None = None
    log: tuple[str, ...] = ()
    asked: bool = True
    outcome: str | None = None
    failure_class: str | None = None
    hint: str | None = None
    attempts: int | None = None
    bytes: int | None = None
    sent_bytes: int | None = None
    stored_bytes: int | None = None


class StepResult(Value):
    """A step and its items.

    Attributes:
        step: `build`, `test` or `push`.
        what: name of the job, cache or command.
        seconds: how long the step took.
        items: sorted as they were asked for.
        built: derivations that were built here (not fetched), in the order they finished.
        counts: numbers worth telling, by name.
        saved: pushes: the share of what was pushed that the cache need not store, between 0 and 1, where it
            says what it stored. It is below 0 where packing made more of it.
        message: what went wrong, one sentence; null where nothing did.
        why: the cause, where it is known.
        hint: what to do next.
        transient: whether a second try may go better.
        credentials: whether it failed because credentials are missing or refused.
    """

    format_version: str = FORMAT_VERSION
    step: str
    what: str
    seconds: float
    items: tuple[ItemResult, ...] = ()
    built: tuple[str, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    saved: float | None = None
    message: str | None = None
    why: str | None = None
    hint: str | None = None
    transient: bool = False
    credentials: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is done."""
        return self.message is None

    def raise_if_failed(self) -> None:
        """Turn a failure into the error that ends the command.

        Raises:
            StepFailedError: the answer is no.
            CredentialsError: it is no, for want of credentials that are good for this.
            TransientError: it is no, and a second try may go better.
        """
        if self.message is not None:
            kind = CredentialsError if self.credentials else TransientError if self.transient else StepFailedError
            raise kind(self.message, where=self.what, why=self.why, hint=self.hint)


class Reports(Value):
    """Files that a step writes when it ends, also when it ends badly; null means none.

    `times` is written by builds alone, as soon as they end (`run.times`), `metrics` by pushes alone.
    """

    junit: Path | None = None
    json_file: Path | None = None
    times: Path | None = None
    metrics: Path | None = None

    def write(self, result: StepResult) -> None:
        """Write what is asked for, each file in one step.

        Raises:
            ToolError: a file cannot be written.
        """
        if self.json_file is not None:
            files.write_atomic(self.json_file, result.model_dump_json(indent=2) + "\n")
        if self.junit is not None:
            cases = [
                junit.Case(
                    name=_short(item.name),
                    seconds=item.seconds or 0.0,
                    failure=(item.message or "failed") if item.status is Status.FAILED else None,
                    skipped=(item.message or "not tried") if item.status is Status.NOT_TRIED else None,
                    output="\n".join(item.log),
                )
                for item in result.items
                # A closure has thousands of paths; those with which all is well are told by what they came with.
                if item.asked or item.status in {Status.FAILED, Status.NOT_TRIED}
            ]
            # Job names begin with their stage already.
            suite = result.what if result.what.startswith(result.step) else f"{result.step} {result.what}"
            files.write_atomic(self.junit, junit.to_xml(suite, cases, result.seconds))
        if self.metrics is not None and result.step == "push":
            failures = [item.failure_class or "unknown" for item in result.items if item.status is Status.FAILED]
            text = metrics.of_push(
                result.what, result.counts, failures=failures, seconds=result.seconds, saved=result.saved
            )
            files.write_atomic(self.metrics, text)


def _short(name: str) -> str:
    """A store path without its hash: GitLab compares test cases of two pipelines by their names."""
    return _STORE_PATH.sub("", name).removesuffix(".drv")
