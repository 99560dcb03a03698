"""`pipelinegen generations`."""

from __future__ import annotations

import click

from pipelinegen.cli.deploy import settings_option
from pipelinegen.cli.session import open_session


@click.command(
    "generations",
    help="Show the systems that HOST can be taken back to with `run deploy --rollback`, newest first.",
)
@click.argument("host")
@settings_option
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def command(ctx: click.Context, /, host: str, *, settings: str | None, as_json: bool) -> None:
    """Ask the host and show the answer."""
    from pipelinegen.config_file import with_host
    from pipelinegen.deploy.generations import Generations, read_generations, table
    from pipelinegen.deploy.hosts import configured
    from pipelinegen.deploy.ssh import connection
    from pipelinegen.process import interruptible

    session = open_session(ctx)
    configuration = configured(host, with_host(session.load_config(), host, settings))
    with interruptible(), connection(configuration, where=f"hosts.{host}") as target:
        found = Generations(host=host, address=target.address, generations=read_generations(target))
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    for line in table(found.generations):
        click.echo(line)
