"""`pipelinegen run …`: what the jobs of the child pipeline call; the same works on a developer's machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipelinegen.cli.session import Session, open_session
from pipelinegen.history import HISTORY_FILE, TIMES_FOLDER

if TYPE_CHECKING:
    from pipelinegen.cache.trust import PipelineClass
    from pipelinegen.config import Config
    from pipelinegen.plan.model import Work
    from pipelinegen.run.handoff import Evaluate
    from pipelinegen.run.result import Reports

F = TypeVar("F", bound=Callable[..., Any])


@click.group(help="Do one stage of the pipeline here.")
def command() -> None:
    """Nothing of its own."""


def class_option(function: F) -> F:
    """Add --class."""
    return click.option(
        "--class",
        "kind",
        type=click.Choice(["protected", "unprotected"]),
        default="unprotected",
        show_default=True,
        help="Whom the pipeline trusts: `protected` believes only caches that protected pipelines write.",
    )(function)


def handoff_option(function: F) -> F:
    """Add --handoff."""
    return click.option(
        "--handoff",
        metavar="DIR",
        help="Folder that `generate` wrote; PIPELINEGEN_HANDOFF wins over it.  [default: .pipelinegen]",
    )(function)


def report_options(function: F) -> F:
    """Add --junit and --report."""
    function = click.option("--junit", type=click.Path(dir_okay=False), help="Write a JUnit report.")(function)
    return click.option("--report", type=click.Path(dir_okay=False), help="Write a JSON report.")(function)


def times_option(function: F) -> F:
    """Add --times-dir."""
    return click.option(
        "--times-dir",
        type=click.Path(file_okay=False),
        help="Write how long each derivation took that was built to a file of this job in that folder.",
    )(function)


def _reports(session: Session, junit: str | None, report: str | None) -> Reports:
    from pipelinegen.run.result import Reports

    def place(file: str | None) -> Path | None:
        return session.directory / file if file else None

    return Reports(junit=place(junit), json_file=place(report))


def _class(kind: str) -> PipelineClass:
    from pipelinegen.cache.trust import PipelineClass

    return PipelineClass(kind)


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
    ctx: click.Context, name: str, stage: str, kind: str, handoff: str | None, files: Reports, times_dir: str | None
) -> None:
    from pipelinegen.job_names import slug
    from pipelinegen.process import interruptible, quote
    from pipelinegen.run.build import run_unit
    from pipelinegen.run.handoff import read_work
    from pipelinegen.run.names import find_unit_by_name

    session = open_session(ctx)
    folder = session.handoff(handoff)
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
            kind=_class(kind),
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
    kind: str,
    handoff: str | None,
    junit: str | None,
    report: str | None,
    times_dir: str | None,
) -> None:
    """Build one unit."""
    _run_unit(ctx, name, "build", kind, handoff, _reports(open_session(ctx), junit, report), times_dir)


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
    kind: str,
    handoff: str | None,
    junit: str | None,
    report: str | None,
    times_dir: str | None,
) -> None:
    """Run one test of one of three kinds."""
    from pipelinegen.errors import UsageError
    from pipelinegen.process import interruptible
    from pipelinegen.run import test as tests
    from pipelinegen.run.names import find_test

    if sum(value is not None for value in (name, test_command, flake_check)) != 1:
        raise UsageError("name one thing to test", hint="a check, --command NAME, or --flake-check FLAKE")
    session = open_session(ctx)
    files = _reports(session, junit, report)
    if name is not None:
        _run_unit(ctx, name, "test", kind, handoff, files, times_dir)
        return
    with interruptible():
        if test_command is not None:
            found = find_test(session.load_config().config, test_command)
            result = tests.run_command(found, repository=session.directory, console=session.console, reports=files)
        else:
            result = tests.flake_check(
                str(flake_check), repository=session.directory, console=session.console, reports=files
            )
    result.raise_if_failed()


@command.command("push", help="Push the closures of PATHS to caches and verify that they serve them.")
@click.argument("paths", nargs=-1)
@click.option("--to", "caches", multiple=True, required=True, metavar="CACHE", help="Cache of the configuration.")
@class_option
@report_options
@click.pass_context
def push(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    caches: tuple[str, ...],
    kind: str,
    junit: str | None,
    report: str | None,
) -> None:
    """Push to one or more caches; a cache that fails does not keep the others waiting."""
    from pipelinegen.errors import CredentialsError, StepFailedError, TransientError
    from pipelinegen.process import interruptible
    from pipelinegen.run.push import run_push

    session = open_session(ctx)
    config = session.load_config().config
    failures: list[StepFailedError | CredentialsError | TransientError] = []
    with interruptible():
        for number, cache in enumerate(caches):
            suffix = f"-{cache}" if number else ""
            try:
                run_push(
                    cache,
                    paths,
                    config=config,
                    kind=_class(kind),
                    console=session.console,
                    reports=_reports(session, _with_suffix(junit, suffix), _with_suffix(report, suffix)),
                    outputs=session.outputs,
                ).raise_if_failed()
            except (StepFailedError, CredentialsError, TransientError) as error:
                failures.append(error)
    # Another try is worth it only where it may cure everything.
    failures.sort(key=lambda error: isinstance(error, TransientError))
    for other in failures[1:]:
        session.console.warn(f"{other.message}{f': {other.why}' if other.why else ''}")
    if failures:
        raise failures[0]


def _with_suffix(file: str | None, suffix: str) -> str | None:
    return None if file is None else str(Path(file).with_stem(Path(file).stem + suffix))


@command.command("deploy", help="Bring HOST to a system, or leave it as it was.")
@click.argument("host")
@click.option("--system", required=True, metavar="PATH", help="Store path of the system (its toplevel).")
@click.option("--dry-run", is_flag=True, help="Stop after the checks that change nothing.")
@class_option
@click.option("--report", type=click.Path(dir_okay=False), help="Write a JSON report.")
@click.pass_context
def deploy(ctx: click.Context, /, host: str, system: str, *, dry_run: bool, kind: str, report: str | None) -> None:
    """Deploy one host."""
    from pipelinegen.process import interruptible
    from pipelinegen.run.deploy import run_deploy

    session = open_session(ctx)
    with interruptible():
        done = run_deploy(
            host,
            system,
            config=session.load_config().config,
            kind=_class(kind),
            console=session.console,
            report=session.directory / report if report else None,
            dry_run=dry_run,
            outputs=session.outputs,
        )
    done.raise_if_failed()


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
@click.pass_context
def record(ctx: click.Context, /, folder: str, file: str) -> None:
    """Record; files that cannot be used are warnings."""
    from pipelinegen.process import interruptible
    from pipelinegen.run.times import run_record

    session = open_session(ctx)
    with interruptible():
        run_record(session.directory / folder, session.directory / file, console=session.console)


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
    run_failures(failures, console=session.console, reports=_reports(session, junit, report)).raise_if_failed()
