"""What an activation came to, from what the supervisor says and what the host runs afterwards. Pure.

The host is believed before the supervisor: a verdict names what runs and what boots, as it was read over a fresh
connection after everything was over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelinegen.deploy.state import HostState
from pipelinegen.deploy.supervisor import Order, Status
from pipelinegen.errors import DeployOutcome

LOCKED = 11
"""switch-to-configuration's exit code where another switch is going on."""
UNITS_FAILED = 4
NEEDS_REBOOT = 100

_BUSY = ("another ", "the host was given another system")


@dataclass(frozen=True)
class Verdict:
    """How it ended: null outcome means that the host is as it was to be; `why` and `hint` only explain."""

    outcome: DeployOutcome | None = None
    message: str | None = None
    why: str | None = None
    hint: str | None = None


def judge(
    order: Order, status: Status, before: HostState, after: HostState | None, newly_failed: Sequence[str]
) -> Verdict:
    """The verdict on one order.

    Args:
        order, status: what was asked for, and the supervisor's last word.
        before, after: what the host ran; null where it cannot be asked any more.
        newly_failed: units that had not failed before and may not fail, read with `after`.
    """
    if after is None:
        return Verdict(
            DeployOutcome.STATE_UNKNOWN,
            "the host does not answer; what it runs is not known",
            why=status.reason or "the connection was lost during or after the activation",
            hint="if it did not get our word, it returns to the system before by itself; see /var/lib/pipelinegen",
        )
    reached = after.running == order.system if order.action != "boot" else True
    boots = after.profile == (before.profile if order.action == "test" else order.system)
    same = (after.running, after.profile) == (before.running, before.profile)
    if status.rebooted or not status.result:
        return _cut_short(order, status, after, newly_failed, same=same, boots=boots)
    if status.result == "confirmed":
        return Verdict() if reached and boots else _elsewhere(after, "it was confirmed, but meanwhile")
    verdicts = {
        "boot-failed": lambda: _boot_failed(order, status, before, after),
        "restored": lambda: _restored(status, after, newly_failed, same=same),
        "refused": lambda: _refused(status, after, same=same),
        "restore-failed": lambda: _not_restored(status, after, same=same),
    }
    return verdicts.get(status.result, lambda: _elsewhere(after, status.reason))()


def _restored(status: Status, after: HostState, newly_failed: Sequence[str], *, same: bool) -> Verdict:
    if not same:
        return _elsewhere(after, status.reason)
    if newly_failed:
        return Verdict(
            DeployOutcome.ROLLED_BACK_UNHEALTHY,
            "the activation was undone and the system before runs again, but it is not healthy",
            why=f"{status.reason}; failed now: {', '.join(newly_failed)}",
        )
    return Verdict(
        DeployOutcome.ROLLED_BACK, "the activation was undone; the system before runs again", why=status.reason
    )


def _not_restored(status: Status, after: HostState, *, same: bool) -> Verdict:
    if not same:
        return _elsewhere(after, status.reason)
    return Verdict(
        DeployOutcome.ROLLBACK_FAILED,
        f"the way back failed; {after.running} runs and boots as before, but the switch to it did not end well",
        why=status.reason,
        hint=f"on the host: {after.running}/bin/switch-to-configuration test",
    )


def _refused(status: Status, after: HostState, *, same: bool) -> Verdict:
    if status.reason.startswith(_BUSY) or status.activation_exit == LOCKED:
        return Verdict(DeployOutcome.LOCKED, "nothing was changed: the host is busy", why=status.reason)
    if not same:
        return _elsewhere(after, status.reason)
    return Verdict(DeployOutcome.FAILED, "nothing was changed: the activation did not begin", why=status.reason)


def _boot_failed(order: Order, status: Status, before: HostState, after: HostState) -> Verdict:
    if after.running != (order.system if order.action != "boot" else before.running):
        return _elsewhere(after, status.reason)
    runs = "nothing runs anew" if order.action == "boot" else "the new system runs"
    return Verdict(
        DeployOutcome.BOOT_FAILED,
        f"{runs}, but it could not be made the one to boot; the next boot takes {after.profile}",
        why=status.reason,
        hint="look at the free space of /boot and of the store there",
    )


def _cut_short(
    order: Order, status: Status, after: HostState, newly_failed: Sequence[str], *, same: bool, boots: bool
) -> Verdict:
    """It did not come to its own end: the host was booted, or somebody ended the supervisor."""
    what = "the host was booted" if status.rebooted else "the supervisor was ended from outside"
    why = "; ".join(part for part in (status.reason, f"{what} (phase: {status.phase or 'not begun'})") if part)
    if status.phase in {"committing", "ended"} and after.running == order.system and boots and status.rebooted:
        return Verdict(why=why)  # that it was booted proves what the boot loader takes
    if status.phase == "committing" and boots and not status.rebooted:
        return Verdict(
            DeployOutcome.BOOT_FAILED,
            f"it runs {after.running} and its profile is {after.profile}, but the boot loader may not know that",
            why=why,
            hint=f"on the host: {order.system}/bin/switch-to-configuration boot",
        )
    if not same:
        return _elsewhere(after, why)
    if newly_failed:
        return Verdict(
            DeployOutcome.ROLLED_BACK_UNHEALTHY,
            "the system before runs again, but it is not healthy",
            why=f"{why}; failed now: {', '.join(newly_failed)}",
        )
    return Verdict(DeployOutcome.ROLLED_BACK, "the system before runs again", why=why)


def _elsewhere(after: HostState, why: str) -> Verdict:
    return Verdict(
        DeployOutcome.ROLLBACK_FAILED,
        f"the host is neither as it was nor as it should be: it runs {after.running}, "
        f"and its next boot takes {after.profile}",
        why=why or None,
        hint="its record is in /var/lib/pipelinegen, its log in the journal",
    )
