"""Nix's error records as text for people. Pure.

An evaluation with `--show-trace` says all of the way to the error, most of it of no use to anybody and the
outermost part about our own expressions; without it Nix keeps just the outermost part. So the error itself is
taken as Nix writes it, and the innermost steps of the way in one line each.
"""

from __future__ import annotations

import re
from typing import Any

from pipelinegen.console import plain

OWN_TREE = "file:///source.tar.gz"
"""Where the flake's own source is said to come from, for Nix to take it from its store; see `trees`."""

STEPS = 6
"""Steps of the way to an error that are told."""

LINES = 60
"""Lines of an error itself that are told; a failed assertion of a host may list many."""

LINE_CHARACTERS = 400
"""Characters of one line that are told."""

_OURS = re.compile(r"«stdin»|«none»|derivation-internal\.nix")
_UNTOLD = frozenset({"", "from call site"})


def error_text(record: dict[str, Any]) -> str:
    """One `msg` record of Nix's `internal-json` log that is an error: its message, place and way."""
    text = plain(str(record.get("msg", ""))).strip()
    raw = plain(str(record.get("raw_msg", ""))).strip()
    if raw and _is_ours(str(record.get("file") or "")):
        # The place would be in an expression that nobody knows.
        lines = [f"error: {line}" if not number else line for number, line in enumerate(raw.split("\n"))]
    else:
        lines = _own_lines(text, raw)
    if len(lines) > LINES:
        lines = [*lines[:LINES], f"(and {len(lines) - LINES} lines more)"]
    return "\n".join([*lines, *_steps(record.get("trace") or [])])


def shorten_lines(text: str) -> str:
    """Each line no longer than anybody reads."""
    lines = text.split("\n")
    return "\n".join(line if len(line) <= LINE_CHARACTERS else line[: LINE_CHARACTERS - 1] + "…" for line in lines)


def shorten_paths(text: str, tree: str) -> str:
    """Files of the flake's own source tree (a store path) named as in the repository."""
    # 2.34 writes «file:///source.tar.gz?narHash=…»/flake.nix.
    return re.sub(rf"(?:{re.escape(tree)}|«{re.escape(OWN_TREE)}(?:\?[^»\s]*)?»)/", "", text)


def _is_ours(file: str) -> bool:
    # 2.8 gives the text of the expression for its name.
    return "\n" in file or _OURS.search(file) is not None


def _own_lines(text: str, raw: str) -> list[str]:
    """The lines of the error without the steps that Nix writes before (2.20 and later) or behind it."""
    first = f"error: {raw.partition(chr(10))[0]}"
    start = max(text.rfind(f"\n       {first}"), text.rfind(f"\n{first}"))
    own = text[start:].strip() if start >= 0 else text
    step = re.search(r"\n\s*\n\s*… ", own)
    if step is not None:
        own = own[: step.start()]
    return [line.removeprefix("       ").rstrip() for line in own.split("\n")]


def _steps(trace: list[dict[str, Any]]) -> list[str]:
    told: list[str] = []
    for step in trace:
        what = plain(str(step.get("raw_msg", ""))).strip().partition("\n")[0]
        where = str(step.get("file") or "")
        if what in _UNTOLD or _is_ours(where):
            continue
        # Newer versions write line and column into the file already.
        place = where if re.search(r":\d+:\d+$", where) else f"{where}:{step.get('line')}:{step.get('column')}"
        sentence = f"… {what}" + (f", at {place}" if where else "")
        if sentence not in told:
            told.append(sentence)
        if len(told) == STEPS:
            break
    return told
