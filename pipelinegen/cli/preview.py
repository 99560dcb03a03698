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
    no_memo: bool,
    as_json: bool,
    everything: bool,
) -> None:
    """Plan and print."""
    from pipelinegen.console import Console
    from pipelinegen.generate import plan_push
    from pipelinegen.process import interruptible
    from pipelinegen.remembering import tell_of_evaluation
    from pipelinegen.report.text import plan_text

    session = open_session(ctx)
    with interruptible():
        request = make_request(session, flake, base, offline=offline, history=history, no_memo=no_memo)
        push = plan_push(request, session.console)
        readings = tell_of_evaluation(request, push.planned.plan, push.inspection)
    plan = push.planned.plan
    if as_json:
        click.echo(json.dumps(plan.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        style = Console(colour=session.colour_on_stdout).style
        text = plan_text(plan, style, everything=everything, readings=readings)
        click.echo(text, nl=False, color=session.colour_on_stdout)
