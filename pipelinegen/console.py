"""What a person sees on stderr: colour, GitLab log sections, cleaning of foreign text.

Stdout belongs to results; nothing here writes to it. Foreign text (attribute names, branch names, build
logs, evaluator messages) is hostile: `clean` keeps its colours and removes everything by which it could
move the cursor, hide lines, or forge one of GitLab's section markers.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

_ESCAPES = re.compile(
    r"""
    \x1b\[ [0-?]* [ -/]* [@-~]      # CSI sequences: colours, cursor moves, erasing
  | \x1b\] [^\x07\x1b]*+ (?: \x07 | \x1b\\ )  # OSC sequences: titles, links
  | \x1b [PX^_] [^\x1b]*+ \x1b\\    # DCS, SOS, PM, APC strings
  | \x1b .?                         # any other escape
    """,
    re.VERBOSE | re.DOTALL,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SECTION = re.compile(r"section_(start|end):")
_SECTION_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def clean(line: str, *, colour: bool = True) -> str:
    """One foreign line made harmless: colours kept (unless `colour` is false), everything else inert.

    The result is one line. Carriage returns cut what a terminal would have overwritten; control and direction
    characters go; `section_start:` and `section_end:` are broken up, because GitLab's parser looks for just
    them.
    """
    line = line.rstrip("\r\n").replace("\n", " ")
    if "\r" in line:
        line = line.rsplit("\r", 1)[1]
    kept: list[str] = []
    position = 0
    coloured = False
    for match in _ESCAPES.finditer(line):
        kept.append(_CONTROLS.sub("", line[position : match.start()]))
        if colour and _COLOUR.fullmatch(match.group()):
            kept.append(match.group())
            coloured = True
        position = match.end()
    kept.append(_CONTROLS.sub("", line[position:]))
    text = _SECTION.sub(r"section-\1:", "".join(kept))
    return text + "\x1b[0m" if coloured else text


def plain(text: str) -> str:
    """Foreign text of several lines without any colour or control character."""
    return "\n".join(clean(line, colour=False) for line in text.split("\n"))


def want_colour(stream: TextIO, choice: str = "auto") -> bool:
    """Whether to colour `stream`: --color, then NO_COLOR, then FORCE_COLOR, then GitLab, then a TTY."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE"):
        return True
    return os.environ.get("GITLAB_CI") == "true" or stream.isatty()


class Console:
    """The stderr of one run.

    Args:
        stream: where to write; stderr by default.
        colour: whether colours are wanted.
        sections: write GitLab's section markers (in a GitLab job log only).
        quiet: drop `say`, keep warnings and errors.
        clock: seconds since the epoch, for section markers and durations.
    """

    STYLES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "bold": "1", "dim": "2"}  # noqa: RUF012

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        colour: bool = False,
        sections: bool = False,
        quiet: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.colour = colour
        self.sections = sections
        self.quiet = quiet
        self.clock = clock

    @property
    def live(self) -> bool:
        """Whether a line can be written over: on a terminal, but not in a job log that is shown as one."""
        return not self.sections and self.stream.isatty()

    def style(self, text: str, style: str) -> str:
        """`text` in a colour of `STYLES`, where colours are wanted."""
        return f"\x1b[{self.STYLES[style]}m{text}\x1b[0m" if self.colour else text

    def write(self, text: str) -> None:
        """Write as is and flush; a closed pipe is not our failure."""
        with contextlib.suppress(BrokenPipeError):
            self.stream.write(text)
            self.stream.flush()

    def say(self, text: str = "") -> None:
        """A sentence for people; dropped when quiet."""
        if not self.quiet:
            self.write(text + "\n")

    def warn(self, text: str) -> None:
        """A warning, always shown."""
        self.write(f"{self.style('warning:', 'yellow')} {text}\n")

    def foreign(self, line: str, prefix: str = "") -> None:
        """One line of foreign text, cleaned."""
        self.write(prefix + clean(line, colour=self.colour) + "\n")

    @contextlib.contextmanager
    def section(self, name: str, title: str, *, collapsed: bool = False) -> Iterator[None]:
        """A GitLab log section around what is written inside; elsewhere just the title."""
        slug = _SECTION_NAME.sub("_", name)[:80]
        if self.sections:
            mark = "[collapsed=true]" if collapsed else ""
            self.write(f"\x1b[0Ksection_start:{int(self.clock())}:{slug}{mark}\r\x1b[0K")
        self.write(f"{self.style(clean(title, colour=False), 'bold')}\n")
        try:
            yield
        finally:
            if self.sections:
                self.write(f"\x1b[0Ksection_end:{int(self.clock())}:{slug}\r\x1b[0K\n")

    def folded(self, name: str, title: str, lines: list[str]) -> None:
        """Foreign lines as one closed section (GitLab), or only counted elsewhere."""
        if self.sections:
            with self.section(name, title, collapsed=True):
                for line in lines:
                    self.foreign(line)
        else:
            self.say(f"{clean(title, colour=False)} ({len(lines)} log lines)")
