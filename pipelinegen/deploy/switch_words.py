"""What NixOS's switch-to-configuration says of units, in its Perl form and in its Rust form ("-ng").

Both use the same words, one line for all units of a kind (nixpkgs: `nixos/modules/system/activation/` and
`pkgs/by-name/sw/switch-to-configuration-ng/`):

    stopping the following units: a.service, b.service
    NOT restarting the following changed units: c.service
    reloading | restarting | starting the following units: …
    the following new units were started: …
    warning: the following units failed: …
    would stop | reload | restart | start the following units: …       (dry-activate)

`user units` instead of `units` are those of a user's own manager. A job that fails is told one by one as well,
and not always in the list: a unit whose reload failed still runs (`Failed to reload a.service` of the Rust form,
`Job for a.service failed …` of systemctl, which the Perl form calls).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipelinegen.console import clean
from pipelinegen.deploy.report import UnitChanges

MOST_UNITS = 1000
"""Of a kind; what is more is left out."""
USER = " (user)"
"""Behind the name of a user's unit that failed: the host's own list of failed units never has it."""

_UNIT = r"[A-Za-z0-9:_.\\@-]{1,250}\.[a-z]{1,20}"
_LIST = re.compile(r"([A-Za-z: ]{1,60}):\s(.+)")
_ONE = re.compile(
    rf"Failed to (?:start|restart|reload|stop) (?P<user>user unit )?(?P<unit>{_UNIT})(?::.*)?"
    rf"|(?:A dependency job|Job) for (?P<job>{_UNIT}) (?:failed|canceled|timed out)\b.*"
)
_DONE = {
    "stopping the following units": "stopped",
    "starting the following units": "started",
    "the following new units were started": "started",
    "restarting the following units": "restarted",
    "reloading the following units": "reloaded",
}
_WOULD = {
    "would stop the following units": "stopped",
    "would start the following units": "started",
    "would restart the following units": "restarted",
    "would reload the following units": "reloaded",
}
_FAILED = {"the following units failed": "", "the following user units failed": USER}
"""Words → what is put behind the units' names."""


def units_named(line: str) -> list[str]:
    """The units that a line says have failed, in its order; those of users with `USER` behind their names.

    The line must begin with these words: behind the list follows the status of each unit, with lines of the
    journal in it that may quote an older switch.
    """
    one = _ONE.fullmatch(_text(line))
    if one:
        return [(one["unit"] or one["job"]) + (USER if one["user"] else "")]
    words, units = _list(line)
    behind = _FAILED.get(words.removeprefix("warning: "))
    return [] if behind is None else [unit + behind for unit in units]


def with_line(changes: UnitChanges, line: str) -> UnitChanges:
    """`changes`, and what one more line of a switch says it does."""
    failed = units_named(line)
    if failed:
        return _with(changes, "failed", failed)
    words, units = _list(line)
    return _with(changes, _DONE[words], units) if words in _DONE else changes


def changed(lines: Iterable[str]) -> UnitChanges:
    """What a switch said it did with units."""
    found = UnitChanges()
    for line in lines:
        found = with_line(found, line)
    return found


def would_change(lines: Iterable[str]) -> UnitChanges:
    """What `dry-activate` said that a switch would do with units."""
    found = UnitChanges()
    for words, units in map(_list, lines):
        if words in _WOULD:
            found = _with(found, _WOULD[words], units)
    return found


def _with(changes: UnitChanges, kind: str, units: list[str]) -> UnitChanges:
    both = sorted({*getattr(changes, kind), *units})
    return changes.model_copy(update={kind: tuple(both[:MOST_UNITS])})


def _list(line: str) -> tuple[str, list[str]]:
    """The words before a list of units, and the list."""
    match = _LIST.fullmatch(_text(line))
    if match is None:
        return "", []
    return match[1], [name for name in re.split(r"[,\s]+", match[2]) if re.fullmatch(_UNIT, name)]


def _text(line: str) -> str:
    return clean(line, colour=False).strip()
