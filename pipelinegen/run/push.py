"""`run push`: put finished outputs with their closures into a cache, and ask it whether they arrived."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from pipelinegen.cache.read import configured_backend
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig
from pipelinegen.console import Console
from pipelinegen.errors import CredentialsError, PipelinegenError, UsageError
from pipelinegen.run.exchange import HERE, exchange
from pipelinegen.run.handoff import rooted
from pipelinegen.run.push_report import Course
from pipelinegen.run.push_run import PushRun
from pipelinegen.run.push_view import PushView
from pipelinegen.run.result import ItemResult, Reports, Status, StepResult

_STORE_PATH = re.compile(r"/[^\s\x00-\x1f]*/[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+._?=-]+")


def run_push(
    cache_name: str,
    paths: Iterable[str],
    *,
    config: Config,
    kind: PipelineClass,
    console: Console,
    reports: Reports | None = None,
    outputs: Path = HERE,
    touch: bool = False,
) -> StepResult:
    """Push the closures of `paths` to one of the configured caches and verify that it serves them.

    What the local store lacks is fetched first: from what other jobs left, and from the caches that a
    pipeline of this class trusts.

    Args:
        cache_name: its name in the configuration.
        paths: output paths in the store; at least one.
        config, kind: the caches, and which of them are trusted.
        console: where people read along.
        reports: files to write when it ends, also when it ends badly or is interrupted.
        outputs: where other jobs leave artifacts, if they do.
        touch: fetch what was in the cache already, so that it does not collect it as unused.

    Returns:
        How it ended, with one item per path of the closures. `StepResult.raise_if_failed` is the answer.

    Raises:
        UsageError: no paths, something that is no store path, or a cache that is not configured.
        CredentialsError: the cache refused us, or a key is missing, or what is to be pushed cannot be fetched with
            the token of this job.
        InterruptedRunError: a signal arrived; the reports say how far it was.
    """
    started = console.clock()
    wanted = check_store_paths(paths)
    cache_config = find_cache(cache_name, config)
    if kind is PipelineClass.FORK:
        raise UsageError(
            f"nothing is pushed to cache {cache_name} from another project's merge request",
            why="whoever may open one would write what others fetch",
        )
    run = PushRun(Course(cache_name, tuple(wanted)), console)
    files = reports or Reports()
    try:
        troubles: list[str] = []
        with exchange(config, kind, outputs=outputs, console=console) as others, rooted(()) as roots:
            missing = others.fetch(wanted, roots, on_trouble=troubles.append)
            if missing and others.doubts:
                raise CredentialsError(
                    f"{len(missing)} of {len(wanted)} paths cannot be fetched",
                    where=missing[0],
                    why="\n".join(others.doubts),
                    hint="`pipelinegen cache token` prints how to make the next token",
                )
            if not missing:
                view = PushView(console, cache_name)
                run.carry_out(
                    configured_backend(cache_name, config, notice=view.notice, on_line=view.line, on_idle=view.idle),
                    view,
                    # Attic collects path by path, and its push asks for each of them anyway.
                    ask_first=cache_config.backend != "attic",
                    timeout=config.handoff.visible_timeout,
                    touch=touch,
                )
    except PipelinegenError as error:
        run.learn(stopped=error)
        run.end(files, console.clock() - started)
        raise
    if missing:
        result = _nowhere(cache_name, wanted, missing, troubles, console.clock() - started)
        files.write(result)
        return result
    return run.end(files, console.clock() - started)


def check_store_paths(paths: Iterable[str]) -> list[str]:
    """`paths` without repetitions.

    Raises:
        UsageError: there are none, or one is no store path.
    """
    wanted = list(dict.fromkeys(paths))
    if not wanted:
        raise UsageError("no store paths were given", hint="name at least one output path")
    for path in wanted:
        if not _STORE_PATH.fullmatch(path):
            raise UsageError(f"{path!r} is no store path", hint="expected such as /nix/store/<hash>-<name>")
        if path.endswith(".drv"):
            raise UsageError(f"{path!r} is a derivation", hint="name the output path that it makes")
    return wanted


def _nowhere(cache_name: str, wanted: list[str], missing: list[str], troubles: list[str], seconds: float) -> StepResult:
    items = [
        ItemResult(name=path, status=Status.FAILED, message="no trusted cache has it, nor the local store")
        if path in missing
        else ItemResult(name=path, status=Status.NOT_TRIED, message="not pushed because others are missing")
        for path in wanted
    ]
    return StepResult(
        step="push",
        what=cache_name,
        seconds=seconds,
        items=tuple(items),
        message=f"{len(missing)} of {len(wanted)} paths are nowhere to be had",
        why="\n".join([missing[0], *troubles]),
        hint="run the job that builds it again; caches delete what was not used for long, and artifacts expire",
        # A cache that could not be asked may have it.
        transient=bool(troubles),
    )


def find_cache(name: str, config: Config) -> CacheConfig:
    """The cache of that name.

    Raises:
        UsageError: there is none; a close match is offered.
    """
    if name in config.caches:
        return config.caches[name]
    close = difflib.get_close_matches(name, config.caches, n=1)
    known = ", ".join(sorted(config.caches)) or "none"
    raise UsageError(
        f"there is no cache {name!r} in the configuration",
        why=f"configured: {known}",
        hint=f"did you mean {close[0]!r}?" if close else None,
    )
