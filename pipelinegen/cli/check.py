"""`pipelinegen check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelinegen.cli.session import Session, open_session
from pipelinegen.files import is_folder

if TYPE_CHECKING:
    from pipelinegen.pipeline.verify import Finding


@click.command(
    help="Say whether the child pipeline in FILE is sound: our rules, then GitLab's own schema. FILE may be the "
    "folder that `generate` wrote. The parts of a divided pipeline, which lie beside it, are looked at too."
)
@click.argument("file", type=click.Path(allow_dash=True), default=".pipelinegen/pipeline.yml")
@click.option("--merge-request", is_flag=True, help="Judge it as the child of a merge request pipeline.")
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def command(ctx: click.Context, /, file: str, *, merge_request: bool, as_json: bool) -> int:
    """Check a file and its parts; exit 1 when there are errors."""
    from pipelinegen.pipeline.children import TOP
    from pipelinegen.pipeline.conductor import part_files
    from pipelinegen.pipeline.emit import from_yaml

    session = open_session(ctx)
    if is_folder(session.directory / file):
        file = str(Path(file) / TOP)
    texts = {file: _read(session, file)}
    if file != "-":
        parts = (str(Path(file).with_name(name)) for name in part_files(from_yaml(texts[file])))
        texts |= {part: _read(session, part) for part in parts}
    findings: list[dict[str, Any]] = []
    lines: list[str] = []
    schema: list[str] = []
    for name, text in texts.items():
        found, violations = _check(session, text, merge_request=merge_request)
        where = "" if name == file else f"{Path(name).name}: "
        lines += [f"{one.severity}: {where}{one}" for one in found]
        lines += [f"error: {where}schema: {message}" for message in violations]
        schema += [f"{where}{message}" for message in violations]
        findings += [
            {"file": name, "rule": one.rule, "severity": one.severity, "job": one.job, "message": one.message}
            for one in found
        ]
    if as_json:
        record = {"format_version": "1.1", "file": file, "files": list(texts), "findings": findings, "schema": schema}
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        click.echo("".join(f"{line}\n" for line in lines), nl=False)
    bad = sum(line.startswith("error") for line in lines)
    session.console.say(f"{', '.join(texts)}: {'sound' if not bad else f'{bad} errors'}")
    return 1 if bad else 0


def _read(session: Session, file: str) -> str:
    from pipelinegen.errors import UsageError

    try:
        with click.open_file(file if file == "-" else str(session.directory / file), encoding="utf-8") as stream:
            text: str = stream.read()
            return text
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the pipeline file cannot be read",
            where=str(Path(file)),
            why=str(getattr(error, "strerror", None) or error),
            hint="pipelinegen generate writes one",
        ) from error


def _check(session: Session, text: str, *, merge_request: bool) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """What is wrong with one file: our findings, and what GitLab's schema says."""
    from pipelinegen.pipeline.emit import from_yaml
    from pipelinegen.pipeline.limits import Limits
    from pipelinegen.pipeline.schema import schema_findings
    from pipelinegen.pipeline.secret_names import Secrets
    from pipelinegen.pipeline.verify import verify

    config = session.load_config().config
    findings = verify(
        from_yaml(text),
        Limits.of(config.gitlab),
        config.gitlab.version,
        yaml_bytes=len(text.encode()),
        merge_request=merge_request,
        secret_names=Secrets.of(config),
    )
    schema = schema_findings(text)
    if schema.skipped:
        session.console.warn(schema.skipped)
    return findings, schema.findings
