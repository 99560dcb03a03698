"""What an examination finds, as values. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from pipelinegen.values import Value

FORMAT_VERSION = "1.0"


class Status(enum.StrEnum):
    """How it is with one thing."""

    OK = "ok"
    SKIPPED = "skipped"
    """It was not looked at: nothing here needs it, or it was not to be asked."""
    WARNING = "warning"
    PROBLEM = "problem"


class Check(Value):
    """One line of the checklist.

    Attributes:
        name: what was looked at, such as `build sandbox`; stable, for programs.
        message: what was found, without a full stop.
        hint: what to do about it.
        missing_tool: whether the problem is a program that is needed and not there.
    """

    name: str
    status: Status
    message: str
    hint: str | None = None
    missing_tool: bool = False


def ok(name: str, message: str) -> Check:
    """Nothing to do."""
    return Check(name=name, status=Status.OK, message=message)


def skipped(name: str, message: str) -> Check:
    """Not looked at, with the reason."""
    return Check(name=name, status=Status.SKIPPED, message=message)


def warning(name: str, message: str, hint: str | None = None) -> Check:
    """It works, and somebody should know."""
    return Check(name=name, status=Status.WARNING, message=message, hint=hint)


def problem(name: str, message: str, hint: str | None = None) -> Check:
    """Jobs will fail, or be unsafe."""
    return Check(name=name, status=Status.PROBLEM, message=message, hint=hint)


def missing(name: str, message: str, hint: str | None = None) -> Check:
    """A program that is needed and not there."""
    return Check(name=name, status=Status.PROBLEM, message=message, hint=hint, missing_tool=True)


def exit_code(checks: Iterable[Check]) -> int:
    """5 where a needed tool is missing, else 1 where there is a problem, else 0."""
    found = [check for check in checks if check.status is Status.PROBLEM]
    return 5 if any(check.missing_tool for check in found) else int(bool(found))
