"""What nixos-rebuild is told, and what its end means. Pure.

There are two of it: the shell script of nixpkgs until 25.05 (`pkgs/os-specific/linux/nixos-rebuild`) and the one in
Python since (`pkgs/by-name/ni/nixos-rebuild-ng`). Both copy the system to the host, set its profile, and only then
run the new system's switch-to-configuration, whose exit code becomes theirs. Neither has a way back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelinegen.deploy.state import PROFILE, HostState
from pipelinegen.deploy.verdict import LOCKED, NEEDS_REBOOT, UNITS_FAILED
from pipelinegen.errors import DeployOutcome

RebuildAction = Literal["switch", "boot", "test", "dry-activate"]

STORE_PATH = "--store-path"
NO_REEXEC = "--no-reexec"
SUDO = "--sudo"
ASKED = (STORE_PATH, NO_REEXEC, SUDO)
"""Options that some versions lack."""

_NEVER = "--pipelinegen-asks"
PROBE = (f"{STORE_PATH}=/", NO_REEXEC, SUDO, _NEVER, "dry-build")
"""Arguments that every version refuses before it does anything, naming what it does not know."""

_MEANINGS = {
    1: "copying, a check before the switch, or the boot loader: its last lines say which",
    2: "the activation script failed",
    UNITS_FAILED: "units failed",
    LOCKED: "another switch was going on",
    NEEDS_REBOOT: "the new system needs a reboot",
    255: "ssh lost the host, or never had it",
}
"""switch-to-configuration's exit codes, as nixos-rebuild passes them on; 255 is ssh's."""


def known_options(manual: str) -> frozenset[str] | None:
    """Which of `ASKED` the help text names; null where it is none, as where no `man` is installed to show it."""
    text = manual.replace("\u2010", "-")  # a hyphen in the place of a minus, as some typesetters write it
    if "--target-host" not in text:
        return None
    return frozenset(option for option in ASKED if re.search(rf"{option}(?![\w-])", text))


def options_not_refused(said: str) -> frozenset[str] | None:
    """Which of `ASKED` were not refused with `PROBE`; null where nothing was refused.

    Python's argparse names all unknown arguments, the shell script the first one and ends.
    """
    refused = {option for option in (*ASKED, _NEVER) if re.search(rf"{option}(?![\w-])", said)}
    if not refused:
        return None
    return frozenset(option for option in ASKED if option not in refused) if _NEVER in refused else frozenset()


def arguments(
    action: RebuildAction,
    system: str,
    known: Collection[str],
    *,
    login: str,
    root: bool,
    substitute: bool,
    flake: str,
    name: str,
) -> list[str]:
    """nixos-rebuild's command line; nothing secret is in it.

    Args:
        known: of `ASKED`.
        login: `user@address`; an IPv6 address in brackets.
        root: whether it logs in as root.
        substitute: let the host fetch from the caches that it knows.
        flake, name: what is deployed where it knows no store paths.
    """
    return [
        action,
        *([STORE_PATH, system] if STORE_PATH in known else ["--flake", f"{flake}#{name}"]),
        *("--target-host", login),
        *([] if root else [SUDO if SUDO in known else "--use-remote-sudo"]),
        *(["--use-substitutes"] if substitute else []),
        # It would build another version of itself first, and run that.
        NO_REEXEC if NO_REEXEC in known else "--fast",
    ]


@dataclass(frozen=True)
class Outcome:
    """What it came to; a null outcome means that all is as it should be."""

    outcome: DeployOutcome | None = None
    message: str | None = None
    why: str | None = None
    hint: str | None = None


def judge(
    action: RebuildAction,
    system: str,
    code: int | None,
    before: HostState,
    after: HostState,
    failed: Sequence[str],
    *,
    units_named: bool,
) -> Outcome:
    """The verdict, by what the host runs afterwards.

    Args:
        code: its exit code; null when it was ended because its time was up.
        before, after: what the host ran, and runs.
        failed: newly failed units that may not fail.
        units_named: whether it said which units failed, so that exit code 4 is about nothing else.
    """
    runs = after.running == (before.running if action in {"boot", "dry-activate"} else system)
    boots = after.profile == (system if action in {"switch", "boot"} else before.profile)
    now = state_text(system, before, after)
    if code == NEEDS_REBOOT and action == "switch" and after.profile == system and after.running == before.running:
        return Outcome(DeployOutcome.REBOOT_REQUIRED, f"the new system needs a reboot: the host {now}")
    if runs and boots and not failed and (code == 0 or (code == UNITS_FAILED and units_named)):
        return Outcome()
    reasons = [_why(code)] if code != 0 else []
    if failed:
        reasons.append(f"newly failed: {', '.join(failed)}")
    same = (after.running, after.profile) == (before.running, before.profile)
    hint = None if same or before.running is None else way_back(before)
    return Outcome(
        DeployOutcome.LOCKED if same and code == LOCKED else DeployOutcome.FAILED,
        f"nixos-rebuild {'failed' if code else 'did not end well'}: the host {now}",
        "; ".join(reasons) or None,
        hint,
    )


def state_text(system: str, before: HostState, after: HostState) -> str:
    """`runs … (the new system) and boots …`, for a sentence that names what there is."""

    def called(path: str | None, was: str | None) -> str:
        if path is None:
            return "nothing that we know"
        which = "the new system" if path == system else "as before" if path == was else "neither the new nor the old"
        return f"{path} ({which})"

    return (
        f"runs {called(after.running, before.running)}, and its next boot takes {called(after.profile, before.profile)}"
    )


def way_back(before: HostState) -> str:
    """What brings the host back by hand."""
    profile = before.profile or before.running
    return (
        "nixos-rebuild has no way back; on the host, as root: "
        f"nix-env -p {PROFILE} --set {profile} && {before.running}/bin/switch-to-configuration "
        f"{'switch' if profile == before.running else 'test'}"
    )


def _why(code: int | None) -> str:
    if code is None:
        return "it did not end in its time"
    meaning = _MEANINGS.get(code)
    return f"it ended with exit code {code}" + (f" ({meaning})" if meaning else "")
