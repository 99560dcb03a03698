"""SIGINT, SIGTERM and SIGHUP become `InterruptedRunError`, raised only where nothing is half done.

The first signal counts; later ones are dropped, so that the cleaning up which the first one began comes to
its end (every step of it is bounded in time).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from pipelinegen.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The last is of a terminal or connection that was closed; whoever ignores it (`nohup`) is left alone."""


@dataclass
class _State:
    received: int | None = None
    raised: bool = False
    held: int = 0


_state = _State()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it, `SIGNALS` raise `InterruptedRunError` in the main thread.

    Inside `held` they wait for its end (or for `check`). Outside the main thread this does nothing, since
    Python runs signal handlers in the main thread only.

    Raises:
        InterruptedRunError: a signal arrived; its exit code is 128 plus the signal's number.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.received, _state.raised = None, False
    ours = [one for one in SIGNALS if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _arrived) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _state.received = None


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it a signal is only noted; it is raised at the end, or by `check`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
        if _state.held == 0:
            check()


def check() -> None:
    """Raise now if a signal has arrived: for loops that run inside `held` or in another thread.

    Raises:
        InterruptedRunError: in the main thread once, so that cleaning up may still start processes.
    """
    if _state.received is None:
        return
    if threading.current_thread() is threading.main_thread():
        if _state.raised:
            return
        _state.raised = True
    raise InterruptedRunError(_state.received)


def _arrived(number: int, _frame: FrameType | None) -> None:
    if _state.received is None:
        _state.received = number
        if _state.held == 0:
            check()
