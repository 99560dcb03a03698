"""Plain data as YAML text and back: the only place that knows YAML.

Writing: parsers disagree on plain scalars such as `1e3`, `08`, `0o17`, `yes` and `1:30`, so every text is
one double-quoted scalar on one line, except keys that are GitLab keywords. No anchors, no aliases, no
document marker, nothing folded. The same data gives the same bytes.

Reading: the subset of YAML that such a file needs. Anchors, tags, repeated keys, keys that are not text
and a second document are refused instead of being guessed at; dates stay text.
"""

from __future__ import annotations

import io
from collections.abc import Hashable, Sequence
from typing import IO, TYPE_CHECKING, Any

import yaml
from yaml.emitter import ScalarAnalysis

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

_CORE = "tag:yaml.org,2002:"
_READ_TAGS = tuple(_CORE + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))


class _Dumper(yaml.SafeDumper):
    """Every text double-quoted on one line, except keys that are in `keywords`."""

    def __init__(self, stream: IO[str], keywords: frozenset[str]) -> None:
        super().__init__(stream, width=float("inf"), allow_unicode=True)
        self.keywords = keywords

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)

    def check_simple_key(self) -> bool:
        event = self.event
        return isinstance(event, yaml.ScalarEvent) and len(characters.escape(event.value)) < _MAX_KEY

    def analyze_scalar(self, scalar: str) -> ScalarAnalysis:
        # PyYAML asks which styles are safe, character by character. Only keywords and numbers are plain.
        return ScalarAnalysis(scalar, False, False, True, True, True, True, False)

    def write_double_quoted(self, text: str, split: bool = True) -> None:  # noqa: ARG002
        self.write_indicator(f'"{characters.escape(text)}"', need_whitespace=True)

    def text_node(self, text: str) -> yaml.ScalarNode:
        return yaml.ScalarNode(_CORE + "str", text, style='"')

    def key_node(self, key: str) -> yaml.ScalarNode:
        return yaml.ScalarNode(_CORE + "str", key) if key in self.keywords else self.text_node(key)

    def mapping_node(self, mapping: dict[str, Any]) -> yaml.MappingNode:
        pairs = [(self.key_node(key), self.represent_data(value)) for key, value in mapping.items()]
        return yaml.MappingNode(_CORE + "map", pairs, flow_style=False)


_Dumper.add_representer(str, _Dumper.text_node)
_Dumper.add_representer(dict, _Dumper.mapping_node)


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


def dump(document: dict[str, Any], *, keywords: frozenset[str], header: Sequence[str] = ()) -> str:
    """`document` as YAML, keys in their order, under `header` as comment lines.

    Args:
        document: text, numbers, booleans, lists and mappings with text keys.
        keywords: keys written without quotes; plain words that mean nothing else in YAML.
        header: any text, one line each; what could end a comment is escaped.

    Raises:
        VerificationError: some text holds half a character, which no encoding can carry.
    """
    stream = io.StringIO()
    for line in header:
        stream.write(_comment(line))
    dumper = _Dumper(stream, keywords)
    dumper.open()
    dumper.represent(document)
    dumper.close()
    text = stream.getvalue()
    if half := characters.HALF_CHARACTER.search(text):
        around = text[max(0, half.start() - 40) : half.start()].rpartition("\n")[2]
        raise VerificationError(
            "the pipeline cannot be written as YAML",
            findings=[f"R5: half a character (a lone surrogate) follows {around.strip()!r}"],
        )
    return text


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
