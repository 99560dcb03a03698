"""Plain data as YAML text and back: the only place that knows YAML.

Writing: parsers disagree on plain scalars such as `1e3`, `08`, `0o17`, `yes` and `1:30`, so every text is
one double-quoted scalar on one line, except keys that are GitLab keywords. No anchors, no aliases, no
document marker, nothing folded. The same data gives the same bytes. What is left of YAML are mappings, lists
and quoted text, so this module writes them itself: PyYAML takes twenty times as long for the same bytes,
which for ten thousand jobs is the difference between half a second and the patience of whoever pushed.

Reading is PyYAML's, as for every other reader: the subset of YAML that such a file needs. Anchors, tags,
repeated keys, keys that are not text and a second document are refused instead of being guessed at; dates
stay text.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from pipelinegen import characters
from pipelinegen.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from yaml import SafeLoader as _SafeLoader
else:
    # libyaml's parser is four times faster; PyYAML may be installed without it.
    _SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 100
"""Levels of nesting that GitLab reads: https://docs.gitlab.com/administration/cicd/limits/."""

_MAX_KEY = 1000
"""Characters of a key written without `?`; YAML promises to read 1024."""

_STEP = "  "
"""How much further in than its key a mapping or list stands."""

_CORE = "tag:yaml.org,2002:"
_READ_TAGS = tuple(_CORE + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))


class _Loader(_SafeLoader):
    """Refuses keys that are not text or stand twice, and knows no types beyond JSON's."""

    yaml_constructors = {  # noqa: RUF012
        tag: constructor
        for tag, constructor in _SafeLoader.yaml_constructors.items()
        if tag is None or tag in _READ_TAGS
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag in (*_READ_TAGS, _CORE + "merge")]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != _CORE + "str":
                shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise _refused(f"the key {shown} is not text (quote it)", key.start_mark)
            if key.value in seen:
                raise _refused(f"the key {key.value!r} stands here twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def dump(entries: Iterable[tuple[str, Any]], *, keywords: frozenset[str], header: Sequence[str] = ()) -> str:
    """A mapping as YAML, keys in their order, under `header` as comment lines.

    Args:
        entries: its keys and values: text, numbers, booleans, lists and mappings with text keys.
        keywords: keys written without quotes; plain words that mean nothing else in YAML.
        header: any text, one line each; what could end a comment is escaped.

    Raises:
        VerificationError: some text holds half a character, which no encoding can carry.
    """
    lines = [_comment(line) for line in header]
    above = len(lines)
    for key, value in entries:
        _mapping({key: value}, "", keywords, lines)
    if len(lines) == above:
        lines.append("{}\n")
    text = "".join(lines)
    if half := characters.HALF_CHARACTER.search(text):
        around = text[max(0, half.start() - 40) : half.start()].rpartition("\n")[2]
        raise VerificationError(
            "the pipeline cannot be written as YAML",
            findings=[f"R5: half a character (a lone surrogate) follows {around.strip()!r}"],
        )
    return text


def _mapping(mapping: Mapping[str, Any], indent: str, keywords: frozenset[str], lines: list[str]) -> None:
    for key, value in mapping.items():
        if key in keywords:
            _value(f"{indent}{key}:", value, indent, keywords, lines)
            continue
        quoted = characters.escape(key)
        if len(quoted) < _MAX_KEY:
            _value(f'{indent}"{quoted}":', value, indent, keywords, lines)
        else:
            lines.append(f'{indent}? "{quoted}"\n')
            _nested(f"{indent}:", value, indent, keywords, lines)


def _list(items: Sequence[Any], indent: str, keywords: frozenset[str], lines: list[str]) -> None:
    for item in items:
        if isinstance(item, str):
            lines.append(f'{indent}- "{characters.escape(item)}"\n')
        else:
            _nested(f"{indent}-", item, indent, keywords, lines)


def _value(key: str, value: Any, indent: str, keywords: frozenset[str], lines: list[str]) -> None:
    """`value` behind `key`: on the same line, or below it and further in."""
    if isinstance(value, str):
        lines.append(f'{key} "{characters.escape(value)}"\n')
    elif value and isinstance(value, dict):
        lines.append(f"{key}\n")
        _mapping(value, indent + _STEP, keywords, lines)
    elif value and isinstance(value, list):
        lines.append(f"{key}\n")
        _list(value, indent + _STEP, keywords, lines)
    else:
        lines.append(f"{key} {_plain(value)}\n")


def _nested(sign: str, value: Any, indent: str, keywords: frozenset[str], lines: list[str]) -> None:
    """`value` behind `sign`, with which its first line begins."""
    first = len(lines)
    if value and isinstance(value, dict):
        _mapping(value, indent + _STEP, keywords, lines)
    elif value and isinstance(value, list):
        _list(value, indent + _STEP, keywords, lines)
    else:
        _value(sign, value, indent, keywords, lines)
        return
    lines[first] = f"{sign} {lines[first][len(sign) + 1 :]}"


def _plain(value: Any) -> str:
    """A value that needs no quotes: a number, true, false, null, or nothing inside of brackets."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) or value in ({}, []):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that a CI file holds")


def load(text: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The comment lines at the top and the document, as `dump` took them.

    Raises:
        UsageError: no YAML, or YAML that is refused (see above), with line and column.
        VerificationError: nested more than `MAX_DEPTH` deep (L23).
    """
    try:
        _check_events(text)
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  # a loader that knows only JSON's types
    except yaml.YAMLError as error:
        raise _unreadable(error) from error
    except ValueError as error:  # text without UTF-8 form, numbers with thousands of digits
        raise UsageError("the file cannot be read as YAML", why=str(error)) from error
    if not isinstance(document, dict):
        found = "empty" if document is None else "no mapping of keywords and jobs"
        raise UsageError(f"the file is {found}")
    return _header(text), document


def _comment(line: str) -> str:
    # Quotes are harmless in a comment, and it is there to be read.
    escaped = characters.escape(line).replace('\\"', '"')
    return f"# {escaped}\n" if escaped else "#\n"


def _header(text: str) -> tuple[str, ...]:
    lines: list[str] = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        lines.append(characters.unescape(line[1:].removeprefix(" ")))
    return tuple(lines)


def _check_events(text: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.NodeEvent) and (event.anchor or isinstance(event, yaml.AliasEvent)):
            raise _refused("anchors and aliases are not read here", event.start_mark)
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
            raise _refused(f"the tag {event.tag} is not read here", event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise VerificationError(
                "the file is nested too deeply",
                findings=[f"L23: {_place(event.start_mark)} is more than {MAX_DEPTH} levels deep"],
            )
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise _refused("a second document begins", event.start_mark)


def _refused(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _unreadable(error: yaml.YAMLError) -> UsageError:
    mark = getattr(error, "problem_mark", None)
    return UsageError(
        "the file cannot be read as YAML",
        where=_place(mark) if mark else None,
        why=getattr(error, "problem", None) or str(error).split("\n")[0],
    )


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
