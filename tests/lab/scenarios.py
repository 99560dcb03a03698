"""What can happen to a deployment, and what comes of it: the table that the tests show on real machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.lab.deployer import Deployer, look

Which = Literal["old", "new"]


@dataclass(frozen=True)
class Scenario:
    """One row.

    Attributes:
        name: what happens.
        runs, boots: which system runs afterwards, and which one the next boot takes.
        result: what the report says; of a deployer that was killed, what the host's own record says (or nothing).
        code: exit code of `run deploy`; null when it was killed.
    """

    name: str
    runs: Which
    boots: Which
    result: str
    code: int | None

    def __str__(self) -> str:
        return self.name

    def holds(self, deployer: Deployer, new: str, *, failed: tuple[str, ...] = (), litter: bool = False) -> None:
        """Assert against the machine itself that it runs and boots what it should, and that nothing of ours is left.

        Args:
            deployer: where it was deployed; the old system is the machine's initial one.
            new: the system that was to be deployed.
            failed: units that are to have failed.
            litter: whether something may lie there until the next deployment, since nobody could clean up.
        """
        paths = {"old": deployer.host.initial_system, "new": new}
        found = look(deployer.host)
        assert (found.runs, found.boots, found.profile) == (paths[self.runs], paths[self.boots], paths[self.boots]), (
            found
        )
        assert found.failed == failed, found
        assert found.ours == (), found
        assert litter or found.litter == (), found

    def told(self, deployer: Deployer, code: int) -> None:
        """Assert that the report says it, and what the machine runs in the end."""
        report = deployer.report()
        assert (report["result"], report["exit_code"], code) == (self.result, self.code, self.code), report
        assert bool(report["message"]) == bool(self.code)
        if self.code in {30, 31, 40}:
            return  # it changed nothing, or cannot know
        found = look(deployer.host)
        assert (report["after"]["running"], report["after"]["profile"]) == (found.runs, found.boots), report


def _row(name: str, runs: Which, boots: Which, result: str, code: int | None) -> Scenario:
    return Scenario(name, runs, boots, result, code)


SCENARIOS = (
    _row("a system that works", "new", "new", "deployed", 0),
    _row("the system that runs already", "new", "new", "unchanged", 0),
    _row("very much output", "new", "new", "deployed", 0),
    _row("a unit that may fail fails", "new", "new", "deployed", 0),
    _row("a unit fails that had failed before", "new", "new", "deployed", 0),
    _row("the activation script fails", "old", "old", "rolled-back", 20),
    _row("the activation script fails when half of it is there", "old", "old", "rolled-back", 20),
    _row("the activation does not end", "old", "old", "rolled-back", 20),
    _row("a unit cannot start", "old", "old", "rolled-back", 20),
    _row("a unit fails a moment later", "old", "old", "rolled-back", 20),
    _row("a unit file is no good", "old", "old", "rolled-back", 20),
    _row("a health probe fails", "old", "old", "rolled-back", 20),
    _row("a health probe fails that is to undo nothing", "new", "new", "failed", 1),
    _row("a smoke test fails", "old", "old", "rolled-back", 20),
    _row("the system can only be booted", "old", "new", "reboot-required", 50),
    _row("the boot loader cannot be written", "new", "old", "boot-failed", 23),
    _row("the way back is cut off", "old", "old", "rollback-failed", 22),
    _row("the way back is cut off when half of it is there", "new", "old", "rollback-failed", 22),
    _row("sshd goes away for a moment", "new", "new", "deployed", 0),
    _row("the network is cut for a moment", "new", "new", "deployed", 0),
    _row("the network is cut until after the time to confirm", "old", "old", "rolled-back", 20),
    _row("the new system closes port 22", "old", "old", "rolled-back", 20),
    _row("the new system has no network", "old", "old", "rolled-back", 20),
    _row("sshd is broken for good", "old", "old", "state-unknown", 40),
    _row("the deployer is killed while it looks", "old", "old", "", None),
    _row("the deployer is killed while it copies", "old", "old", "", None),
    _row("the deployer is killed while the host activates", "old", "old", "restored", None),
    _row("the deployer is killed before it confirms", "old", "old", "restored", None),
    _row("the deployer is killed while the host returns", "old", "old", "restored", None),
    _row("the deployer is killed after it confirmed", "new", "new", "confirmed", None),
    _row("the deployer is interrupted while the host activates", "old", "old", "interrupted", 143),
    _row("the new system reboots the host while it is activated", "old", "old", "rolled-back", 20),
    _row("the power is cut while the host activates", "old", "old", "rolled-back", 20),
    _row("the power is cut before the confirmation", "old", "old", "rolled-back", 20),
    _row("the power is cut while the host commits", "old", "old", "rolled-back", 20),
    _row("the power is cut while the host returns", "old", "old", "rolled-back", 20),
    _row("the activation fills the disk", "old", "old", "rolled-back", 20),
    _row("the disk is full when the system is to become the one to boot", "new", "old", "boot-failed", 23),
    _row("the disk is full before anything is copied", "old", "old", "refused", 30),
    _row("the disk becomes full while copying", "old", "old", "refused", 30),
    _row("another host key", "old", "old", "refused", 30),
    _row("no answer", "old", "old", "refused", 30),
    _row("another deployment is going on", "old", "old", "locked", 31),
    _row("another switch is going on", "old", "old", "locked", 31),
    _row("another switch began just before", "old", "old", "locked", 31),
    _row("of two deployments at once, the first", "new", "new", "deployed", 0),
    _row("of two deployments at once, the second", "old", "old", "locked", 31),
)
"""In the order of the table in the documentation. `old` is what ran before, which no pipeline brought there."""

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
SHOWN: set[str] = set()
"""Names of those that some test module shows, as far as the modules were imported."""


def shown(name: str) -> Scenario:
    """The scenario with this name, for the test that shows it."""
    SHOWN.add(name)
    return _BY_NAME[name]
