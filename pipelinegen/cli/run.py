"""`pipelinegen run …`: what the jobs of the child pipeline call; the same works on a developer's machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipelinegen.cli import deploy, wave
from pipelinegen.cli.options import (
    CLASSES,
    class_option,
    handoff_option,
    place,
    report_options,
    reports,
    times_option,
    trusted_class,
)
from pipelinegen.cli.session import Session, open_session
from pipelinegen.history import HISTORY_FILE, TIMES_FOLDER

if TYPE_CHECKING:
    from pipelinegen.config import Config
    from pipelinegen.plan.model import Work
    from pipelinegen.run.handoff import Evaluate
    from pipelinegen.run.result import Reports


@click.group(help="Do one stage of the pipeline here.")
def command() -> None:
    """Nothing of its own."""


command.add_command(deploy.command)
command.add_command(wave.command)


def _evaluate(session: Session, config: Config) -> Evaluate:
    """Evaluation of the checked-out flake, for handoffs without derivations."""
    import functools

    from pipelinegen.inventory.instantiate import instantiate
    from pipelinegen.inventory.model import FlakeSource
    from pipelinegen.inventory.read import read_source
    from pipelinegen.plan.model import Attribute
    from pipelinegen.run.handoff import Evaluated

    @functools.cache
    def source_of(flake: str) -> FlakeSource:
        return read_source(flake, cwd=session.directory, config=config)

    def evaluate(flake: str, attribute: Attribute) -> Evaluated:
        source = source_of(flake)
        drv_path = instantiate(source, attribute.path, attribute.suffix, config)
        return Evaluated(source.rev, source.nix_version, drv_path)

    return evaluate


def _run_unit(
    ctx: click.Context,
    name: str,
    stage: str,
    named: str | None,
    handoff: str | None,
    files: Reports,
    times_dir: str | None,
) -> None:
    from pipelinegen.job_names import slug
    from pipelinegen.process import interruptible, quote
    from pipelinegen.run.build import run_unit
    from pipelinegen.run.handoff import read_work
    from pipelinegen.run.names import find_unit_by_name

    session = open_session(ctx)
    folder = session.handoff(handoff)
    kind = trusted_class(session, named)
    config = session.load_config().config
    with interruptible():
        work = read_work(folder)
        unit = find_unit_by_name(work, stage, name)
        if times_dir is not None:
            file = session.directory / times_dir / f"{slug(unit.job)}.json"
            files = files.model_copy(update={"times": file})
        result = run_unit(
            work,
            unit,
            folder=folder,
            config=config,
            kind=kind,
            console=session.console,
            reports=files,
            again=quote(["pipelinegen", "run", stage, "--class", kind, "--handoff", str(folder), "--", name]),
            outputs=session.outputs,
            evaluate=_evaluate(session, config),
        )
    result.raise_if_failed()


@command.command("build", help="Build the unit NAME (a target or job of the plan) and hand its outputs over.")
@click.argument("name")
@class_option
@handoff_option
@report_options
@times_option
@click.pass_context
def build(
    ctx: click.Context,
    /,
    name: str,
    kind: str | None,
    handoff: str | None,
    junit: str | None,
    report: str | None,
    times_dir: str | None,
) -> None:
    """Build one unit."""
    _run_unit(ctx, name, "build", kind, handoff, reports(open_session(ctx), junit, report), times_dir)


@command.command("test", help="Run the check NAME, an integration command, or `nix flake check --no-build`.")
@click.argument("name", required=False)
@click.option("--command", "test_command", metavar="NAME", help="Run this integration command of the configuration.")
@click.option("--flake-check", metavar="FLAKE", help="Run `nix flake check --no-build` on FLAKE.")
@class_option
@handoff_option
@report_options
@times_option
@click.pass_context
def test(
    ctx: click.Context,
    /,
    name: str | None,
    test_command: str | None,
    flake_check: str | None,
    kind: str | None,
    handoff: str | None,
    junit: str | None,
    report: str | None,
    times_dir: str | None,
) -> None:
    """Run one test of one of three kinds."""
    from pipelinegen.cache.access import access
    from pipelinegen.errors import UsageError
    from pipelinegen.process import interruptible
    from pipelinegen.run import test as tests
    from pipelinegen.run.names import find_test

    if sum(value is not None for value in (name, test_command, flake_check)) != 1:
        raise UsageError("name one thing to test", hint="a check, --command NAME, or --flake-check FLAKE")
    session = open_session(ctx)
    files = reports(session, junit, report)
    if name is not None:
        _run_unit(ctx, name, "test", kind, handoff, files, times_dir)
        return
    config = session.load_config().config
    trusts = trusted_class(session, kind)
    found = None if test_command is None else find_test(config, test_command)
    where, say = session.directory, session.console.say
    with interruptible(), access(config, trusts, near=where, say=say, strict=False) as way:
        shared: dict[str, Any] = {"console": session.console, "reports": files, "environment": way.environment}
        if found is not None:
            result = tests.run_command(found, repository=where, **shared)
        else:
            result = tests.flake_check(str(flake_check), repository=where, **shared)
    result.raise_if_failed()


@command.command(
    "push",
    help="Push the closures of PATHS, or of those outputs of the flake that --targets names, to caches and verify that "
    "they serve them.",
)
@click.argument("paths", nargs=-1)
@click.option("--to", "caches", multiple=True, required=True, metavar="CACHE", help="Cache of the configuration.")
@click.option(
    "--targets",
    multiple=True,
    metavar="PATTERN",
    help="Push outputs of the flake whose attribute matches, such as 'packages.*.web-?'; what is missing here is "
    "fetched or built first. Repeat it for several.",
)
@click.option("--flake", metavar="FLAKE", help="The flake of --targets.  [default: .]")
@click.option("--touch", is_flag=True, help="Fetch what the caches hold already, so that they do not collect it.")
@click.option(
    "--class",
    "kind",
    type=click.Choice(CLASSES),
    help="Whom to trust with what is missing here.  [default: what GitLab says; elsewhere unprotected, where such "
    "pipelines write to all of the caches, and else protected]",
)
@report_options
@click.option("--metrics", type=click.Path(dir_okay=False), help="Write metrics in OpenMetrics' text format.")
@click.pass_context
def push(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    caches: tuple[str, ...],
    targets: tuple[str, ...],
    flake: str | None,
    *,
    touch: bool,
    kind: str | None,
    junit: str | None,
    report: str | None,
    metrics: str | None,
) -> None:
    """Push to one or more caches; a cache that fails does not keep the others waiting."""
    import contextlib

    from pipelinegen import push_targets
    from pipelinegen.cli.metrics import sent
    from pipelinegen.errors import CredentialsError, StepFailedError, TransientError, UsageError
    from pipelinegen.job_names import per_cache
    from pipelinegen.process import interruptible
    from pipelinegen.run.push import find_cache, run_push

    if targets and paths:
        raise UsageError("PATHS and --targets exclude each other", hint="repeat --targets for several patterns")
    if flake is not None and not targets:
        raise UsageError("--flake is for --targets", hint="name what to push from it with --targets PATTERN")
    session = open_session(ctx)
    config = session.load_config().config
    caches = tuple(dict.fromkeys(caches))
    for cache in caches:
        find_cache(cache, config)
    trusts = trusted_class(session, kind, by_hand=push_targets.class_for(caches, config))
    failures: list[StepFailedError | CredentialsError | TransientError] = []
    with interruptible(), contextlib.ExitStack() as stack:
        if targets:
            obtained = stack.enter_context(
                push_targets.obtained(
                    flake or ".",
                    targets,
                    directory=session.directory,
                    config=config,
                    kind=trusts,
                    console=session.console,
                    outputs=session.outputs,
                )
            )
            paths = obtained.paths
            failures += [obtained.failure] if obtained.failure else []
        named = (per_cache(file, caches) if file else (None,) * len(caches) for file in (junit, report, metrics))
        for cache, *names in zip(caches, *named, strict=True):
            files = reports(session, *names)
            try:
                with sent(session, files.metrics, "push", cache=cache):
                    run_push(
                        cache,
                        paths,
                        config=config,
                        kind=trusts,
                        console=session.console,
                        reports=files,
                        outputs=session.outputs,
                        touch=touch,
                    ).raise_if_failed()
            except (StepFailedError, CredentialsError, TransientError) as error:
                failures.append(error)
    # Another try is worth it only where it may cure everything.
    failures.sort(key=lambda error: isinstance(error, TransientError))
    for other in failures[1:]:
        session.console.warn(f"{other.message}{f': {other.why}' if other.why else ''}")
    if failures:
        raise failures[0]


@command.command("record", help="Add the build times of a pipeline's jobs to those that later ones plan with.")
@click.option(
    "--times-dir",
    "folder",
    default=TIMES_FOLDER,
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder with what `run build` and `run test` wrote there.",
)
@click.option(
    "--history",
    "file",
    default=HISTORY_FILE,
    show_default=True,
    type=click.Path(dir_okay=False),
    help="File of recorded build times; made where there is none.",
)
@click.option("--metrics", type=click.Path(dir_okay=False), help="Write metrics in OpenMetrics' text format.")
@click.pass_context
def record(ctx: click.Context, /, folder: str, file: str, metrics: str | None) -> None:
    """Record; files that cannot be used are warnings."""
    from pipelinegen.cli.metrics import branch, sent
    from pipelinegen.process import interruptible
    from pipelinegen.run.times import run_record

    session = open_session(ctx)
    measured = place(session, metrics)
    with interruptible(), sent(session, measured, "build", ref=branch(session)):
        run_record(session.directory / folder, session.directory / file, console=session.console, metrics=measured)


@command.command("evaluation-failure", help="Print why each ATTR did not evaluate, and fail.")
@click.argument("attrs", metavar="ATTR...", nargs=-1, required=True)
@handoff_option
@report_options
@click.pass_context
def evaluation_failure(
    ctx: click.Context, /, attrs: tuple[str, ...], handoff: str | None, junit: str | None, report: str | None
) -> None:
    """Fail with Nix's own messages."""
    from pipelinegen.run.failure import run_failures
    from pipelinegen.run.handoff import read_work
    from pipelinegen.run.names import find_failure

    session = open_session(ctx)
    work: Work = read_work(session.handoff(handoff))
    failures = [find_failure(work, attr) for attr in attrs]
    run_failures(failures, console=session.console, reports=reports(session, junit, report)).raise_if_failed()
