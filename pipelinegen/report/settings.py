"""The effective settings as lines, each with its origin. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipelinegen import attrpath
from pipelinegen.config_file import LoadedConfig


def settings_table(loaded: LoadedConfig) -> list[tuple[str, str, str]]:
    """(name, value as JSON, `file` or `default`) of every setting, sorted by name."""
    values = dict(_leaves((), loaded.config.model_dump(mode="json")))
    written = {path for path, _ in _leaves((), loaded.raw)}
    rows = []
    for path, value in values.items():
        in_file = any(other[: len(path)] == path or path[: len(other)] == other for other in written)
        rows.append((attrpath.show(path), json.dumps(value, ensure_ascii=False), "file" if in_file else "default"))
    return sorted(rows)


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves((*path, str(name)), inner)
    elif path:
        yield path, value
