"""What a step came to, as a value, and the files that say so."""

from __future__ import annotations

import enum
import re
from pathlib import Path

from pydantic import Field

from pipelinegen import files
from pipelinegen.errors import StepFailedError, TransientError
from pipelinegen.run import junit
from pipelinegen.values import Value

FORMAT_VERSION = "1.0"

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
    """

    name: str
    status: Status
    seconds: float | None = None
    message: str | None = None
    log: tuple[str, ...] = ()


class StepResult(Value):
    """A step and its items.

    Attributes:
        step: `build`, `test` or `push`.
        what: name of the job, cache or command.
        seconds: how long the step took.
        items: sorted as they were asked for.
        built: derivations that were built here (not fetched), in the order they finished.
        counts: numbers worth telling, by name.
        message: what went wrong, one sentence; null where nothing did.
        why: the cause, where it is known.
        hint: what to do next.
        transient: whether a second try may go better.
    """

    format_version: str = FORMAT_VERSION
    step: str
    what: str
    seconds: float
    items: tuple[ItemResult, ...] = ()
    built: tuple[str, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    message: str | None = None
    why: str | None = None
    hint: str | None = None
    transient: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is done."""
        return self.message is None

    def raise_if_failed(self) -> None:
        """Turn a failure into the error that ends the command.

        Raises:
            StepFailedError: the answer is no.
            TransientError: it is no, and a second try may go better.
        """
        if self.message is not None:
            kind = TransientError if self.transient else StepFailedError
            raise kind(self.message, where=self.what, why=self.why, hint=self.hint)


class Reports(Value):
    """Files that a step writes when it ends, also when it ends badly; null means none.

    `times` is written by builds alone, as soon as they end (`run.times`).
    """

    junit: Path | None = None
    json_file: Path | None = None
    times: Path | None = None

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
            ]
            # Job names begin with their stage already.
            suite = result.what if result.what.startswith(result.step) else f"{result.step} {result.what}"
            files.write_atomic(self.junit, junit.to_xml(suite, cases, result.seconds))


def _short(name: str) -> str:
    """A store path without its hash: GitLab compares test cases of two pipelines by their names."""
    return _STORE_PATH.sub("", name).removesuffix(".drv")
