"""`pipelinegen run wave`: the job between two waves of deployments."""

from __future__ import annotations

import click

from pipelinegen.cli.session import open_session


@click.command("wave", help="Read how the deployments of HOSTS ended, and fail where too many have failed.")
@click.argument("hosts", nargs=-1, required=True)
@click.option(
    "--max-failures",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Failed hosts with which the wave has gone well all the same.",
)
@click.option(
    "--reports",
    "folder",
    default=".pipelinegen-deploys",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder of the reports that `run deploy` wrote, each named after its host.",
)
@click.pass_context
def command(ctx: click.Context, /, hosts: tuple[str, ...], max_failures: int, folder: str) -> None:
    """Judge one wave; a missing report is a failed host."""
    from pipelinegen.deploy.wave import run_wave

    session = open_session(ctx)
    run_wave(
        hosts,
        session.directory / folder,
        max_failures=max_failures,
        console=session.console,
        revision=session.env.commit_sha if session.env.in_ci else None,
    )
