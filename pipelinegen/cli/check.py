"""`pipelinegen check`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipelinegen.cli.session import open_session


@click.command(help="Say whether the child pipeline in FILE is sound: our rules, then GitLab's own schema.")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default=".pipelinegen/pipeline.yml")
@click.option("--merge-request", is_flag=True, help="Judge it as the child of a merge request pipeline.")
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def command(ctx: click.Context, /, file: str, *, merge_request: bool, as_json: bool) -> int:
    """Check one file; exit 1 when it has errors."""
    from pipelinegen.errors import UsageError
    from pipelinegen.pipeline.emit import from_yaml
    from pipelinegen.pipeline.limits import Limits
    from pipelinegen.pipeline.schema import schema_findings
    from pipelinegen.pipeline.verify import Severity, verify

    session = open_session(ctx)
    settings = session.load_config().config.gitlab
    try:
        with click.open_file(file if file == "-" else str(session.directory / file), encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the pipeline file cannot be read",
            where=str(Path(file)),
            why=str(getattr(error, "strerror", None) or error),
            hint="pipelinegen generate writes one",
        ) from error
    findings = verify(
        from_yaml(text),
        Limits(max_needs=settings.max_needs, max_jobs=settings.max_jobs),
        settings.version,
        yaml_bytes=len(text.encode()),
        merge_request=merge_request,
    )
    schema = schema_findings(text)
    if schema.skipped:
        session.console.warn(schema.skipped)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if as_json:
        record = {
            "format_version": "1.0",
            "file": file,
            "findings": [
                {"rule": one.rule, "severity": one.severity, "job": one.job, "message": one.message} for one in findings
            ],
            "schema": list(schema.findings),
        }
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(f"{finding.severity}: {finding}")
        for message in schema.findings:
            click.echo(f"error: schema: {message}")
    bad = len(errors) + len(schema.findings)
    session.console.say(f"{file}: {'sound' if not bad else f'{bad} errors'}")
    return 1 if bad else 0
