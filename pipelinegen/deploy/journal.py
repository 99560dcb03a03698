"""The journal of one unit on a host, read page by page over fresh connections.

journald numbers its entries (`__CURSOR`), and each page begins behind the last entry that arrived whole: a
connection that is lost costs nothing and shows nothing twice. journalctl reads the files itself, so a journald
that is just being restarted only delays what comes. Options as in systemd 252: its `--lines` cannot give the
*first* lines behind a cursor, hence `head`.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pipelinegen.characters import HALF_CHARACTER
from pipelinegen.console import Console, clean
from pipelinegen.deploy import switch_words
from pipelinegen.deploy.report import UnitChanges
from pipelinegen.deploy.ssh import Target

KEPT_LINES = 50
SHOWN_CHARACTERS = 1 << 20
"""Of one unit in all: GitLab cuts a job's log at 4 MiB, and the verdict must still find room."""
LINE_CHARACTERS = 4096
"""What is longer is cut; a line of journald's own making has up to 48 KiB."""
PAGE_BYTES = 1 << 20
PAGES = 4
"""Read at most in one go."""
TIMEOUT = 30.0
NOTICE = 5
"""Of systemd's own lines about the unit, those of this priority or worse: that it was killed, not that it began."""

_FORGOTTEN = re.compile(r"\S+: Failed to open /run/systemd/transient/\S+: No such file or directory")
"""What systemd says of a transient unit that has ended, when something makes it read all units anew."""

_PAGE = """\
unit=$1 cursor=$2 most=$3 last=$4
there() { [ -e "$1" ]; }
if ! there /run/log/journal/*/*.journal && ! there /var/log/journal/*/*.journal; then
  echo "the host keeps none"
  exit 0
fi
if [ -n "$last" ] && command -v timeout > /dev/null; then timeout 5 journalctl --sync 2> /dev/null || true; fi
set -- --unit="$unit" --no-pager -o json --all --output-fields=MESSAGE,PRIORITY,_PID
if [ -n "$cursor" ]; then set -- "$@" --after-cursor="$cursor"; fi
{ journalctl "$@" 2>&1 || echo "journalctl ended with $?"; } | head -c "$most"
"""
"""What is no entry is said of the journal. Without `--all` fields of 4 KiB and more would be null; without files
journalctl says nothing at all."""

_SKIP = """\
unit=$1 cursor=$2
set -- --unit="$unit" --no-pager -o json --output-fields=PRIORITY
if [ -n "$cursor" ]; then set -- "$@" --after-cursor="$cursor"; fi
journalctl "$@" 2> /dev/null | head -n 1 | head -c 65536
"""
"""One entry without its text: the first one was longer than a page."""

_LAST = """\
journalctl --unit="$1" --no-pager -o json --all --output-fields=MESSAGE,PRIORITY,_PID --lines="$2" 2>&1 |
  tail -c "$3"
"""


@dataclass(frozen=True)
class Entry:
    """One entry of a journal.

    Attributes:
        cursor: its place.
        lines: its text, not cleaned yet; bytes that are not UTF-8 became U+FFFD.
        by_systemd: whether systemd (process 1) wrote it about the unit.
        priority: as syslog's, 0 is worst; 6 where it is not known.
    """

    cursor: str
    lines: tuple[str, ...]
    by_systemd: bool = False
    priority: int = 6

    @property
    def counts(self) -> bool:
        """Whether it is to be shown."""
        if not self.by_systemd:
            return True
        return self.priority <= NOTICE and not all(map(_FORGOTTEN.fullmatch, self.lines))


def entries(page: bytes) -> tuple[list[Entry], list[str]]:
    """The whole entries of a page in order, and the lines that are none, cleaned.

    What is behind the last line feed was cut off and comes with the next page; an entry that cannot be read is
    passed over.
    """
    found: list[Entry] = []
    others: list[str] = []
    for line in page.split(b"\n")[:-1]:
        if line.startswith(b"{"):
            entry = _entry(line)
            if entry is not None:
                found.append(entry)
        elif line and not line.startswith(b"-- "):
            others.append(clean(line.decode("utf-8", "replace"), colour=False))
    return found, others


def _entry(line: bytes) -> Entry | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    cursor = fields.get("__CURSOR")
    # The cursor is sent back to the host: what no encoding can carry cannot be.
    if not isinstance(cursor, str) or not cursor or HALF_CHARACTER.search(cursor):
        return None
    priority = fields.get("PRIORITY")
    try:
        text = HALF_CHARACTER.sub("\ufffd", _text(fields.get("MESSAGE")))
    except RecursionError:
        return None
    return Entry(
        cursor,
        tuple(text.split("\n")) if text else (),
        by_systemd=fields.get("_PID") == "1",
        priority=int(priority) if isinstance(priority, str) and priority in set("01234567") else 6,
    )


def _text(value: object) -> str:
    """A field as journalctl writes it: text, bytes as numbers where it is not printable, a list of several, null."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    if all(type(one) is int and 0 <= one < 256 for one in value):
        return bytes(value).decode("utf-8", "replace")
    return "\n".join(_text(one) for one in value if isinstance(one, str | list))


class Journal:
    """Follows one unit's journal on a host.

    Args:
        target: the host; may be set anew where an activation moves it.
        unit: its full name.
        console: where people read along.
        prefix: put before each line.
    """

    def __init__(self, target: Target, unit: str, console: Console, *, prefix: str = "  ") -> None:
        self.target = target
        self._unit = unit
        self._console = console
        self._prefix = prefix
        self._cursor = ""
        self._log: deque[str] = deque(maxlen=KEPT_LINES)
        self._units = UnitChanges()
        self._room = SHOWN_CHARACTERS
        self._said: set[str] = set()

    @property
    def log(self) -> tuple[str, ...]:
        """The last `KEPT_LINES` lines, cleaned."""
        return tuple(self._log)

    @property
    def units(self) -> UnitChanges:
        """What the unit has said so far of other units, as far as it was read (see `read`)."""
        return self._units

    def read(self, on_idle: Callable[[], None] | None = None, *, last: bool = False) -> bool:
        """Show what is new, at most `PAGES` pages of it.

        Whether anything was new; false where the host keeps no journal, too, which is said once. Where more than
        `SHOWN_CHARACTERS` were shown, nothing more is, and what is too much to be read in one go is left out up
        to its last lines.

        Args:
            on_idle: called about once a second while the host is slow.
            last: wait until all that was printed so far is in the journal: for when the unit has ended.

        Raises:
            UnreachableError: no connection, or it was lost; the next call goes on where the last one ended.
            CommandError: the host answered, but not this.
        """
        anything = False
        for number in range(PAGES):
            wait = "last" if last and number == 0 else ""
            page = self._ask(_PAGE, self._cursor, str(PAGE_BYTES), wait, on_idle=on_idle)
            found, others = entries(page)
            self._complain(others)
            self._take(found)
            anything = anything or bool(found)
            if len(page) < PAGE_BYTES:
                return anything
            if not found and not self._skip(on_idle):
                return anything
        if self._room <= 0:
            self._jump(on_idle)
        return anything

    def _ask(self, script: str, *arguments: str, on_idle: Callable[[], None] | None) -> bytes:
        asked = self.target.run(script, self._unit, *arguments, root=True, timeout=TIMEOUT, on_idle=on_idle)
        return asked.stdout

    def _take(self, found: list[Entry]) -> None:
        for entry in found:
            self._cursor = entry.cursor
            if entry.counts:
                for line in entry.lines:
                    self._line(line, by_systemd=entry.by_systemd)

    def _line(self, line: str, *, by_systemd: bool) -> None:
        if not by_systemd:
            self._units = switch_words.with_line(self._units, line)
        if len(line) > LINE_CHARACTERS:
            line = f"{line[:LINE_CHARACTERS]} … ({len(line)} characters)"
        self._log.append(clean(line, colour=False))
        if self._room <= 0:
            return
        self._console.foreign(line, self._prefix)
        self._room -= len(line) + len(self._prefix) + 1
        if self._room <= 0:
            self._console.say(
                f"{self._prefix}… the rest is not shown here; on the host: journalctl --unit={self._unit}"
            )

    def _skip(self, on_idle: Callable[[], None] | None) -> bool:
        """Go on behind an entry that no page can hold; whether there was one."""
        found, _ = entries(self._ask(_SKIP, self._cursor, on_idle=on_idle))
        if not found:
            return False
        self._cursor = found[0].cursor
        self._line(f"… (an entry of more than {PAGE_BYTES} bytes)", by_systemd=True)
        return True

    def _jump(self, on_idle: Callable[[], None] | None) -> None:
        """Go on at the end: nothing of what lies between would be shown."""
        page = self._ask(_LAST, str(KEPT_LINES), str(PAGE_BYTES), on_idle=on_idle)
        found, _ = entries(page)
        if found:
            self._log.clear()
            self._take(found)

    def _complain(self, others: list[str]) -> None:
        for line in others[:3]:
            if line not in self._said and len(self._said) < 10:
                self._said.add(line)
                self._console.warn(f"{self.target.address}: the journal of {self._unit}: {line}")
