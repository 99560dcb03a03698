"""Options that several commands share, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipelinegen.cli.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from pipelinegen.cache.trust import PipelineClass
    from pipelinegen.run.result import Reports

F = TypeVar("F", bound=Callable[..., Any])

CLASSES = ("protected", "unprotected", "fork")
"""`cache.trust.PipelineClass`, which would take long to import."""


def class_option(function: F) -> F:
    """Add --class."""
    return click.option(
        "--class",
        "kind",
        type=click.Choice(CLASSES),
        help="Whom the pipeline trusts: `protected` believes only caches that protected pipelines write; `fork` "
        "writes to none.  [default: what GitLab says; elsewhere `protected` to deploy, else `unprotected`]",
    )(function)


def handoff_option(function: F) -> F:
    """Add --handoff."""
    return click.option(
        "--handoff",
        metavar="DIR",
        help="Folder that `generate` wrote; PIPELINEGEN_HANDOFF wins over it.  [default: .pipelinegen]",
    )(function)


def report_options(function: F) -> F:
    """Add --junit and --report."""
    function = click.option("--junit", type=click.Path(dir_okay=False), help="Write a JUnit report.")(function)
    return click.option("--report", type=click.Path(dir_okay=False), help="Write a JSON report.")(function)


def times_option(function: F) -> F:
    """Add --times-dir."""
    return click.option(
        "--times-dir",
        type=click.Path(file_okay=False),
        help="Write how long each derivation took that was built to a file of this job in that folder.",
    )(function)


def reports(session: Session, junit: str | None, report: str | None, metrics: str | None = None) -> Reports:
    """The files that were named, as the working folder has them."""
    from pipelinegen.run.result import Reports

    return Reports(junit=place(session, junit), json_file=place(session, report), metrics=place(session, metrics))


def place(session: Session, file: str | None) -> Path | None:
    """A file that an option names, which means one below the working folder; null where it names none."""
    return session.directory / file if file else None


def trusted_class(session: Session, named: str | None, by_hand: str = "unprotected") -> PipelineClass:
    """The class that was named, else what GitLab's variables say; outside of CI `by_hand`."""
    from pipelinegen.cache.trust import PipelineClass, pipeline_class

    if named is not None:
        return PipelineClass(named)
    kind = pipeline_class(session.env) if session.env.in_ci else PipelineClass(by_hand)
    session.console.say(f"trusting caches as pipelines of class {kind} do (--class)")
    return kind
