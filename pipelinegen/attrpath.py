"""Attribute paths of a flake: printing with Nix's quoting, reading back, matching patterns.

An attribute path is a tuple of names, each any text at all: `("packages", "x86_64-linux", "a.b")` is
printed `packages.x86_64-linux."a.b"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipelinegen.errors import UsageError

AttrPath = tuple[str, ...]

_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_'-]*\Z")
_KEYWORDS = frozenset({"if", "then", "else", "assert", "with", "let", "in", "rec", "inherit", "or"})
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def nix_string(text: str) -> str:
    """`text` as a Nix string literal, safe inside any Nix expression."""
    escaped = "".join(_ESCAPES.get(character, character) for character in text)
    return '"' + escaped.replace("${", "\\${") + '"'


def show_name(name: str) -> str:
    """One name as Nix prints it: bare where it is an identifier, quoted elsewhere."""
    return name if _IDENTIFIER.match(name) and name not in _KEYWORDS else nix_string(name)


def show(path: Sequence[str]) -> str:
    """The whole path as Nix prints it."""
    return ".".join(show_name(name) for name in path)


def parse(text: str) -> AttrPath:
    """Read what `show` printed (or a person typed); the inverse of `show` for every path.

    Raises:
        UsageError: a quote is not closed, or a name is empty without quotes.
    """
    names: list[str] = []
    position = 0
    while True:
        name, position = _parse_name(text, position)
        names.append(name)
        if position == len(text):
            return tuple(names)
        if text[position] != ".":
            raise UsageError(f"{text!r} is no attribute path", why=f"unexpected {text[position]!r} after a name")
        position += 1


def _parse_name(text: str, position: int) -> tuple[str, int]:
    if not text.startswith('"', position):
        end = text.find(".", position)
        end = len(text) if end < 0 else end
        name = text[position:end]
        if not name or '"' in name:
            raise UsageError(f"{text!r} is no attribute path", hint='quote unusual names: packages."a.b"')
        return name, end
    characters: list[str] = []
    position += 1
    while position < len(text):
        character = text[position]
        if character == '"':
            return "".join(characters), position + 1
        if character == "\\" and position + 1 < len(text):
            position += 1
            character = _UNESCAPES.get(text[position], text[position])
        characters.append(character)
        position += 1
    raise UsageError(f"{text!r} is no attribute path", why="a quote is not closed")


def parse_pattern(text: str) -> AttrPath:
    """A pattern such as `packages.*.web-?` or `nixosTests.**`; each part is a shell glob, `**` any depth."""
    return parse(text)


def matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the whole `path` fits the pattern; `**` stands for any number of names, zero too."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return matches(pattern[1:], path) or (bool(path) and matches(pattern, path[1:]))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and matches(pattern[1:], path[1:])


def could_contain(pattern: Sequence[str], prefix: Sequence[str]) -> bool:
    """Whether something at or below `prefix` could fit the pattern: how deep a search must go."""
    if not prefix:
        return True
    if not pattern:
        return False
    if pattern[0] == "**":
        return True
    return fnmatchcase(prefix[0], pattern[0]) and could_contain(pattern[1:], prefix[1:])
