"""`pipelinegen preview`."""

from __future__ import annotations

import json

import click

from pipelinegen.cli.flow import flow_options, make_request
from pipelinegen.cli.session import open_session


@click.command(help="Show what a push of FLAKE (default: this folder) would run, what not, and why.")
@flow_options
@click.option("--json", "as_json", is_flag=True, help="One JSON record, as in plan.json.")
@click.option("--all", "everything", is_flag=True, help="Also list what is skipped, with its reasons.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    flake: str,
    base: str | None,
    *,
    offline: bool,
    history: str | None,
    as_json: bool,
    everything: bool,
) -> None:
    """Plan and print."""
    from pipelinegen.console import Console
    from pipelinegen.generate import plan_push
    from pipelinegen.process import interruptible
    from pipelinegen.report.text import plan_text

    session = open_session(ctx)
    with interruptible():
        request = make_request(session, flake, base, offline=offline, history=history)
        planned = plan_push(request, session.console).planned
    if as_json:
        click.echo(json.dumps(planned.plan.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        style = Console(colour=session.colour_on_stdout).style
        click.echo(plan_text(planned.plan, style, everything=everything), nl=False, color=session.colour_on_stdout)
