"""Looking before leaping: everything that speaks against a deployment, all at once, with nothing changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelinegen import local_store
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import plain
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.state import RUNTIME, SYSTEM_LOCK, HostState, read_state, records
from pipelinegen.errors import CommandError

_WHO = """\
echo "uid=$(id -u)"
if [ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null; then echo root=yes; fi
if [ -d /run/systemd/system ]; then echo systemd=yes; fi
if [ -e /etc/NIXOS ] || [ -e /run/current-system ]; then echo nixos=yes; fi
if command -v nix-store > /dev/null; then echo nix=yes; fi
"""

_ROOM = f"""\
df -Pk /nix/store | {{ read -r _; read -r _ _ _ free _; echo "free_kb=$free"; }}
if command -v flock > /dev/null; then
  for lock in {SYSTEM_LOCK} {RUNTIME}/lock; do
    if [ -e "$lock" ] && ! flock -n "$lock" true; then echo "locked=$lock"; fi
  done
fi
"""

_INVALID = "xargs nix-store --check-validity --print-invalid << 'END'\n{paths}\nEND\n"

_PING = """\
settings=$(nix --extra-experimental-features 'nix-command' config show 2> /dev/null ||
  nix --extra-experimental-features 'nix-command' show-config)
printf '%s\\n' "$settings" | while IFS= read -r line; do
  case $line in
    'substituters = '*)
      for url in ${line#substituters = }; do
        timeout 20 nix --extra-experimental-features 'nix-command' store ping --store "$url" > /dev/null 2>&1 ||
          printf 'unreachable=%s\\n' "$url"
      done
      ;;
  esac
done
"""


@dataclass
class Findings:
    """What the pre-flight found.

    Attributes:
        refusals: why the deployment must not begin.
        warnings: what a person should know.
        locked: whether another deployment or switch is going on.
        hints: what to do about refusals.
    """

    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    locked: bool = False


def look(target: Target, findings: Findings) -> HostState | None:
    """Ask the host who we are there and what it runs; null (and refusals) when that cannot be asked."""
    try:
        who = records(target.run(_WHO).text)
    except UnreachableError as error:
        findings.refusals.append(": ".join(part for part in (error.message, error.why) if part))
        if error.hint:
            findings.hints.append(error.hint)
        return None
    except CommandError as error:
        findings.refusals.append(f"{target.login} does not run a shell script: {error.message}")
        return None
    if "root" not in who:
        findings.refusals.append(f"{target.user} may not use sudo without a password on {target.address}")
        findings.hints.append(f"in the host's configuration: sudo for {target.user} with NOPASSWD, or user = root")
    for key, what in (
        ("systemd", "systemd does not run there"),
        ("nixos", "it is no NixOS (no /etc/NIXOS, no /run/current-system)"),
        ("nix", "nix-store is not on the PATH of ssh commands there"),
    ):
        if key not in who:
            findings.refusals.append(f"{target.address} cannot be deployed to: {what}")
    if findings.refusals:
        return None
    return read_state(target)


def check_system(system: str, before: HostState | None, findings: Findings) -> None:
    """Whether a path of the local store is a system that can be switched to, and looks like this host's."""
    if not (Path(system) / "bin" / "switch-to-configuration").exists():
        findings.refusals.append(f"{system} is no NixOS system: it has no bin/switch-to-configuration")
    name = Path(system) / "etc" / "hostname"
    if before is not None and name.is_file():
        wanted = plain(name.read_text("utf-8", "replace").strip())
        if wanted != before.hostname:
            findings.warnings.append(f"the host calls itself {before.hostname}; the system is made for {wanted}")


def check_room(target: Target, host: HostConfig, system: str, findings: Findings) -> int:
    """Whether the host is free to switch and has room for what it lacks of `system`; bytes it lacks."""
    said = records(target.run(_ROOM, root=True).text)
    for lock in said.get("locked", ()):
        findings.locked = True
        findings.refusals.append(f"another deployment or switch is going on there ({lock} is held)")
    missing = missing_on(target, local_store.requisites([system]))
    needed = sum(local_store.path_sizes(missing).values())
    free = int(next(iter(said.get("free_kb", ("0",))))) * 1024
    left = host.min_free_mb * 1024 * 1024
    if free < needed + left:
        findings.refusals.append(
            f"/nix/store on {target.address} has {_mib(free)} MiB free, but {_mib(needed)} MiB are to be copied and "
            f"{host.min_free_mb} MiB are to be left free"
        )
        findings.hints.append("nix-collect-garbage there, or lower min_free_mb")
    return needed


def check_caches(target: Target, findings: Findings) -> None:
    """Which of the caches it knows the host cannot reach: a warning, since all can be copied from here."""
    try:
        said = records(target.run(_PING, timeout=120).text)
    except (CommandError, UnreachableError) as error:
        findings.warnings.append(f"{target.address} does not say which caches it reaches: {error.message}")
        return
    findings.warnings += [f"{target.address} cannot reach its cache {url}" for url in said.get("unreachable", ())]


def missing_on(target: Target, paths: Sequence[str]) -> list[str]:
    """Which store paths the host does not have.

    Raises:
        UnreachableError, CommandError: it cannot be asked.
    """
    asked = frozenset(paths)
    said = target.run(_INVALID.format(paths="\n".join(paths)), root=True, timeout=300).text.split()
    # They become arguments here: nothing that the host made up may be among them.
    strange = next((word for word in said if word not in asked), None)
    if strange is not None:
        raise UnreachableError(
            f"{target.login} does not answer what it was asked",
            why=f"asked for store paths that are missing there, it says {strange[:100]!r}",
            hint="a login shell there must print nothing by itself (.bashrc)",
        )
    return said


def _mib(size: int) -> int:
    return -(-size // (1024 * 1024))
