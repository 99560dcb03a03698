"""Waiting until a host has come to rest after a switch."""

from __future__ import annotations

from collections.abc import Callable

from pipelinegen.console import Console
from pipelinegen.deploy.ssh import UnreachableError
from pipelinegen.deploy.state import HostState
from pipelinegen.errors import CommandError

SETTLE_TIMEOUT = 60.0
"""Seconds to wait at most until systemd has no more jobs, beyond what the configuration asks for."""
PAUSE = 1.0


def settled(
    ask: Callable[[], HostState],
    console: Console,
    *,
    settle: float,
    patience: float,
    sleep: Callable[[float], None],
    lost: Callable[[], None] = lambda: None,
) -> HostState | None:
    """What a host runs once systemd has come to rest; null when it does not answer for long.

    Args:
        ask: asks the host for its state, over a connection of its own.
        console: its clock counts.
        settle: seconds that services have to fail, however quiet the host is.
        patience: seconds without an answer that are borne.
        sleep: waits for seconds.
        lost: called after each question that was not answered.
    """
    started = answered = console.clock()
    while True:
        now = console.clock()
        try:
            state = ask()
        except (UnreachableError, CommandError):
            if now - answered > patience:
                return None
            lost()
            sleep(PAUSE)
            continue
        answered = now
        if (state.pending == 0 and now - started >= settle) or now - started > settle + SETTLE_TIMEOUT:
            return state
        sleep(PAUSE)
