"""The YAML of a pipeline as PyYAML writes it, with its emitter bent to our style; slow, and who else would know."""

from __future__ import annotations

import io
from typing import IO, Any

import yaml
from yaml.emitter import ScalarAnalysis

from pipelinegen import characters

_CORE = "tag:yaml.org,2002:"
_MAX_KEY = 1000


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


def reference(document: dict[str, Any], keywords: frozenset[str]) -> str:
    """`document` as YAML."""
    stream = io.StringIO()
    dumper = _Dumper(stream, keywords)
    dumper.open()
    dumper.represent(document)
    dumper.close()
    return stream.getvalue()
