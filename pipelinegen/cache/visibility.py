"""Waiting until a cache serves what it was just given.

Caches that several servers serve, or that a proxy stands before, deny for a while what they were given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pipelinegen.cache.model import Answers
from pipelinegen.errors import StepFailedError, TransientError

Query = Callable[[Sequence[str]], tuple[Answers, str | None]]


def wait(
    name: str,
    query: Query,
    paths: Sequence[str],
    *,
    timeout: float,
    hint: str,
    passing: Callable[[str], bool] = lambda _: True,
    interval: float = 1.0,
) -> None:
    """Ask again until every path (with its closure and signatures) can be fetched.

    Args:
        name: of the cache.
        query: `CacheBackend.query`.
        timeout: seconds; it is asked once more when they are over.
        hint: what is likely wrong where it never does.
        passing: whether a trouble that the cache told may pass.
        interval: seconds before it is asked for the second time; doubled each time, 15 at most.

    Raises:
        StepFailedError: after `timeout` seconds some still cannot; they are named.
        TransientError: the cache could not say, for a reason that may pass.
    """
    deadline = time.monotonic() + timeout
    missing = list(paths)
    while True:
        answers, trouble = query(missing)
        missing = sorted(path for path, answer in answers.items() if not answer)
        if not missing:
            return
        if time.monotonic() > deadline:
            if trouble is not None and passing(trouble):
                raise TransientError(f"cache {name} does not say whether it has what was pushed to it", why=trouble)
            raise StepFailedError(
                f"cache {name} does not serve what was pushed to it",
                where="\n".join(missing[:10]),
                why=trouble or "absent, incomplete, or not signed by the configured public_key",
                hint=hint,
            )
        # One last time when the time is up.
        time.sleep(min(interval, max(deadline - time.monotonic(), 0.05)))
        interval = min(interval * 2, 15.0)
