"""The shell scripts of the pre-flight: what a host is asked. They change nothing there.

The answers are lines `KEY=VALUE`; `probe` reads them.
"""

from __future__ import annotations

from pipelinegen.deploy.inhibitors import LINKS, TEXTS
from pipelinegen.deploy.state import PROFILE, RUNTIME, STATE, SYSTEM_LOCK
from pipelinegen.deploy.supervisor import RECORDS

REBUILD_UNIT = "nixos-rebuild-switch-to-configuration.service"
"""The transient unit in which nixos-rebuild switches; its name is what keeps two of them apart."""

_SAY = """\
say() { printf '%s=%s\\n' "$1" "$2"; }
"""

_FACTS = f"""\
facts() {{
  for part in {" ".join(LINKS)}; do
    if [ -e "$2/$part" ]; then say "$1.$part" "$(readlink -f "$2/$part")"; fi
  done
  for part in {" ".join(TEXTS)}; do
    if [ -r "$2/$part" ]; then say "$1.$part" "$(head -c 65536 "$2/$part" | tr '\\n' ' ')"; fi
  done
  bus=$(grep '^ExecStart=' "$2/etc/systemd/system/dbus.service" 2> /dev/null |
    grep -oE 'dbus-(broker|daemon)' | head -n 1)
  if [ -n "$bus" ]; then say "$1.dbus" "$bus"; fi
}}
"""

LOGIN = (
    _SAY
    + """\
say uid "$(id -u)"
say groups "$(id -nG)"
say machine "$(uname -m)"
if [ -d /run/systemd/system ]; then say systemd yes; fi
if [ -e /etc/NIXOS ] || [ -e /run/current-system ]; then say nixos yes; fi
if command -v nix-store > /dev/null; then say nix "$(nix-store --version | head -n 1)"; fi
if command -v flock > /dev/null; then say flock yes; fi
if [ "$(id -u)" = 0 ]; then
  printf '%s\\n' "$1" | sh -s
else
  printf '%s\\n' "$1" | sudo -n -- sh -s
fi || true
"""
)
"""As the user who logs in; `$1` is what is asked as root, by the very command with which the rest is done."""

ROOT = (
    STATE
    + _FACTS
    + f"""\
say root yes
tool=/run/current-system/sw/bin/nixos-version
if [ -x $tool ]; then say revision "$(timeout 10 $tool --configuration-revision 2> /dev/null | head -n 1)"; fi

if command -v flock > /dev/null; then
  held() {{ if [ -e "$2" ] && ! flock -n "$2" true; then say locked "$1"; fi; }}
  held ours {RUNTIME}/lock
  held system {SYSTEM_LOCK}
fi
if [ -r {RUNTIME}/holder ]; then say holder "$(head -c 200 {RUNTIME}/holder | head -n 1)"; fi
case $(systemctl is-active {REBUILD_UNIT} 2> /dev/null) in
  active | activating | deactivating | reloading) say locked nixos-rebuild ;;
esac

# What says that it has no blocks at all (an automount that is not mounted) does not know.
room() {{
  df -Pk "$2" 2> /dev/null | {{ read -r _; read -r _ total _ free _; [ "$total" -eq 0 ] || say "$1" "$free"; }} || true
}}
room free_store /nix/store
if [ -d /boot ]; then room free_boot /boot; fi

record() {{ head -c 8192 "$2" 2> /dev/null | tr -d '\\000' | sed -n "/^end=/q; s/^/$1./p"; }}
record deployed {RECORDS}/deployed
last=$(ls -1t {RECORDS}/activations 2> /dev/null | head -n 1)
if [ -n "$last" ]; then record last "{RECORDS}/activations/$last"; fi

facts running /run/current-system
facts booted /run/booted-system
facts profile {PROFILE}

nix="nix --extra-experimental-features nix-command"
{{ $nix config show 2> /dev/null || $nix show-config 2> /dev/null || true; }} | while IFS= read -r line; do
  case $line in
    'substituters = '* | 'trusted-public-keys = '* | 'require-sigs = '* | 'trusted-users = '*)
      say "nix.${{line%% = *}}" "${{line#* = }}"
      ;;
  esac
done
say done yes
"""
)

CLOSURES = (
    _SAY
    + _FACTS
    + """\
system=$1
shift
missing=$(xargs nix-store --check-validity --print-invalid << 'END'
PATHS
END
)
if [ -n "$missing" ]; then
  printf '%s\\n' "$missing" | sed 's/^/missing=/'
  for url in "$@"; do
    timeout 20 nix --extra-experimental-features nix-command store ping --store "$url" > /dev/null 2>&1 ||
      say unreachable "$url" &
  done
fi
closure() {
  if paths=$(nix-store --query --requisites "$2" 2> /dev/null); then
    printf '%s\\n' "$paths" | sed "s/^/$1.path=/"
    printf '%s\\n' "$paths" | xargs nix-store --query --size | sed "s/^/$1.size=/"
  fi
}
closure running "$(readlink -f /run/current-system)"
if [ -n "$system" ]; then
  if [ -x "$system/bin/switch-to-configuration" ]; then say switches yes; fi
  if [ -r "$system/etc/hostname" ]; then say new.hostname "$(head -c 300 "$system/etc/hostname" | head -n 1)"; fi
  if [ -r "$system/system" ]; then say new.platform "$(head -c 100 "$system/system" | head -n 1)"; fi
  facts new "$system"
  closure new "$system"
fi
wait
say done yes
"""
)
"""`PATHS` are store paths, one a line; `$1` is a system of which only the host can tell, or nothing, and the rest
are caches that are to be tried if some path is missing."""
