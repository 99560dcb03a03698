"""Nix's error records as text for people. Pure.

An evaluation with `--show-trace` says all of the way to the error, most of it of no use to anybody and the
outermost part about our own expressions; without it Nix keeps just the outermost part. So the error itself is
taken as Nix writes it, and the innermost steps of the way in one line each.
"""

from __future__ import annotations

import re
from typing import Any

from pipelinegen.console import plain

STEPS = 6
"""Steps of the way to an error that are told."""

LINES = 60
"""Lines of an error itself that are told; a failed assertion of a host may list many."""

_INTERNAL = re.compile(r"«stdin»|«none»|«string»|derivation-internal\.nix|^$")
_EMPTY_TOLD_STEPS = frozenset({"", "from call site"})


def error_text(record: dict[str, Any]) -> str:
    """One `msg` record of Nix's `internal-json` log that is an error: its message, place and way."""
    text = plain(str(record.get("msg", ""))).strip()
    raw = plain(str(record.get("raw_msg", ""))).strip()
    lines = _own_lines(text, raw)
    if len(lines) > LINES:
        lines = [*lines[:LINES], f"(and {len(lines) - LINES} lines more)"]
    return "\n".join([*lines, *_steps(record.get("trace") or [])])


def _own_lines(text: str, raw: str) -> list[str]:
    """The lines of the error without the steps that Nix writes before (2.20 and later) or behind it."""
    first = f"error: {raw.partition(chr(10))[0]}"
    start = max(text.rfind(f"\n       {first}"), text.rfind(f"\n{first}"))
    own = text[start:].strip() if start >= 0 else text
    step = re.search(r"\n\s*\n\s*… ", own)
    if step is not None and step.start() > 0:
        own = own[: step.start()]
    return [line.removeprefix("       ").rstrip() for line in own.split("\n")]


def _steps(trace: list[dict[str, Any]]) -> list[str]:
    told: list[str] = []
    for step in trace:
        what = plain(str(step.get("raw_msg", ""))).strip().partition("\n")[0]
        where = str(step.get("file") or "")
        if what in _EMPTY_TOLD_STEPS or (where and _INTERNAL.search(where)):
            continue
        line = step.get("line")
        # Newer versions write line and column into the file already.
        place = f"{where}:{line}" if where and line and not re.search(r":\d+:\d+$", where) else where
        sentence = f"… {what}" + (f", at {place}" if place else "")
        if sentence not in told:
            told.append(sentence)
        if len(told) == STEPS:
            break
    return told
