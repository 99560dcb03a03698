"""Running the asynchronous part to its end from ordinary code, with signals that arrive in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pipelinegen import interrupts

T = TypeVar("T")

_LOOK_SECONDS = 0.2
_LOOKS_PER_SECOND = 5


def run(main: Coroutine[Any, Any, T], *, on_idle: Callable[[], None] | None = None) -> T:
    """What `main` returns.

    A signal cancels it, and is raised when it has cleaned up: raised by a handler in the middle of the event
    loop, it could end up in a callback whose errors are only logged.

    Args:
        on_idle: called about once a second.

    Raises:
        InterruptedRunError: a signal arrived (inside `interruptible`).
    """
    with interrupts.held():
        return asyncio.run(_watched(main, on_idle or (lambda: None)))


async def _watched(main: Coroutine[Any, Any, T], on_idle: Callable[[], None]) -> T:
    task = asyncio.ensure_future(main)
    looks = 0
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=_LOOK_SECONDS)
            interrupts.check()
            if done:
                return task.result()
            looks += 1
            if looks % _LOOKS_PER_SECOND == 0:
                on_idle()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
