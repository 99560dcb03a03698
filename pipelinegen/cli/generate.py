"""`pipelinegen generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelinegen.cli.flow import flow_options, make_request
from pipelinegen.cli.session import open_session

if TYPE_CHECKING:
    from pipelinegen.config import Config
    from pipelinegen.console import Console


@click.command(help="Write the child pipeline for FLAKE (default: this folder), its plan and what its jobs need.")
@flow_options
@click.option(
    "-o",
    "--output",
    default=".pipelinegen",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder for pipeline.yml, plan.json, work.json, the derivations, report.txt and metrics.txt.",
)
@click.option(
    "--verify-memo",
    is_flag=True,
    help="Evaluate every output and compare it with what is remembered; where they differ, forget that and exit with "
    "1. Scheduled pipelines always do.",
)
@click.option("--fail-if-empty", is_flag=True, help="Exit with 3 when there is nothing to do.")
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
    output: str,
    verify_memo: bool,
    fail_if_empty: bool,
) -> None:
    """Plan, verify, then write everything."""
    from pipelinegen.cli.metrics import branch, sent
    from pipelinegen.errors import NothingSelectedError, UsageError
    from pipelinegen.generate import generate
    from pipelinegen.output import METRICS_NAME, write_output
    from pipelinegen.plan.model import Action
    from pipelinegen.process import interruptible
    from pipelinegen.remembering import require_memo, tell_of_evaluation
    from pipelinegen.report.text import plan_text

    if no_memo and verify_memo:
        raise UsageError("--no-memo leaves nothing to be verified", hint="leave one of the two options out")
    session = open_session(ctx)
    with interruptible():
        folder = session.directory / output
        request = make_request(
            session,
            flake,
            base,
            offline=offline,
            history=history,
            no_memo=no_memo,
            verify_memo=verify_memo,
            output=folder,
        )
        if verify_memo:
            require_memo(request.loaded.config)
        if session.env.gitlab:
            _refuse_keys_of_others(request.loaded.config, session.console)
        generated = generate(request, session.console)
        with sent(session, folder / METRICS_NAME, "plan", ref=branch(session)):
            write_output(folder, generated)
        readings = tell_of_evaluation(request, generated.planned.plan, generated.inspection)
    session.console.say(plan_text(generated.planned.plan, session.console.style, readings=readings))
    click.echo(Path(output) / "pipeline.yml")
    if fail_if_empty and all(task.action is Action.SUMMARY for task in generated.planned.tasks):
        raise NothingSelectedError("there is nothing to do", hint="leave --fail-if-empty out to accept that")


def _refuse_keys_of_others(config: Config, console: Console) -> None:
    """This job has no environment, as those that build: what it holds, they hold, too."""
    from pipelinegen import process
    from pipelinegen.errors import ConfigError
    from pipelinegen.pipeline.sign_in import HINT, out_of_scope

    found = out_of_scope(config, process.environment())
    if found is not None and found.opened:
        raise ConfigError(f"{found.variable} is in jobs that build", problems=[found.sentence], hint=HINT)
    if found is not None:
        console.warn(f"{found.sentence}: {HINT}")
