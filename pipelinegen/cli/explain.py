"""`pipelinegen explain`."""

from __future__ import annotations

import json

import click

from pipelinegen.cli.flow import flow_options, make_request
from pipelinegen.cli.session import open_session


@click.command(help="Say why TARGET (an output, a host or a job) is in or out.")
@click.argument("target")
@flow_options
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    target: str,
    flake: str,
    base: str | None,
    *,
    offline: bool,
    history: str | None,
    as_json: bool,
) -> None:
    """Plan, then print the reasons for one target."""
    from pipelinegen.console import Console
    from pipelinegen.generate import plan_push
    from pipelinegen.process import interruptible
    from pipelinegen.report.explain import explain, explain_text

    session = open_session(ctx)
    with interruptible():
        request = make_request(session, flake, base, offline=offline, history=history)
        planned = plan_push(request, session.console).planned
    explanation = explain(planned.plan, target)
    if as_json:
        click.echo(json.dumps(explanation.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        style = Console(colour=session.colour_on_stdout).style
        click.echo(explain_text(explanation, style), nl=False, color=session.colour_on_stdout)
