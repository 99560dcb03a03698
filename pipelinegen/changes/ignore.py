"""`ignore_paths`: which files cannot change any output. Pure functions.

Patterns read like lines of a `.gitignore` (https://git-scm.com/docs/gitignore):

    *.md          in any folder; `*`, `?` and `[a-z]` match no slash
    /README       only at the top of the repository, as does every pattern with a slash inside
    docs/         everything in a folder of that name, wherever it is
    docs/**       everything in the folder `docs` of the top
    a/**/b        a/b, a/x/b, a/x/y/b
    !docs/keep    not this, after all

The last pattern that matches a file or a folder around it decides. In this one thing `.gitignore` differs:
it takes nothing back out of an ignored folder; here the doubt counts for evaluation. `?` is one character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pipelinegen.errors import ConfigError

_TOKEN = re.compile(
    r"""
    (?P<folders> (?:\A|(?<=/)) \*\*+ / )
  | (?P<inside> (?<=/) \*\*+ \Z )
  | (?P<stars> \*+ )
  | (?P<one> \? )
  | (?P<set> \[ [!^]?+ \]?+ (?: \\. | [^\]\\] )* \] )
  | (?P<plain> \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_WILDCARDS = {"folders": "(?:.*/)?", "inside": ".+", "stars": "[^/]*", "one": "[^/]"}


class _Rule(NamedTuple):
    expression: re.Pattern[str]
    folders_only: bool
    takes_back: bool


def irrelevant(files: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether every one of `files` is matched by `patterns`. Paths are relative to the repository's top.

    Raises:
        ConfigError: a pattern makes no sense; all that make none are listed.
    """
    return all(map(matcher(patterns), files))


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether one file is matched; see `irrelevant`."""
    rules = _rules(patterns)
    return lambda file: _matched(file, rules)


def _matched(file: str, rules: Sequence[_Rule]) -> bool:
    parts = file.split("/")
    folders = ["/".join(parts[:length]) for length in range(1, len(parts))]
    for rule in reversed(rules):
        places = folders if rule.folders_only else [*folders, file]
        if any(rule.expression.fullmatch(place) for place in places):
            return not rule.takes_back
    return False


def _rules(patterns: Sequence[str]) -> list[_Rule]:
    rules, problems = [], []
    for pattern in patterns:
        try:
            rule = _rule(pattern)
        except ValueError as error:
            problems.append(f"ignore_paths: {pattern!r}: {error}")
        else:
            rules += [rule] if rule else []
    if problems:
        raise ConfigError("the configuration has patterns that make no sense", problems=problems)
    return rules


def _rule(pattern: str) -> _Rule | None:
    """One line of a `.gitignore`; null for a blank one and a comment."""
    text = re.sub(r"(?<!\\) +\Z", "", pattern)
    takes_back = text.startswith("!")
    text = text.removeprefix("!")
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    if not text or pattern.startswith("#"):
        return None
    anywhere = "/" not in text
    expression = "".join(_expression(token) for token in _TOKEN.finditer(text.removeprefix("/")))
    return _Rule(re.compile(("(?:.*/)?" if anywhere else "") + expression, re.DOTALL), folders_only, takes_back)


def _expression(token: re.Match[str]) -> str:
    kind, text = token.lastgroup or "", token.group()
    if kind in _WILDCARDS:
        return _WILDCARDS[kind]
    if kind == "set":
        return _character_set(text[1:-1])
    if text in ("[", "\\"):
        raise ValueError("a bracket or backslash that nothing follows")
    return re.escape(text[-1])


def _character_set(inside: str) -> str:
    if "[:" in inside:
        raise ValueError("names of character classes are not known here, write a range such as [0-9]")
    negated = inside[0] in "!^"
    characters = re.findall(r"\\.|.", inside[1:] if negated else inside, re.DOTALL)
    chosen = ""
    while characters:
        first = characters.pop(0)[-1]
        if len(characters) > 1 and characters[0] == "-":
            last = characters[1][-1]
            if last < first:
                raise ValueError(f"the range {first}-{last} is empty")
            del characters[:2]
            chosen += f"{re.escape(first)}-{re.escape(last)}"
        else:
            chosen += re.escape(first)
    return f"(?!/)[{'^' if negated else ''}{chosen}]"
