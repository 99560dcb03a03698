"""How engines are asked to make a system the running one, and how they say what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipelinegen.deploy.report import NO_UNITS, ProbeResult, UnitChanges
from pipelinegen.deploy.state import HostState
from pipelinegen.errors import DeployOutcome


@dataclass(frozen=True)
class Applied:
    """How a change ended.

    Attributes:
        outcome: null when the host runs the new system and all is well.
        message, why, hint: of a change that did not end well.
        exit_code: of the new system's switch-to-configuration; null when it is not known.
        newly_failed: units that had not failed before, without those that may fail.
        tolerated: what went wrong and is no failure by the configuration, one sentence each.
        state: what the host runs in the end, as far as it could be asked.
        units: what the switch said of units.
        health, smoke: the probes that were asked.
        log: the last lines that the switch printed.
        log_file: where the whole log stays on the host.
        activation: its name on the host.
    """

    outcome: DeployOutcome | None = None
    message: str | None = None
    why: str | None = None
    hint: str | None = None
    exit_code: int | None = None
    newly_failed: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()
    state: HostState | None = None
    units: UnitChanges = NO_UNITS
    health: tuple[ProbeResult, ...] = ()
    smoke: tuple[ProbeResult, ...] = ()
    log: tuple[str, ...] = ()
    log_file: str | None = None
    activation: str | None = None


class Activation(Protocol):
    """Makes a system the running one; leaves the previous one where that fails, or says what there is."""

    def apply(self, system: str, before: HostState) -> Applied:
        """Bring the host to `system`, which is in its store and rooted; judge.

        Args:
            system: store path of the new system.
            before: what the host ran when we came.

        Raises:
            InterruptedRunError: a signal arrived; what was begun goes on by itself on the host.
        """
        ...
