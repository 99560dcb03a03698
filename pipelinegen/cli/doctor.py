"""`pipelinegen doctor`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pipelinegen.cli.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelinegen.doctor.examine import Request
    from pipelinegen.doctor.model import Check


@click.command(
    help="Say whether this machine, runner or image is ready: Nix, its store and sandbox, git, ssh, certificates, "
    "disks, caches, GitLab, and which secrets of the configuration are here (never what they are). Run it in a job to "
    "see that job. Exit code 1 where something is wrong, 5 where a needed tool is missing.",
)
@click.option("--offline", is_flag=True, help="Ask nobody over the network.")
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def command(ctx: click.Context, /, *, offline: bool, as_json: bool) -> int:
    """Show the checklist; each line comes when it is known."""
    from pipelinegen.console import Console
    from pipelinegen.doctor.examine import examine
    from pipelinegen.doctor.model import FORMAT_VERSION, Status, exit_code
    from pipelinegen.process import interruptible

    session = open_session(ctx)
    style = Console(colour=session.colour_on_stdout).style
    checks = []
    with interruptible():
        for check in examine(_request(ctx, offline=offline)):
            checks.append(check)
            if not as_json:
                click.echo(_lines(check, style))
    code = exit_code(checks)
    if as_json:
        record = {"format_version": FORMAT_VERSION, "exit_code": code}
        click.echo(json.dumps({**record, "checks": [check.model_dump(mode="json") for check in checks]}, indent=2))
    counts = {status: sum(check.status is status for check in checks) for status in Status}
    session.console.say(
        f"{counts[Status.OK]} ok, {_counted(counts[Status.WARNING], 'warning')}, "
        f"{_counted(counts[Status.PROBLEM], 'problem')}, {counts[Status.SKIPPED]} not looked at"
    )
    return code


def _request(ctx: click.Context, *, offline: bool) -> Request:
    from pipelinegen import process
    from pipelinegen.doctor.examine import Request
    from pipelinegen.errors import ConfigError
    from pipelinegen.memo.last import FOLDER

    session = open_session(ctx)
    config, mistakes, file = None, None, None
    try:
        loaded = session.load_config()
        config, file = loaded.config, loaded.file
    except ConfigError as error:
        mistakes = error
    memo = session.cache_directory / FOLDER
    return Request(session.directory, config, mistakes, file, session.env, process.environment(), memo, offline)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


_COLOURS = {"ok": "green", "skipped": "dim", "warning": "yellow", "problem": "red"}


def _lines(check: Check, style: Callable[[str, str], str]) -> str:
    from pipelinegen.characters import inert

    word = check.status.value
    lines = [f"{style(word.ljust(8), _COLOURS[word])} {style(inert(check.name), 'bold')}: {inert(check.message)}"]
    if check.hint:
        lines.append(f"         {style('hint', 'bold')} {inert(check.hint)}")
    return "\n".join(lines)
