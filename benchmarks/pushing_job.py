"""One push or one question, in a process of its own: what is measured is all of it.

Reads a JSON object on standard input, and prints one.
"""

from __future__ import annotations

import functools
import inspect
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine
from pipelinegen.cache.attic import backend
from pipelinegen.cache.attic import push as pushing
from pipelinegen.cache.model import Outcome, PushProgress
from pipelinegen.config_caches import CacheConfig, Pushing, WriterClass

TOKEN = "BENCHMARK_TOKEN"  # noqa: S105  # the variable's name
PARTS = {
    "local": (backend.local_store, "closure_infos"),
    "ask": (backend, "find_missing"),
    "send": (pushing, "upload_all"),
    "verify": (backend.AtticCache, "_verify"),
}
"""What a push consists of → the function that does it."""


def main() -> None:
    """Do what is asked for."""
    order = json.load(sys.stdin)
    cache = _cache(order)
    result = _push(cache, order["paths"]) if order["do"] == "push" else _query(cache, order["paths"])
    print(json.dumps({**result, **_usage()}))


def _cache(order: dict[str, Any]) -> backend.AtticCache:
    settings = {"url": order["url"], "backend": "attic", "writers": WriterClass.PROTECTED, "token_env": TOKEN}
    config = CacheConfig.model_validate({**settings, "public_key": order["public_key"]})
    return backend.AtticCache("benchmark", config, pushing=Pushing(jobs=order.get("jobs", 4)))


def _push(cache: backend.AtticCache, paths: list[str]) -> dict[str, Any]:
    spent = _timed_parts()
    told = PushProgress()
    retries = 0

    def listen(progress: PushProgress) -> None:
        nonlocal told, retries
        # Each sending counts its own.
        retries += max(0, progress.retries - (told.retries if progress.retries >= told.retries else 0))
        told = progress

    started = time.perf_counter()
    report = cache.push(paths, on_progress=listen)
    return {
        "seconds": time.perf_counter() - started,
        "parts": spent,
        "paths": len(report.paths),
        "sent": len(report.of(Outcome.PUSHED, Outcome.DEDUPLICATED)),
        "present": len(report.of(Outcome.PRESENT)),
        "failed": len(report.of(Outcome.FAILED, Outcome.NOT_TRIED)),
        "attempts": sum(one.attempts for one in report.paths),
        "retries": retries,
        "bytes": sum(one.nar_bytes for one in report.paths),
    }


def _query(cache: backend.AtticCache, paths: list[str]) -> dict[str, Any]:
    started = time.perf_counter()
    answers, trouble = cache.query(paths)
    seconds = time.perf_counter() - started
    held = sum(answer is True for answer in answers.values())
    unknown = sum(answer is None for answer in answers.values())
    return {"seconds": seconds, "asked": len(answers), "held": held, "unknown": unknown, "trouble": trouble}


def _usage() -> dict[str, float]:
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "own_core_seconds": own.ru_utime + own.ru_stime,
        "nix_core_seconds": others.ru_utime + others.ru_stime,
        "peak_mib": machine.own_peak_mib(),
    }


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
    main()
