"""Reads derivations from the local store's `.drv` files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipelinegen.errors import ToolError
from pipelinegen.inventory.aterm import ATermError, parse_derivation
from pipelinegen.inventory.model import Derivation, Graph


def read_derivation(path: str) -> Derivation:
    """One derivation.

    Raises:
        ToolError: it is not in the local store, or damaged.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # a Path costs as much as reading, 100,000 times
            # Foreign bytes in the environment of a build are no reason to fail.
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        raise ToolError(
            "a derivation is not in the local store",
            where=path,
            why=error.strerror,
            hint="was the store cleaned meanwhile? run this again",
        ) from error
    try:
        return parse_derivation(path, text)
    except ATermError as error:
        raise ToolError(
            "a derivation cannot be read", where=path, why=str(error), hint="nix-store --verify-path tells more"
        ) from error


def read_derivations(paths: Iterable[str]) -> Graph:
    """Exactly these derivations, without their inputs.

    Raises:
        ToolError: one is not in the local store, or damaged.
    """
    return {path: read_derivation(path) for path in dict.fromkeys(paths)}


def read_graph(roots: Iterable[str], *, stop: Callable[[Derivation], bool] | None = None) -> Graph:
    """`roots` and everything they need, in the order of a breadth-first walk.

    Args:
        roots: derivation paths.
        stop: whether a derivation's inputs need not be read; it is asked once for each.

    Raises:
        ToolError: a derivation is not in the local store, or damaged.
    """
    graph: Graph = {}
    level = list(dict.fromkeys(roots))
    while level:
        following: dict[str, None] = {}
        for path in level:
            graph[path] = derivation = read_derivation(path)
            if stop is None or not stop(derivation):
                following.update(dict.fromkeys(derivation.inputs))
        level = [path for path in following if path not in graph]
    return graph
