"""`pipelinegen config show|schema`."""

from __future__ import annotations

import json

import click

from pipelinegen.cli.session import open_session


@click.group(help="Show the settings and where each came from.")
def command() -> None:
    """Nothing of its own."""


@command.command("show", help="Print every setting with its value and origin.")
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def show(ctx: click.Context, *, as_json: bool) -> None:
    """Print the effective settings."""
    from pipelinegen.report.settings import settings_table

    loaded = open_session(ctx).load_config()
    if as_json:
        record = {
            "format_version": "1.0",
            "file": str(loaded.file) if loaded.file else None,
            "config": loaded.config.model_dump(mode="json"),
        }
        click.echo(json.dumps(record, indent=2))
        return
    click.echo(f"# {loaded.file or 'no file: every value is the default'}")
    for name, value, origin in settings_table(loaded):
        click.echo(f"{name} = {value}  # {origin}")


@command.command("schema", help="Print the JSON Schema of the configuration.")
def schema() -> None:
    """Print the schema, as published in the reference."""
    from pipelinegen.config import Config

    click.echo(json.dumps(Config.model_json_schema(), indent=2))
