"""Getting store paths into the local store by name, from the caches that this pipeline trusts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pipelinegen import local_store, nix
from pipelinegen.cache.read import substitution
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.console import Console
from pipelinegen.run import nix_events, trouble
from pipelinegen.run.build_log import BuildLog


def fetch(
    paths: Iterable[str],
    *,
    config: Config,
    kind: PipelineClass,
    console: Console,
    roots: Path,
    on_trouble: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Fetch what the local store lacks of `paths`, with closures; the ones that could not be had.

    Args:
        paths: output paths, each asked for by name.
        config, kind: which caches are trusted.
        console: where to say what happens.
        roots: folder for links that keep them from the garbage collector.
        on_trouble: takes what Nix said when some could not be had for a reason that may pass.

    Raises:
        CredentialsError: the credentials of a cache are missing.
    """
    wanted = list(dict.fromkeys(paths))
    absent = nix.invalid_paths(wanted)
    missing: list[str] = []
    if absent:
        console.say(f"fetching {len(absent)} of {len(wanted)} paths")
        log = BuildLog(console)
        missing = nix.substitute(
            absent, substitution(config, kind), options=nix_events.OPTIONS, on_line=log.line, on_idle=log.idle
        )
        passing = trouble.passing([*log.errors, *log.warnings])
        if missing and passing is not None:
            on_trouble(passing)
    gone = set(missing)
    local_store.root_paths([path for path in wanted if path not in gone], roots / "fetched")
    return missing
