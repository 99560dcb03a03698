"""Characters that a reader cannot see, or that change what a reader sees.

Foreign text (attribute names, branch names, commit subjects) may hold any of them. They are listed here
once, as fixed ranges and not by the Unicode tables of the running Python, so that every Python version
writes the same bytes.
"""

from __future__ import annotations

import re

from pipelinegen.console import clean

INVISIBLE = (
    "\x00-\x1f\x7f-\xa0"  # controls (U+0085 ends a YAML line), no-break space
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, fillers, joiners, marks
    "\u2000-\u200f\u2028-\u202f\u205f-\u206f"  # spaces, line ends, direction marks
    "\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"  # fillers, variation selectors, byte order mark
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # musical formatting, tags
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
)
"""Inside of a regular expression's `[…]`."""

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""A lone surrogate: no encoding can carry it, so there is no escape for it either."""

_VANISHING = re.compile(f"[{INVISIBLE}]|^ | \\Z|(?<= ) |{HALF_CHARACTER.pattern}")
_ESCAPED = re.compile(f'[{INVISIBLE}"\\\\]')
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_LONG = {"n": "\n", "r": "\r", "t": "\t"}


def visible(text: str) -> str:
    """`text` on one line with a sign for all that cannot be seen: `␊` for a line feed, `␣` for an edge's space."""
    return _VANISHING.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0x20:
        return "␣"
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "\ufffd"


def inert(text: str) -> str:
    """Foreign text inside of a message: one line, and no marker of a log section."""
    return clean(visible(text), colour=False)


def escape(text: str) -> str:
    """`text` on one line, as the inside of a double-quoted YAML scalar; what can be read stays readable."""
    return _ESCAPED.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    character = match.group()
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def unescape(text: str) -> str:
    """The inverse of `escape`."""
    return _ESCAPE.sub(_unescape_one, text)


def _unescape_one(match: re.Match[str]) -> str:
    digits = match.group(1) or match.group(2) or match.group(3)
    if digits is not None:
        return chr(int(digits, 16)) if int(digits, 16) <= 0x10FFFF else match.group()
    return _LONG.get(match.group(4), match.group(4))
