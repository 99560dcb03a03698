"""Whether a host is fit for a deployment, and this system for it: rules of the pre-flight. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pipelinegen.config_caches import CacheConfig
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import clean
from pipelinegen.deploy.findings import Findings
from pipelinegen.deploy.preflight_answers import Seen
from pipelinegen.deploy.state import SYSTEM_LOCK

OLDEST_NIX = (2, 4)
"""The first with flakes and today's command line; older ones lack commands that transfers use."""

MARGIN = 0.1
"""Of what is to be copied, kept free besides: file systems need room for themselves."""

_SPARE_NAMES = frozenset({"nixos", "nixos-installer", "localhost", "debian", "ubuntu", "(none)", ""})
"""What machines call themselves before anybody gave them a name."""

_CPUS = {"i386": "i686", "i486": "i686", "i586": "i686", "arm64": "aarch64"}
_RUNS = {"x86_64": ("x86_64", "i686"), "aarch64": ("aarch64", "armv7l", "armv6l"), "armv7l": ("armv7l", "armv6l")}
"""`uname -m` → the processors whose systems it can boot."""


def check_login(seen: Seen, host: HostConfig, address: str, findings: Findings) -> None:
    """Whether we may do there what must be done, and find what it takes."""
    if not seen.root:
        said = f" ({seen.refusal})" if seen.refusal else ""
        findings.refuse(
            f"{host.user} may not use sudo without a password on {address}{said}",
            f'in the host\'s configuration: security.sudo.extraRules = [ {{ users = [ "{host.user}" ]; commands = '
            '[ { command = "ALL"; options = [ "NOPASSWD" ]; } ]; } ]; elsewhere in sudoers: '
            f'"{host.user} ALL=(ALL) NOPASSWD: ALL"; or set user = "root"',
        )
    elif not seen.whole:
        findings.refuse(f"{address} stopped half-way in answering what it runs")
    for there, what, hint in (
        (seen.systemd, "systemd does not run there", "activations are supervised by a unit of systemd"),
        (seen.nixos, "it is no NixOS (no /etc/NIXOS, no /run/current-system)", None),
        (seen.nix is not None, "nix-store is not on the PATH of ssh commands there", "install Nix there"),
        (seen.flock, "flock is not there, which keeps two deployments apart", "install util-linux there"),
    ):
        if not there:
            findings.refuse(f"{address} cannot be deployed to: {what}", hint)
    _check_nix(seen, address, findings)


def _check_nix(seen: Seen, address: str, findings: Findings) -> None:
    if seen.nix is None:
        return
    version = re.search(r"([0-9]+)\.([0-9]+)[0-9A-Za-z.]*", seen.nix)
    if version is None:
        findings.warnings.append(f"{address} does not say which version of Nix it has")
    elif (int(version[1][:6]), int(version[2][:6])) < OLDEST_NIX:
        oldest = ".".join(map(str, OLDEST_NIX))
        findings.warnings.append(f"{address} has Nix {version[0]}; with one older than {oldest} copying may fail")
    else:
        findings.notes.append(f"{address} has Nix {version[0]}")


def check_locks(seen: Seen, address: str, findings: Findings) -> None:
    """Whether somebody else deploys or switches there now.

    A lock is held as long as its holder lives; what one that was killed left behind is in nobody's way.
    """
    if "ours" in seen.locks:
        holder = f" ({seen.holder})" if seen.holder else ""
        findings.lock(f"another deployment or switch is going on there: an activation of pipelinegen{holder}")
    elif "nixos-rebuild" in seen.locks:
        findings.lock("another deployment or switch is going on there: nixos-rebuild's unit is active")
    elif "system" in seen.locks:
        findings.lock(f"another deployment or switch is going on there ({SYSTEM_LOCK} is held)")
    elif seen.holder:
        findings.notes.append(f"on {address}, {seen.holder} left its lock behind; nobody holds it any more")


def check_identity(
    name: str, wanted: str, seen_name: str, others: Sequence[str], address: str, findings: Findings
) -> None:
    """Whether the system is made for this machine.

    Args:
        name: of the host in the configuration.
        wanted: the host name in the system; empty where it leaves that to the network.
        seen_name: what the machine calls itself.
        others: names of the other hosts in the configuration.
    """
    mine, theirs = _short(wanted), _short(seen_name)
    if not mine or mine == theirs:
        return
    sentence = f"{address} calls itself {clean(seen_name, colour=False)}; the system is made for {wanted}"
    if theirs in _SPARE_NAMES:
        findings.warnings.append(sentence)
        return
    whose = f", which is another host of the configuration than {name}" if seen_name in others else ""
    findings.refuse(
        sentence + whose,
        f"look at `address` of hosts.{name} and at the system; where the machine is to get a new name, "
        f"run `hostname {wanted}` there first",
    )


def _short(name: str) -> str:
    return clean(name, colour=False).strip().lower().partition(".")[0]


def check_platform(platform: str, machine: str, address: str, findings: Findings) -> None:
    """Whether the machine's processor can run the system, as far as both tell."""
    cpu = platform.strip().partition("-")[0]
    there = _CPUS.get(machine, machine)
    if cpu and there and cpu not in _RUNS.get(there, (there,)):
        findings.refuse(f"the system is made for {clean(platform, colour=False)}, and {address} is {machine}")


def check_room(seen: Seen, host: HostConfig, needed: int, address: str, findings: Findings) -> None:
    """Whether the store has room for `needed` more bytes, with a margin."""
    if seen.free_store is None:
        findings.warnings.append(f"{address} does not say how much room its store has")
        return
    left = host.min_free_mb * 1024 * 1024
    if seen.free_store < needed + int(needed * MARGIN) + left:
        findings.refuse(
            f"/nix/store on {address} has {_mib(seen.free_store)} MiB free, but {_mib(needed)} MiB are to be copied "
            f"and {host.min_free_mb} MiB are to be left free",
            "nix-collect-garbage there, or lower min_free_mb",
        )


def check_boot_room(
    seen: Seen, host: HostConfig, files: Mapping[str, tuple[str, int]], address: str, findings: Findings
) -> None:
    """Whether /boot has room for a kernel and an initrd that the host does not have yet.

    Args:
        files: `kernel` and `initrd` of the new system: path and bytes.
    """
    had = [facts.get(part) for facts in (seen.running, seen.booted, seen.profile) for part in ("kernel", "initrd")]
    new = {part: size for part, (path, size) in files.items() if path not in had}
    if seen.free_boot is None or not new:
        return
    needed = sum(new.values())
    if seen.free_boot < max(needed + int(needed * MARGIN), host.min_free_boot_mb * 1024 * 1024):
        findings.refuse(
            f"/boot on {address} has {_mib(seen.free_boot)} MiB free, but a new {' and '.join(sorted(new))} of "
            f"{_mib(needed)} MiB come there, and {host.min_free_boot_mb} MiB are to be free (min_free_boot_mb)",
            "remove old generations there: nix-collect-garbage --delete-older-than 30d, then "
            "/run/current-system/bin/switch-to-configuration boot",
        )


def check_trust(seen: Seen, host: HostConfig, caches: Mapping[str, CacheConfig], address: str) -> list[str]:
    """Which of our caches' keys the host does not believe, and whether it believes the user: warnings.

    A cache that is not published, and that the host does not know, is nothing that it fetches from.
    """
    warnings = []
    if host.engine == "nixos-rebuild" and host.user != "root" and not _trusted(seen, host.user):
        warnings.append(
            f"{host.user} is not trusted by Nix on {address}: it accepts only signed paths from {host.user}; "
            f'remedy there: nix.settings.trusted-users = [ "root" "{host.user}" ], or user = "root"'
        )
    if not host.substitute or seen.settings.get("require-sigs") == "false" or "substituters" not in seen.settings:
        return warnings
    known = {_place(url) for url in seen.settings["substituters"].split()}
    believed: dict[str, str] = {}
    for key in seen.settings.get("trusted-public-keys", "").split():
        believed.setdefault(key.partition(":")[0], key)
    for name, cache in sorted(caches.items()):
        keys = (cache.public_key or "").split()
        if not keys or any(key in believed.values() for key in keys):
            continue
        if not cache.publish and _place(cache.url) not in known:
            continue
        key_name = keys[0].partition(":")[0]
        what = "knows another key of that name" if key_name in believed else "does not trust the key"
        warnings.append(
            f"{address} {what} {key_name} of the cache {name}, and fetches nothing that it signed; the rest is "
            f'copied; remedy there: nix.settings.trusted-public-keys = [ "{keys[0]}" ]'
        )
    return warnings


def _trusted(seen: Seen, user: str) -> bool:
    trusted = set(seen.settings.get("trusted-users", "*").split())
    return bool({"*", user, *(f"@{group}" for group in seen.groups)} & trusted)


def _place(url: str) -> str:
    return url.partition("?")[0].rstrip("/")


def _mib(number: int) -> int:
    return -(-number // (1024 * 1024))
