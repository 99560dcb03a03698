"""Whether a host should be given this system now, by what it runs and what happened to it: rules of the pre-flight.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from pipelinegen.config_hosts import HostConfig
from pipelinegen.deploy.findings import Findings
from pipelinegen.deploy.preflight_answers import Seen

_ENDS = {
    (False, "restored"): "was undone",
    (False, "restore-failed"): "failed, and the system before could not be brought back",
    (False, "boot-failed"): "could not be made the one to boot",
    (True, "restore-failed"): "was to bring this system back, and failed",
}
"""Whether an activation was a way back, and its result → what is said of it."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def check_inhibitors(
    found: Sequence[str], host: HostConfig, action: str, findings: Findings
) -> Literal["boot", "reboot"] | None:
    """What the action must become where the host cannot switch live; null: it stays what it is."""
    if not found or action not in {"switch", "test"}:
        return None
    sentence = f"this switch is not possible while the host runs: {'; '.join(found)}"
    if host.on_inhibitor == "force":
        findings.warnings.append(f"{sentence}; it is done all the same (on_inhibitor = force)")
        return None
    if host.on_inhibitor == "refuse" or action == "test":
        findings.refuse(sentence, 'deploy with `--action boot` or `--action reboot`, or set on_inhibitor = "boot"')
        return None
    then = "the next boot takes the new system" if host.on_inhibitor == "boot" else "the host is rebooted into it"
    findings.warnings.append(f"{sentence}; {then} (on_inhibitor = {host.on_inhibitor})")
    return host.on_inhibitor


def check_reboot(needed: Sequence[str], host: HostConfig, action: str, findings: Findings) -> None:
    """Say that some of the new system waits for a reboot; where that fails a deployment, it does so in the end."""
    if needed and host.on_reboot_needed != "ignore" and action in {"switch", "test"}:
        findings.warnings.append(f"the host must be rebooted before it uses the new {', '.join(needed)}")


def check_newer(
    seen: Seen,
    host: HostConfig,
    revision: str | None,
    newer: Callable[[str], bool | None],
    address: str,
    findings: Findings,
) -> None:
    """Whether the host runs a system of a later commit than ours."""
    running = seen.state.running if seen.state else None
    recorded = seen.deployed.get("revision", "") if running and seen.deployed.get("system") == running else ""
    theirs = recorded or seen.revision
    if revision is None or not _COMMIT.fullmatch(theirs) or theirs == revision:
        return
    answer = newer(theirs)
    if answer is None:
        findings.notes.append(f"{address} runs commit {theirs}; whether that is later than ours is not known here")
    elif answer:
        sentence = f"{address} runs a system of a later commit ({theirs}) than ours ({revision})"
        if host.on_newer == "refuse":
            hint = "deploy the later commit, or this one with --allow-older or PIPELINEGEN_ALLOW_OLDER=1"
            findings.refuse(sentence, hint)
        else:
            findings.warnings.append(sentence)


def check_drift(seen: Seen, system: str, host: HostConfig, address: str, findings: Findings) -> None:
    """Whether the host runs and boots what a pipeline brought there last."""
    state = seen.state
    # nixos-rebuild leaves no record of ours: an older one would make all that it did look strange.
    if state is None or state.running in {None, system} or host.engine != "supervised":
        return
    deployed = seen.deployed.get("system", "")
    if not deployed:
        findings.notes.append(f"{address} was never deployed by pipelinegen; it runs {state.running}")
        return
    tested = seen.last.get("system") if seen.last.get("result") == "confirmed" else None
    waits = deployed == state.profile and state.running == seen.deployed.get("previous")
    if state.running not in {deployed, tested} and not waits:
        sentence = f"{address} runs {state.running}, which no pipeline brought there (the last one brought {deployed})"
    elif state.profile not in {deployed, system, None}:
        sentence = f"the next boot of {address} takes {state.profile}, not {deployed}, which a pipeline brought there"
    else:
        return
    if host.on_drift == "refuse":
        findings.refuse(sentence, 'find out who changed the host; set on_drift = "warn" to deploy over it')
    elif host.on_drift == "warn":
        findings.warnings.append(sentence)


def check_last(seen: Seen, address: str, findings: Findings) -> None:
    """How the last activation ended, where it did not end well: perhaps nobody was there to hear it."""
    last, reason = seen.last, seen.last.get("reason", "")
    if not last.get("id") or seen.locks:
        return
    what = f"the last activation on {address} ({last['id']} of {last.get('system', '')})"
    because = f": {reason}" if reason else ""
    if last.get("phase") != "ended":
        rebooted = seen.state is not None and last.get("boot_id") not in {"", None, seen.state.boot_id}
        how = "was ended by a reboot" if rebooted else "never came to its end"
        findings.warnings.append(f"{what} {how} (phase: {last.get('phase', '')})")
        return
    ending = _ENDS.get((last.get("action") == "restore", last.get("result", "")))
    if ending is not None:
        findings.warnings.append(f"{what} {ending}{because}")
