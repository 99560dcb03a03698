"""One push or one question, in a process of its own: what is measured is all of it.

    python -m benchmarks.pushing_job FILE

The file holds a JSON object (see `Order`); what it took is printed as one.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from benchmarks import machine
from pipelinegen import local_store
from pipelinegen.cache.attic import backend
from pipelinegen.cache.attic import push as pushing
from pipelinegen.cache.model import Outcome
from pipelinegen.config_caches import CacheConfig, Pushing, WriterClass

TOKEN = "BENCHMARK_TOKEN"  # noqa: S105  # the variable's name

PARTS = {
    "local": (local_store, "closure_infos"),
    "ask": (backend, "find_missing"),
    "send": (pushing, "upload_all"),
    "verify": (backend.AtticCache, "_verify"),
}
"""Parts of a push → the function that does it."""


class Order(TypedDict):
    """What to do.

    Attributes:
        url: of the cache.
        paths: to push with their closures, or to ask for.
        jobs: uploads at once.
    """

    do: Literal["push", "query"]
    url: str
    public_key: str
    paths: Sequence[str]
    jobs: int


def main(arguments: Sequence[str]) -> None:
    """Do what is asked for."""
    order: Order = json.loads(Path(arguments[0]).read_text("utf-8"))
    settings = {"backend": "attic", "writers": WriterClass.PROTECTED, "token_env": TOKEN}
    config = CacheConfig.model_validate({**settings, "url": order["url"], "public_key": order["public_key"]})
    cache = backend.AtticCache("benchmark", config, pushing=Pushing(jobs=order["jobs"]))
    result = _push(cache, order["paths"]) if order["do"] == "push" else _query(cache, order["paths"])
    print(json.dumps({**result, "peak_mib": machine.own_peak_mib()}))


def _push(cache: backend.AtticCache, paths: Sequence[str]) -> dict[str, Any]:
    spent = _timed_parts()
    report = cache.push(paths)
    failed = report.of(Outcome.FAILED, Outcome.NOT_TRIED)
    return {
        **spent,
        "paths": len(report.paths),
        "sent": len(report.of(Outcome.PUSHED, Outcome.DEDUPLICATED)),
        "failed": len(failed),
        "why": failed[0].message if failed else None,
        "uploads": sum(one.attempts for one in report.paths),
        "bytes": sum(one.nar_bytes for one in report.paths),
    }


def _query(cache: backend.AtticCache, paths: Sequence[str]) -> dict[str, Any]:
    started = time.perf_counter()
    answers, trouble = cache.query(paths)
    held = sum(answer is True for answer in answers.values())
    absent = sum(answer is False for answer in answers.values())
    return {"answered": time.perf_counter() - started, "held": held, "absent": absent, "why": trouble}


def _timed_parts() -> dict[str, float]:
    """Seconds of each of `PARTS`, filled in while they run."""
    spent = dict.fromkeys(PARTS, 0.0)
    for part, (owner, name) in PARTS.items():
        setattr(owner, name, _timed(getattr(owner, name), part, spent))
    return spent


def _timed(function: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[part] += time.perf_counter() - started

    @functools.wraps(function)
    async def call_async(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return await function(*arguments, **named)
        finally:
            spent[part] += time.perf_counter() - started

    return call_async if inspect.iscoroutinefunction(function) else call


if __name__ == "__main__":
    main(sys.argv[1:])
