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
    no_memo: bool,
    as_json: bool,
) -> None:
    """Plan, then print the reasons for one target."""
    from pipelinegen.console import Console
    from pipelinegen.generate import plan_push
    from pipelinegen.process import interruptible
    from pipelinegen.remembering import tell_of_evaluation
    from pipelinegen.report.explain import explain, explain_text

    session = open_session(ctx)
    with interruptible():
        request = make_request(session, flake, base, offline=offline, history=history, no_memo=no_memo)
        push = plan_push(request, session.console)
        named = {output.attr for output in explain(push.planned.plan, target).outputs}
        readings = tell_of_evaluation(request, push.planned.plan, push.inspection, details=named)
    explanation = explain(push.planned.plan, target, readings or ())
    if as_json:
        click.echo(json.dumps(explanation.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        style = Console(colour=session.colour_on_stdout).style
        click.echo(explain_text(explanation, style), nl=False, color=session.colour_on_stdout)
