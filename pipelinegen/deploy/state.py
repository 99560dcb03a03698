"""What a host runs, asked over a fresh connection each time."""

from __future__ import annotations

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
        hostname: what it calls itself.
        boot_id: changes with every boot.
        state: what `systemctl is-system-running` says.
        pending: jobs of systemd that have not ended.
        failed: names of failed units, sorted.
    """

    running: str | None = None
    booted: str | None = None
    profile: str | None = None
    hostname: str = ""
    boot_id: str = ""
    state: str = ""
    pending: int = 0
    failed: tuple[str, ...] = ()

    def runs(self, system: str) -> bool:
        """Whether `system` runs now and is what the next boot takes."""
        return self.running == system and self.profile == system


def read_state(target: Target) -> HostState:
    """What the host runs now, asked over a fresh connection.

    Raises:
        UnreachableError: it does not answer.
        CommandError: it answers, but not this.
    """
    said = records(target.run(STATE, root=True).text)

    def one(key: str) -> str | None:
        return next(iter(said.get(key, ())), None) or None

    return HostState(
        running=one("running"),
        booted=one("booted"),
        profile=one("profile"),
        hostname=one("hostname") or "",
        boot_id=one("boot_id") or "",
        state=one("state") or "",
        pending=int(one("jobs") or 0),
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
