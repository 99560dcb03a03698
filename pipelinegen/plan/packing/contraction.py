"""A graph whose nodes are parts of another one, so that few things can be moved instead of many. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipelinegen.plan.packing.arrangement import build_seconds
from pipelinegen.plan.packing.graph import WorkGraph, levels, users_of


def contract(graph: WorkGraph, parts: Sequence[Sequence[int]]) -> tuple[WorkGraph, list[Sequence[int]]]:
    """The graph of `parts` (each of one class, together everything), and the parts by their numbers in it.

    A part stands for all its derivations; its path is that of the first.
    """
    part_of = [0] * len(graph.drvs)
    for index, nodes in enumerate(parts):
        for node in nodes:
            part_of[node] = index
    needs = [{part_of[dep] for node in nodes for dep in graph.inputs[node]} - {i} for i, nodes in enumerate(parts)]
    order = [index for level in levels(needs) for index in level]
    place = {index: number for number, index in enumerate(order)}
    inputs = [sorted(place[other] for other in needs[index]) for index in order]
    ordered = [parts[index] for index in order]
    contracted = WorkGraph(
        drvs=[graph.drvs[nodes[0]] for nodes in ordered],
        seconds=[build_seconds(graph, nodes) for nodes in ordered],
        inputs=inputs,
        users=users_of(inputs),
        classes=[graph.classes[nodes[0]] for nodes in ordered],
        class_targets=graph.class_targets,
        class_pools=graph.class_pools,
        targets=graph.targets,
        pools=graph.pools,
    )
    return contracted, ordered
