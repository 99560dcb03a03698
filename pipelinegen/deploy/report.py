"""What a deployment did, as a value: the schema of its JSON report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelinegen.deploy.state import HostState
from pipelinegen.errors import DeployError, DeployOutcome
from pipelinegen.values import Value

FORMAT_VERSION = "1.1"

DEPLOYED = "deployed"
UNCHANGED = "unchanged"
DRY_RUN = "dry-run"
INTERRUPTED = "interrupted"

Action = Literal["switch", "boot", "test", "dry-activate", "reboot"]
"""What becomes of a system on a host: now and at boot, at the next boot, now only, nothing, at boot and reboot."""


class Phase(Value):
    """A part of a deployment and how many seconds it took."""

    name: str
    seconds: float


class PackageChange(Value):
    """A package of which two closures hold other versions.

    Attributes:
        name: without version.
        before, after: versions, sorted; empty where the closure has none of it.
        bytes: how much larger it became, uncompressed; negative for smaller.
    """

    name: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    bytes: int = 0


class UnitChanges(Value):
    """What a switch did with units, or would do, by its own words; each sorted."""

    stopped: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    reloaded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


NO_UNITS = UnitChanges()


class ProbeResult(Value):
    """How a probe of the configuration ended.

    Attributes:
        title: how reports call it.
        passed: whether it was answered well within its time.
        tries: how often it was asked.
        seconds: from the first try to the end.
        said: of the last try that was not well: exit code, status or error, with some of its output, cleaned.
    """

    title: str
    passed: bool
    tries: int
    seconds: float
    said: str = ""


class DeployReport(Value):
    """What a deployment did.

    Attributes:
        host, address: its name in the configuration, and where that is.
        system: what was to be deployed.
        action: switch, boot, test, dry-activate, reboot or rollback.
        engine: what switched it.
        revision: the commit that the system was made of, where that is known.
        result: `deployed`, `unchanged` (it ran already), `dry-run`, `interrupted`, or the outcome in lower case.
        before, after: what the host ran; null where it could not be asked.
        generation_before, generation_after: numbers in the host's system profile, where known.
        message, why, hint: of a deployment that did not end in plain success; null otherwise.
        exit_code: of `run deploy`, see `errors.DeployOutcome`.
        switch_exit_code: of the system's switch-to-configuration; null when it did not run or is not known.
        units: what the switch said of units.
        newly_failed: units that had not failed before, without those that may fail.
        tolerated: what went wrong and is no failure by the configuration, one sentence each.
        health, smoke: the configuration's probes, as far as they were asked.
        diff: packages that differ between what ran and `system`; null where that could not be found out.
        refusals, warnings: findings of the pre-flight.
        reboot_needed: what differs from what the host was booted with: kernel, initrd, kernel-modules, …
        missing_bytes: what the host lacked of the closure, uncompressed; null when not known.
        phases: in order.
        log: the last lines of the switch, cleaned.
        log_file: where the whole log stays on the host; null where it does not.
        activation: the activation's name on the host (its unit); null when none was begun.
    """

    format_version: str = FORMAT_VERSION
    host: str
    address: str
    system: str
    action: str = "switch"
    engine: str = "supervised"
    revision: str | None = None
    result: str
    before: HostState | None = None
    after: HostState | None = None
    generation_before: int | None = None
    generation_after: int | None = None
    message: str | None = None
    why: str | None = None
    hint: str | None = None
    exit_code: int = 0
    switch_exit_code: int | None = None
    units: UnitChanges = NO_UNITS
    newly_failed: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()
    health: tuple[ProbeResult, ...] = ()
    smoke: tuple[ProbeResult, ...] = ()
    diff: tuple[PackageChange, ...] | None = None
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reboot_needed: tuple[str, ...] = ()
    missing_bytes: int | None = None
    phases: tuple[Phase, ...] = Field(default=())
    log: tuple[str, ...] = ()
    log_file: str | None = None
    activation: str | None = None

    @property
    def seconds(self) -> float:
        """How long all of it took."""
        return sum(phase.seconds for phase in self.phases)

    def raise_if_failed(self) -> None:
        """Turn anything but plain success into the error that ends the command.

        Raises:
            DeployError: with the outcome.
        """
        if self.message is not None and self.exit_code:
            raise DeployError(
                self.message, outcome=DeployOutcome(self.exit_code), where=self.host, why=self.why, hint=self.hint
            )
