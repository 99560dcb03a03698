"""What keeps a host from switching to a system live, and what only a reboot brings. Pure, but for `read_facts`.

NixOS itself writes `switch-inhibitors` into a system (nixpkgs, `system.switch.inhibitors`): a JSON object of
strings. Where the running and the new system have other values for a key, `switch` and `test` refuse; a key that
only one of them has does not count. `init-interface-version` is its older brother (exit code 100). Systems from
before the file existed are compared here by what is known to matter: the implementation of D-Bus.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from pipelinegen.characters import HALF_CHARACTER
from pipelinegen.console import clean
from pipelinegen.deploy.closure_diff import package

Facts = dict[str, str]
"""What a system's files tell: `kernel`, `initrd`, `kernel-modules` and `systemd` (where these links lead),
`kernel-params`, `init-interface-version` and `switch-inhibitors` (their text), `dbus` (`dbus-broker` or
`dbus-daemon`). What is not there is absent."""

LINKS = ("kernel", "initrd", "kernel-modules", "systemd")
TEXTS = ("kernel-params", "init-interface-version", "switch-inhibitors")
_DBUS = Path("etc/systemd/system/dbus.service")
_MOST = 65536


def read_facts(system: str) -> Facts:
    """The facts of a system in the local store."""
    folder = Path(system)
    facts = {part: str((folder / part).resolve()) for part in LINKS if (folder / part).exists()}
    for part in TEXTS:
        facts |= _text(part, folder / part)
    unit = _text("dbus", folder / _DBUS).get("dbus", "")
    bus = re.search(r"^ExecStart=.*?(dbus-(?:broker|daemon))", unit, re.MULTILINE)
    return facts | ({"dbus": bus[1]} if bus else {})


def inhibitors(new: Mapping[str, str], running: Mapping[str, str]) -> tuple[str, ...]:
    """Why a host that runs `running` cannot switch to `new` live: one `NAME: OLD → NEW` each, sorted."""
    before, after = _declared(running), _declared(new)
    found = {key: (before[key], after[key]) for key in before.keys() & after.keys() if before[key] != after[key]}
    found |= {
        what: (running[key].strip(), new[key].strip())
        for key, what in (("init-interface-version", "init-interface-version"), ("dbus", "D-Bus implementation"))
        if running.get(key) and new.get(key) and running[key].strip() != new[key].strip()
    }
    return tuple(f"{_short(key)}: {_short(old)} → {_short(now)}" for key, (old, now) in sorted(found.items()))


def reboot_needed(new: Mapping[str, str], booted: Mapping[str, str]) -> tuple[str, ...]:
    """What of `new` does not come into use without a reboot: names of `Facts`; what either lacks does not count.

    A host can be given another systemd while it runs; that is safe between builds of one version alone.
    """
    found = [
        part
        for part in ("kernel", "initrd", "kernel-modules", "kernel-params")
        if part in new and part in booted and new[part].split() != booted[part].split()
    ]
    if "systemd" in new and "systemd" in booted and _major(new["systemd"]) != _major(booted["systemd"]):
        found.append("systemd")
    return tuple(found)


def _declared(facts: Mapping[str, str]) -> dict[str, str]:
    try:
        values = json.loads(facts.get("switch-inhibitors", "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _major(path: str) -> str:
    version = package(path)[1]
    found = re.match(r"[0-9]+", version)
    return found[0] if found else version


def _text(key: str, file: Path) -> Facts:
    try:
        with file.open("rb") as opened:
            return {key: opened.read(_MOST).decode("utf-8", "replace")}
    except OSError:
        return {}


def _short(text: str, most: int = 120) -> str:
    text = HALF_CHARACTER.sub("\ufffd", clean(text, colour=False))
    return text if len(text) <= most else text[: most - 1] + "…"
