"""The supervisor of an activation (`supervisor.sh`), as we see it from outside: start it, ask it, tell it.

It runs on the host as a transient systemd unit. Every question travels over a connection of its own: that we can
ask is what proves that the host can be reached.
"""

from __future__ import annotations

import importlib.resources
import re
import secrets
from dataclasses import dataclass
from typing import Literal

from pipelinegen.console import plain
from pipelinegen.deploy.ssh import Target
from pipelinegen.deploy.state import RUNTIME, records
from pipelinegen.values import Value

RECORDS = "/var/lib/pipelinegen"
"""On the host: `activations/ID`, the last activations' records, and `deployed`, that of the last confirmed one."""

REASON_LENGTH = 300

Action = Literal["switch", "test", "boot", "restore"]
"""As switch-to-configuration's; `restore` makes what ran and booted before run and boot again."""

_START = f"""\
umask 077
unit=$1 order=$2 script=$3
folder={RUNTIME}/$unit
mkdir -p {RUNTIME}
# After a lost connection this is tried again; it must not begin twice, nor once more behind a reboot.
if [ ! -e "$folder/started" ] && [ ! -e "{RECORDS}/activations/$unit" ]; then
  mkdir -p "$folder"
  printf '%s' "$order" > "$folder/order"
  printf '%s' "$script" > "$folder/run"
  systemd-run --unit="$unit" --description="pipelinegen: activation" --collect --no-ask-password --quiet \\
    --service-type=exec --property=LogRateLimitIntervalSec=0 --property=OOMScoreAdjust=-900 \\
    --setenv=LOCALE_ARCHIVE="${{LOCALE_ARCHIVE-}}" /bin/sh "$folder/run" "$folder" ||
    # It may be there already: then the second one of its name was refused.
    systemctl is-active --quiet "$unit"
  : > "$folder/started"
fi
"""

_STATUS = f"""\
unit=$1
printf 'now_booted=%s\\n' "$(cat /proc/sys/kernel/random/boot_id)"
# While it ends it still runs; and that systemd does not answer just now is no sign that it is gone.
case $(systemctl is-active "$unit" 2> /dev/null || true) in
  inactive | failed | unknown) ;;
  *) echo active=yes ;;
esac
for file in {RUNTIME}/$unit/status {RECORDS}/activations/$unit; do
  if [ -e "$file" ]; then sed '/^end=/q' "$file"; break; fi
done
"""

_CONTACT = f"""\
printf '%s\\n' "$2" > "{RUNTIME}/$1/contact.new"
mv "{RUNTIME}/$1/contact.new" "{RUNTIME}/$1/contact"
"""

_DECIDE = f"""\
folder={RUNTIME}/$1
printf '%s\\n' "$2" > "$folder/decision.$$"
# Of two links of this name only the first one can be made.
ln "$folder/decision.$$" "$folder/decision" 2> /dev/null || true
rm -f "$folder/decision.$$"
cat "$folder/decision"
"""

_CLEAN_UP = f'rm -rf "{RUNTIME}/$1"'


@dataclass(frozen=True)
class Order:
    """What a supervisor is to do.

    Attributes:
        action: what to do with `system`.
        system: store path of the system that is to run (and, but for `test`, to boot).
        previous: what runs now; brought back where nobody confirms. For `restore`: what is given up.
        previous_profile: what the next boot takes now; for `restore`: what it is to take again. Null: nothing.
        activation_seconds, confirm_seconds, limit_seconds: how long an activation may take, how long silence from
            us may last, and how long we may take to confirm.
        revision: the commit that `system` was made of.
        log_folder: on the host; null keeps no log.
        no_check: let NixOS's own checks before a switch (inhibitors) be.
    """

    action: Action
    system: str
    previous: str
    previous_profile: str | None
    activation_seconds: int = 240
    confirm_seconds: int = 30
    limit_seconds: int = 1800
    revision: str | None = None
    log_folder: str | None = None
    no_check: bool = False

    def text(self) -> str:
        """As the supervisor reads it: lines `key=value`."""
        values = {
            "action": self.action,
            "system": self.system,
            "previous": self.previous,
            "previous_profile": self.previous_profile or "",
            "activation_seconds": str(self.activation_seconds),
            "confirm_seconds": str(self.confirm_seconds),
            "limit_seconds": str(self.limit_seconds),
            "revision": _one_line(self.revision or ""),
            "log_folder": self.log_folder or "",
            "no_check": "1" if self.no_check else "",
        }
        return "".join(f"{key}={value}\n" for key, value in values.items())


class Status(Value):
    """How far an activation is, by the supervisor's own word.

    Attributes:
        active: whether the unit runs, as far as systemd says.
        rebooted: whether the host was booted since the activation began.
        phase: starting, activating, waiting, committing, restoring or ended; empty before the first word.
        result: confirmed, restored, restore-failed, boot-failed or refused; empty before the end.
        reason: why it ended so.
        activation_exit, restore_exit, boot_exit: exit codes of switch-to-configuration; null where it did not run.
        log_file: where the whole log stays on the host.
    """

    active: bool = False
    rebooted: bool = False
    phase: str = ""
    result: str = ""
    reason: str = ""
    activation_exit: int | None = None
    restore_exit: int | None = None
    boot_exit: int | None = None
    log_file: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase == "ended" or self.rebooted


class Supervisor:
    """One activation on one host.

    Args:
        target: the host; may be replaced where an activation moves it to another address.

    Raises (every method): UnreachableError where it does not answer, CommandError where it answers with an error.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.unit = f"pipelinegen-{secrets.token_hex(4)}"
        self._signs = 0

    def start(self, order: Order) -> None:
        """Start it; where the connection was lost meanwhile, this may be called again."""
        script = importlib.resources.files("pipelinegen.deploy").joinpath("supervisor.sh").read_text("utf-8")
        self.target.run(_START, self.unit, order.text(), script, root=True)

    def status(self) -> Status:
        """How far it is."""
        said = records(self.target.run(_STATUS, self.unit, root=True, timeout=30).text)

        def one(key: str) -> str:
            return next(iter(said.get(key, ())), "")

        return Status(
            active="active" in said,
            rebooted=bool(one("boot_id")) and one("boot_id") != one("now_booted"),
            phase=one("phase"),
            result=one("result"),
            reason=one("reason"),
            activation_exit=_code(one("activation_exit")),
            restore_exit=_code(one("restore_exit")),
            boot_exit=_code(one("boot_exit")),
            log_file=one("log_file") or None,
        )

    def sign_of_life(self) -> None:
        """Say that we are still there: the host waits on."""
        self._signs += 1
        self.target.run(_CONTACT, self.unit, str(self._signs), root=True, timeout=20)

    def decide(self, decision: Literal["confirm", "undo"], reason: str = "") -> str:
        """Decide what becomes of the new system; what counts is what was decided first.

        Returns:
            What stands: `confirm`, or `undo` with a reason.
        """
        words = _one_line(f"{decision} {reason}".strip())
        return self.target.run(_DECIDE, self.unit, words, root=True, timeout=20).text.strip()

    def clean_up(self) -> None:
        """Remove what it left in /run; its record stays."""
        self.target.run(_CLEAN_UP, self.unit, root=True)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", plain(text))[:REASON_LENGTH].strip()


def _code(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
