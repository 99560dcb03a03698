"""What a host runs, asked over a fresh connection each time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pipelinegen.console import clean
from pipelinegen.deploy.ssh import Target
from pipelinegen.values import Value

PROFILE = "/nix/var/nix/profiles/system"
RUNTIME = "/run/pipelinegen"
"""On the host: our lock, and a folder per activation."""
SYSTEM_LOCK = "/run/nixos/switch-to-configuration.lock"
"""Held by every switch-to-configuration while it works."""

STATE = f"""\
say() {{ printf '%s=%s\\n' "$1" "$2"; }}
link() {{ if [ -e "$2" ]; then say "$1" "$(readlink -f "$2")"; fi; }}
link running /run/current-system
link booted /run/booted-system
link profile {PROFILE}
say generation "$(readlink {PROFILE} 2> /dev/null | sed -n 's/^.*system-\\([0-9][0-9]*\\)-link$/\\1/p')"
say hostname "$(uname -n)"
say boot_id "$(cat /proc/sys/kernel/random/boot_id)"
say state "$(systemctl is-system-running 2> /dev/null || true)"
say jobs "$(systemctl list-jobs --no-legend 2> /dev/null | wc -l)"
systemctl list-units --failed --plain --no-legend --full 2> /dev/null | while read -r unit _; do
  say failed "$unit"
done
"""
"""What the host runs; read before and after, each time over a fresh connection."""


class HostState(Value):
    """What a host runs.

    Attributes:
        running: the system that runs now, by its store path; null where there is none.
        booted: the one it was booted with.
        profile: the one the next boot takes.
        generation: the number of that one in the profile; null where there is none.
        hostname: what it calls itself.
        boot_id: changes with every boot.
        state: what `systemctl is-system-running` says.
        pending: jobs of systemd that have not ended.
        failed: names of failed units, sorted.
    """

    running: str | None = None
    booted: str | None = None
    profile: str | None = None
    generation: int | None = None
    hostname: str = ""
    boot_id: str = ""
    state: str = ""
    pending: int = 0
    failed: tuple[str, ...] = ()

    def runs(self, system: str) -> bool:
        """Whether `system` runs now and is what the next boot takes."""
        return self.running == system and self.profile == system


def read_state(target: Target, *, timeout: float = 60, on_idle: Callable[[], None] | None = None) -> HostState:
    """What the host runs now, asked over a fresh connection within `timeout` seconds.

    Args:
        on_idle: called about once a second while the answer is waited for.

    Raises:
        UnreachableError: it does not answer.
        CommandError: it answers, but not this.
    """
    return host_state(records(target.run(STATE, root=True, timeout=timeout, on_idle=on_idle).text))


def host_state(said: Mapping[str, Sequence[str]]) -> HostState:
    """What a host runs, by what it said to `STATE`."""

    def one(key: str) -> str | None:
        return next(iter(said.get(key, ())), None) or None

    def number(key: str) -> int | None:
        text = (one(key) or "").strip()
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None

    return HostState(
        running=one("running"),
        booted=one("booted"),
        profile=one("profile"),
        generation=number("generation"),
        hostname=one("hostname") or "",
        boot_id=one("boot_id") or "",
        state=one("state") or "",
        pending=number("jobs") or 0,
        failed=tuple(sorted(set(said.get("failed", ())))),
    )


def records(text: str) -> dict[str, list[str]]:
    """What a host said, harmless to print."""
    records: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            records.setdefault(key, []).append(clean(value, colour=False))
    return records
