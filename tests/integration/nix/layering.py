"""What a `layeringPipeline` of dockerTools makes of a graph of store paths, by the description of its steps.

A graph is {path: paths that it refers to}. A step takes a graph, a list of graphs, or a mapping of such, and each
pipeline ends with a list of graphs, one per layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Graph = dict[str, frozenset[str]]


def layers(pipeline: list[Any], graph: Graph) -> list[frozenset[str]]:
    """The paths of each layer, the lowest first."""
    # A path that names itself needs nothing for that.
    others = {path: needed - {path} for path, needed in graph.items()}
    return [frozenset(one) for one in _pipe(pipeline, others)]


def _pipe(steps: list[Any], value: Any) -> Any:
    for name, *arguments in steps:
        value = _STEPS[name](*arguments, value)
    return value


def _split_paths(chosen: list[Any], graph: Graph) -> dict[str, Graph]:
    """main: the chosen and what only they need; common: what others need too; rest: the others."""
    tops = {path for one in chosen for path in _named(one, graph) if path in graph}
    below = _reachable(graph, tops)
    referred = {other for others in graph.values() for other in others}
    cut = {path: others - tops for path, others in graph.items()}
    others = _reachable(cut, set(graph) - referred - tops)
    parts = {"main": below - others, "common": below & others, "rest": others - below}
    return {name: _only(graph, paths) for name, paths in parts.items() if paths}


def _named(one: Any, graph: Graph) -> frozenset[str]:
    return graph[one["children_of"]] if isinstance(one, dict) else frozenset([one])


def _popularity_contest(graph: Graph) -> list[Graph]:
    def demand(path: str) -> int:
        return sum(path in _reachable(graph, {other}) for other in graph)

    return [_only(graph, {path}) for path in sorted(graph, key=lambda path: (-demand(path), path))]


def _limit_layers(limit: int, graphs: list[Graph]) -> list[Graph]:
    rest = {path: others for graph in graphs[limit - 1 :] for path, others in graph.items()}
    return [*graphs[: limit - 1], *([rest] if rest else [])]


def _over(part: str, function: list[Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    return {**parts, part: _pipe([function], parts[part])}


def _flatten(value: Any) -> list[Graph]:
    """Depth first. A graph is a mapping too, but one whose values are no graphs."""
    if isinstance(value, dict) and all(isinstance(one, frozenset) for one in value.values()):
        return [value]
    return [graph for one in (value.values() if isinstance(value, dict) else value) for graph in _flatten(one)]


def _reachable(graph: Graph, tops: set[str]) -> set[str]:
    found, todo = set(tops), list(tops)
    while todo:
        new = graph[todo.pop()] & graph.keys() - found
        found |= new
        todo += new
    return found


def _only(graph: Graph, paths: set[str]) -> Graph:
    return {path: graph[path] & paths for path in paths}


_STEPS: dict[str, Any] = {
    "split_paths": _split_paths,
    "popularity_contest": _popularity_contest,
    "limit_layers": _limit_layers,
    "over": _over,
    "pipe": _pipe,
    "flatten": _flatten,
    "reverse": lambda value: list(reversed(value)),
}
