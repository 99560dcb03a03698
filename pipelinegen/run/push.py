"""`run push`: put finished outputs with their closures into a cache, and ask it whether they arrived."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from pipelinegen.cache.read import backend
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig
from pipelinegen.console import Console
from pipelinegen.errors import CredentialsError, StepFailedError, TransientError, UsageError
from pipelinegen.run.exchange import HERE, exchange
from pipelinegen.run.handoff import rooted
from pipelinegen.run.heartbeat import LineLog, duration
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
) -> StepResult:
    """Push the closures of `paths` to one of the configured caches and verify that it serves them.

    What the local store lacks is fetched first: from what other jobs left, and from the caches that a
    pipeline of this class trusts.

    Args:
        cache_name: its name in the configuration.
        paths: output paths in the store; at least one.
        config, kind: the caches, and which of them are trusted.
        console: where people read along.
        reports: files to write when it ends, also when it ends badly.
        outputs: where other jobs leave artifacts, if they do.

    Returns:
        How it ended; `counts` holds `present` and `pushed`. `StepResult.raise_if_failed` is the answer.

    Raises:
        UsageError: no paths, something that is no store path, or a cache that is not configured.
        CredentialsError: the cache refused us, or a key is missing.
    """
    started = console.clock()
    wanted = check_store_paths(paths)
    cache_config = _find_cache(cache_name, config)
    with exchange(config, kind, outputs=outputs, console=console) as others, rooted(()) as roots:
        troubles: list[str] = []
        missing = others.fetch(wanted, roots, on_trouble=troubles.append)
        if missing:
            result = _nowhere(cache_name, wanted, missing, troubles, console.clock() - started)
        else:
            result = _push(
                cache_name,
                cache_config,
                wanted,
                timeout=config.handoff.visible_timeout,
                console=console,
                started=started,
            )
    (reports or Reports()).write(result)
    return result


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


def _find_cache(name: str, config: Config) -> CacheConfig:
    if name in config.caches:
        return config.caches[name]
    close = difflib.get_close_matches(name, config.caches, n=1)
    known = ", ".join(sorted(config.caches)) or "none"
    raise UsageError(
        f"there is no cache {name!r} in the configuration",
        why=f"configured: {known}",
        hint=f"did you mean {close[0]!r}?" if close else None,
    )


def _push(
    name: str, cache_config: CacheConfig, wanted: list[str], *, timeout: float, console: Console, started: float
) -> StepResult:
    lines = LineLog(console, f"pushing to cache {name}")
    cache = backend(name, cache_config, on_line=lines.line, on_idle=lines.idle)
    answers, trouble = cache.query(wanted)
    if trouble is not None:
        console.warn(f"cache {name} does not say what it has: {trouble}")
    absent = [path for path in wanted if not answers[path]]
    failure: StepFailedError | TransientError | CredentialsError | None = None
    if absent:
        console.say(f"pushing {len(absent)} of {len(wanted)} closures to cache {name}")
        try:
            cache.push(absent)
            cache.wait_until_visible(wanted, timeout=timeout)
        except (StepFailedError, TransientError) as error:
            failure = error
    seconds = console.clock() - started
    status = Status.OK if failure is None else Status.FAILED
    result = StepResult(
        step="push",
        what=name,
        seconds=seconds,
        items=tuple(
            ItemResult(name=path, status=status, message=failure.message if failure else None)
            if path in absent
            else ItemResult(name=path, status=Status.PRESENT)
            for path in wanted
        ),
        counts={"present": len(wanted) - len(absent), "pushed": len(absent) if failure is None else 0},
        message=failure.message if failure else None,
        why="\n".join(part for part in (failure.why, failure.where) if part) or None if failure else None,
        hint=failure.hint if failure else None,
        transient=isinstance(failure, TransientError),
    )
    console.say(
        f"cache {name}: {result.counts['present']} already there, {result.counts['pushed']} pushed "
        f"({duration(seconds)})"
    )
    return result
