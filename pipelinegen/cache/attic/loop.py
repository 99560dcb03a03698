"""Running the asynchronous part to its end from ordinary code, with signals that arrive in between."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pipelinegen import interrupts

T = TypeVar("T")

_LOOK_SECONDS = 0.2


def run(main: Coroutine[Any, Any, T]) -> T:
    """What `main` returns.

    A signal cancels it, and is raised when it has cleaned up: raised by a handler in the middle of the event
    loop, it could end up in a callback whose errors are only logged.

    Raises:
        InterruptedRunError: a signal arrived (inside `interruptible`).
    """
    with interrupts.held():
        return asyncio.run(_watched(main))


async def _watched(main: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(main)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=_LOOK_SECONDS)
            interrupts.check()
            if done:
                return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
