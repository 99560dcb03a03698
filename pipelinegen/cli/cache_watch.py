"""`pipelinegen cache report|backup`: looking after caches from a schedule."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pipelinegen.cli.session import open_session

if TYPE_CHECKING:
    from pipelinegen.config_caches import CacheConfig
    from pipelinegen.report.cache_report import CacheHolding


@click.command(
    "report",
    help="Say what the publish caches hold of what FLAKE (default: this folder) offers, what they have collected "
    "although it is to be kept warm, and what a pipeline would have to build again. Exit code 1 where something is "
    "lost or a cache cannot be used, 4 where credentials are the reason.",
)
@click.argument("flake", default=".")
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.option("--report", "file", type=click.Path(dir_okay=False), help="Write a JSON report.")
@click.option("--text", type=click.Path(dir_okay=False), help="Write the text to a file, too.")
@click.option("--metrics", type=click.Path(dir_okay=False), help="Write metrics in OpenMetrics' text format.")
@click.pass_context
def report(
    ctx: click.Context, /, flake: str, *, as_json: bool, file: str | None, text: str | None, metrics: str | None
) -> int:
    """Plan everything, ask the caches, and sort."""
    from dataclasses import replace

    from pipelinegen.cache.trust import publish_caches
    from pipelinegen.cli.flow import make_request
    from pipelinegen.cli.metrics import branch, sent
    from pipelinegen.cli.options import place
    from pipelinegen.console import Console
    from pipelinegen.errors import UsageError
    from pipelinegen.files import write_atomic
    from pipelinegen.generate import plan_push
    from pipelinegen.process import interruptible
    from pipelinegen.report.cache_report import cache_report, report_metrics, report_text

    session = open_session(ctx)
    request = make_request(session, flake, None, offline=False, history=None)
    caches = publish_caches(request.loaded.config)
    if not caches:
        raise UsageError("there is no cache to report on", hint="it is for caches with publish = true")
    with interruptible():
        # As a schedule does: nothing is compared with, and nothing is left out because it did not change.
        everything = request.loaded.config.model_copy(update={"ignore_paths": ()})
        request = replace(
            request,
            loaded=request.loaded.model_copy(update={"config": everything}),
            env=request.env.model_copy(update={"pipeline_source": "schedule"}),
        )
        planned = plan_push(request, session.console).planned
        found = cache_report(planned.plan, caches, {name: _about(name, cache) for name, cache in caches.items()})
    record = json.dumps(found.model_dump(mode="json"), indent=2)
    if file is not None:
        write_atomic(session.directory / file, record + "\n")
    if text is not None:
        write_atomic(session.directory / text, report_text(found, lambda words, _: words))
    measured = place(session, metrics)
    if measured is not None:
        with sent(session, measured, "cache", ref=branch(session)):
            write_atomic(measured, report_metrics(found))
    if as_json:
        click.echo(record)
    else:
        style = Console(colour=session.colour_on_stdout).style
        click.echo(report_text(found, style), nl=False, color=session.colour_on_stdout)
    return found.exit_code


def _about(name: str, cache: CacheConfig) -> CacheHolding:
    from pipelinegen.cache.provisioning import administer
    from pipelinegen.cache.provisioning.survey import survey
    from pipelinegen.report.cache_report import CacheHolding

    info = survey(name, cache, administer.now)
    troubles = tuple(one.message for one in info.findings if one.exit_code)
    return CacheHolding(name=name, advice=info.advice, trouble=troubles, exit_code=info.exit_code)


@click.command(
    "backup",
    help="Say how old the newest backup of the cache server is, and fail where it is too old. SOURCE is a file or URL "
    "with metrics, such as that of the server's node exporter.",
)
@click.argument("source")
@click.option("--max-age", default="26 hours", show_default=True, metavar="DURATION", help="How old it may be.")
@click.option("--metric", metavar="NAME", help="Gauge with the time of the last backup, in seconds since the epoch.")
@click.pass_context
def backup(ctx: click.Context, /, source: str, *, max_age: str, metric: str | None) -> None:
    """Read, compare and say."""
    from pipelinegen import backup_age, durations
    from pipelinegen.cache.provisioning import administer
    from pipelinegen.errors import UsageError

    session = open_session(ctx)
    most = durations.seconds(max_age)
    if most is None or most <= 0:
        raise UsageError(f"--max-age {max_age!r} is no duration", hint="such as '26 hours'")
    text = backup_age.read_metrics(source, session.directory)
    old = backup_age.age(text, metric or backup_age.METRIC, administer.now(), most)
    click.echo(f"the newest backup is {old / 3600:.1f} hours old")
