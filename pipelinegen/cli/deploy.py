"""`pipelinegen run deploy`: bring a host to a system or a generation, or leave it as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pipelinegen.cli.options import class_option, place, trusted_class
from pipelinegen.cli.session import Session, open_session

if TYPE_CHECKING:
    from pipelinegen.deploy.generations import Wanted
    from pipelinegen.deploy.report_files import ReportFiles

ACTIONS = ("switch", "boot", "test", "dry-activate", "reboot")
"""`deploy.report.Action`, which would take long to import."""


def _generation(_: click.Context, __: click.Parameter, value: str | None) -> Wanted | None:
    """A generation's number, or `previous`."""
    if value is None or value == "previous":
        return value  # type: ignore[return-value]  # the word itself
    if re.fullmatch(r"[1-9][0-9]{0,8}", value):
        return int(value)
    raise click.BadParameter(f"{value!r} is no generation's number; HOST comes before a bare --rollback")


def settings_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --settings."""
    return click.option(
        "--settings",
        metavar="JSON",
        help="Keys of [hosts.HOST] as a JSON object; they win over those of the configuration, which need not have "
        "the host.",
    )(function)


@click.command(
    "deploy",
    help="Bring HOST to a system or to one of its generations, or leave it as it was, and say which.\n\n"
    "GitLab's buttons to deploy again and to roll back an environment run an OLD job once more. Where the host runs a "
    'later commit, such a job is refused unless on_newer = "warn" is set for the host, --allow-older is given, or the '
    "job gets the variable PIPELINEGEN_ALLOW_OLDER=1. --rollback needs none of these.",
)
@click.argument("host")
@click.option("--system", metavar="PATH", help="Store path of the system (its toplevel).")
@click.option(
    "--rollback",
    callback=_generation,
    is_flag=False,
    flag_value="previous",
    metavar="[GENERATION]",
    help="Instead of --system: the generation of this number (see `pipelinegen generations`), or the one before the "
    "system that runs. A second bare --rollback comes back to where the first one began.",
)
@click.option(
    "--undo",
    type=click.Path(dir_okay=False),
    metavar="REPORT",
    help="Instead of --system: the generation from before the deployment of this JSON report. Nothing is done where "
    "that did not end well, or the host has another system by now.",
)
@click.option(
    "--action",
    type=click.Choice(ACTIONS),
    help="switch: now and at boot; boot: at the next boot; test: until the next boot; dry-activate: only say what "
    "would be done; reboot: at boot, and reboot and wait.  [default: `action` of the host]",
)
@click.option("--dry-run", is_flag=True, help="Stop after the checks that change nothing.")
@click.option("--allow-older", is_flag=True, help="Deploy also where the host runs a system of a later commit.")
@click.option(
    "--timeout",
    metavar="DURATION",
    help="Time of the whole deployment, such as '20 minutes'.  [default: `timeout` of the host]",
)
@click.option(
    "--revision", metavar="SHA", help="The commit that the system was made of.  [default: CI_COMMIT_SHA, if set]"
)
@settings_option
@class_option
@click.option("--report", type=click.Path(dir_okay=False), help="Write a JSON report.")
@click.option("--markdown", type=click.Path(dir_okay=False), help="Write a report in Markdown.")
@click.option("--junit", type=click.Path(dir_okay=False), help="Write a JUnit report.")
@click.option("--metrics", type=click.Path(dir_okay=False), help="Write metrics in OpenMetrics' text format.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    host: str,
    system: str | None,
    rollback: Wanted | None,
    undo: str | None,
    action: str | None,
    *,
    dry_run: bool,
    allow_older: bool,
    timeout: str | None,
    revision: str | None,
    settings: str | None,
    kind: str | None,
    report: str | None,
    markdown: str | None,
    junit: str | None,
    metrics: str | None,
) -> None:
    """Deploy one host."""
    from pipelinegen.changes.newer import Newer
    from pipelinegen.cli.metrics import sent
    from pipelinegen.config_file import with_host
    from pipelinegen.deploy.deployment import run_deploy
    from pipelinegen.deploy.tell_gitlab import tell_gitlab
    from pipelinegen.deploy.undo import find_way_back
    from pipelinegen.process import interruptible

    _refuse_nonsense(system, rollback, action, revision, dry_run=dry_run, undo=undo)
    seconds = _seconds(timeout)
    session = open_session(ctx)
    files = _files(session, report, markdown, junit, metrics)
    if undo is None:
        # If we break off, what an older job left there, or the repository has, must not be taken for our report.
        files.clear()
    commit = revision or (session.env.commit_sha if system is not None else None)
    config = with_host(session.load_config(), host, settings)
    # What only looked says nothing of how the last deployment went.
    with interruptible(), sent(session, None if dry_run else files.metrics, "deploy", host=host):
        if undo is not None:
            rollback = find_way_back(host, session.directory / undo, config=config, console=session.console)
            if rollback is None:
                return
        done = run_deploy(
            host,
            system,
            config=config,
            # What leaves this machine is taken only from where no merge request can have put it.
            kind=trusted_class(session, kind, by_hand="protected"),
            console=session.console,
            action=action,  # type: ignore[arg-type]  # one of ACTIONS
            rollback=rollback,
            dry_run=dry_run,
            allow_older=allow_older or session.env.allow_older,
            revision=commit,
            newer=Newer(session.directory, commit, fetch=session.env.in_ci),
            timeout=seconds,
            reports=files,
            outputs=session.outputs,
        )
        tell_gitlab(done, config.hosts[host], session.env, session.console, rollback=rollback is not None)
    done.raise_if_failed()


def _refuse_nonsense(
    system: str | None,
    rollback: Wanted | None,
    action: str | None,
    revision: str | None,
    *,
    dry_run: bool,
    undo: str | None = None,
) -> None:
    from pipelinegen.changes.read import is_commit_id
    from pipelinegen.errors import UsageError

    if undo is not None:
        if system is not None or rollback is not None:
            raise UsageError("--undo excludes --system and --rollback", hint="its report says what to go back to")
        rollback = "previous"
    if system is None and rollback is None:
        raise UsageError("there is nothing to deploy", hint="--system PATH, or --rollback [GENERATION]")
    if system is not None and rollback is not None:
        raise UsageError(
            "--system and --rollback exclude each other", hint="--rollback takes a system that the host has"
        )
    if rollback is not None and revision is not None:
        raise UsageError("--revision is of a --system", hint="a generation has its own: leave --revision out")
    if dry_run and action == "dry-activate":
        raise UsageError(
            "--dry-run and --action dry-activate exclude each other",
            hint="--dry-run only looks; dry-activate brings the system to the host and asks it what it would do",
        )
    if revision is not None and not is_commit_id(revision):
        raise UsageError(
            f"--revision {revision!r} is no commit id", hint='all of its digits: --revision "$(git rev-parse HEAD)"'
        )


def _seconds(duration: str | None) -> float | None:
    from pipelinegen import durations
    from pipelinegen.errors import UsageError

    if duration is None:
        return None
    seconds = durations.seconds(duration)
    if not seconds:
        raise UsageError(f"--timeout {duration!r} is no duration", hint="such as '20 minutes' or '1h 30m'")
    return seconds


def _files(
    session: Session, report: str | None, markdown: str | None, junit: str | None, metrics: str | None
) -> ReportFiles:
    from pipelinegen.deploy.report_files import ReportFiles

    return ReportFiles(
        json_file=place(session, report),
        markdown=place(session, markdown),
        junit=place(session, junit),
        metrics=place(session, metrics),
    )
