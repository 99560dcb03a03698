"""What kind of system a store path is, by the files at its top. Pure; `files_of` alone looks at a folder."""

from __future__ import annotations

import enum
from collections.abc import Collection
from pathlib import Path


class SystemKind(enum.StrEnum):
    """Who can switch to it, and how."""

    NIXOS = "nixos"
    HOME_MANAGER = "home-manager"
    DARWIN = "darwin"
    UNKNOWN = "unknown"


SWITCH = "bin/switch-to-configuration"

_REFUSALS = {
    SystemKind.HOME_MANAGER: (
        "is a home-manager generation, which belongs to a user and not to a host, and has no boot to fall back to",
        "make it part of the host's NixOS configuration (home-manager.nixosModules.home-manager), and deploy that",
    ),
    SystemKind.DARWIN: (
        "is a nix-darwin system: macOS has neither the systemd nor the boot entries with which a deployment is undone",
        "run `darwin-rebuild switch` on that machine; build, test and push are done here all the same",
    ),
    SystemKind.UNKNOWN: (
        f"is no NixOS system: it has no {SWITCH}",
        "a host's system is config.system.build.toplevel of its nixosConfigurations entry",
    ),
}


def kind_of(files: Collection[str]) -> SystemKind:
    """What a store path is that has `files`.

    Told by what each project's builder writes: nix-darwin's `system.build.toplevel` has `darwin-version` and
    `activate`; home-manager's `activationPackage` has `activate` with `home-path` or `home-files` (and
    `gen-version` since 2023); NixOS's `toplevel` has `bin/switch-to-configuration`.

    Args:
        files: names at its top, and `bin/switch-to-configuration` where there is such a file.
    """
    if "activate" in files and "darwin-version" in files:
        return SystemKind.DARWIN
    if SWITCH in files:
        return SystemKind.NIXOS
    if "activate" in files and any(name in files for name in ("gen-version", "home-path", "home-files")):
        return SystemKind.HOME_MANAGER
    return SystemKind.UNKNOWN


def files_of(system: Path) -> frozenset[str]:
    """What `kind_of` asks of a store path; nothing where there is no such folder."""
    try:
        names = {entry.name for entry in system.iterdir()}
    except OSError:
        return frozenset()
    if (system / SWITCH).exists():
        names.add(SWITCH)
    return frozenset(names)


def refusal(system: str, kind: SystemKind) -> tuple[str, str]:
    """Why a system is not deployed, and what to do instead, for what is no NixOS (by `kind`, as far as that tells)."""
    why, hint = _REFUSALS.get(kind, _REFUSALS[SystemKind.UNKNOWN])
    return f"{system} {why}", hint
