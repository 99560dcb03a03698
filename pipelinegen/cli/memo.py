"""`pipelinegen memo show|verify|clear`."""

from __future__ import annotations

import json
import shutil

import click

from pipelinegen.cli.flow import make_request
from pipelinegen.cli.session import open_session


@click.group(help="Look at what is remembered of evaluations, check it, and forget it.")
def command() -> None:
    """Nothing of its own."""


@command.command(
    "show",
    help="Say of each output of FLAKE (default: this folder) how much of the repository it reads, and list those that "
    "every commit evaluates, with the reason. What is not remembered is evaluated.",
)
@click.argument("flake", default=".")
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def show(ctx: click.Context, /, flake: str, *, as_json: bool) -> None:
    """Inspect, then print what each output reads."""
    from pipelinegen.console import Console
    from pipelinegen.process import interruptible
    from pipelinegen.readings import readings
    from pipelinegen.remembering import look
    from pipelinegen.report.reading import Shown, show_text

    session = open_session(ctx)
    with interruptible():
        inspection = look(make_request(session, flake), session.console)
    everything = frozenset(output.attr for output in inspection.inventory.outputs)
    told = readings(inspection, details=everything if as_json else ())
    failures = tuple(failure.attr for failure in inspection.inventory.failures)
    if as_json:
        record = Shown(outputs=told, failures=failures)
        click.echo(json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        style = Console(colour=session.colour_on_stdout).style
        click.echo(show_text(told, failures, style), nl=False, color=session.colour_on_stdout)


@command.command(
    "verify",
    help="Evaluate every output of FLAKE (default: this folder) and compare it with what is remembered. Where they "
    "differ, everything remembered is dropped, and the exit code is 1. What is the same at another commit than before "
    "is confirmed: it does not depend on which commit it is.",
)
@click.argument("flake", default=".")
@click.pass_context
def verify(ctx: click.Context, /, flake: str) -> None:
    """Evaluate everything, compare, and say what that brought."""
    from pipelinegen.process import interruptible
    from pipelinegen.remembering import verify_memo

    session = open_session(ctx)
    with interruptible():
        verified = verify_memo(make_request(session, flake), session.console)
    click.echo(verified.sentence())


@command.command(
    "clear",
    help="Forget everything that is remembered of evaluations, of every flake, and the inventories of earlier commits.",
)
@click.pass_context
def clear(ctx: click.Context, /) -> None:
    """Remove the snapshots and what was kept of the last inspection."""
    from pipelinegen.files import remove
    from pipelinegen.memo.inspect import NOTED
    from pipelinegen.memo.last import FILE_NAME, FOLDER
    from pipelinegen.memo.store import MemoStore

    session = open_session(ctx)
    folder = session.cache_directory / FOLDER
    removed = MemoStore(folder).drop()
    remove(folder / FILE_NAME)
    shutil.rmtree(folder / NOTED, ignore_errors=True)
    session.console.say(f"{removed} snapshot{'' if removed == 1 else 's'} removed from {folder}")
