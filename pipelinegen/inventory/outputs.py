"""What has been found of a flake → its inventory."""

from __future__ import annotations

from pipelinegen.attrpath import AttrPath
from pipelinegen.errors import ToolError
from pipelinegen.inventory.frontier import Frontier
from pipelinegen.inventory.graph import read_derivation
from pipelinegen.inventory.model import EvalFailure, FlakeOutput, FlakeSource, Inventory, Kind
from pipelinegen.inventory.records import Found, Unavailable


def as_inventory(source: FlakeSource, frontier: Frontier, built: set[str]) -> Inventory:
    """What has been found, sorted.

    Args:
        built: derivations that evaluation had to build.
    """
    failures = dict(frontier.failures)
    outputs = [output for path, output in frontier.recalled.items() if path not in failures]
    for path, found in frontier.found.items():
        if path in failures:
            continue
        kind = frontier.rules.kind(path)
        try:
            outputs.append(make_output(path, kind, found))
        except ToolError as error:
            message = f"{error.message}: {error.where} ({error.why})"
            failures.setdefault(path, EvalFailure(path=path, kind=kind, message=message))
    return Inventory(
        source=source,
        outputs=tuple(sorted(outputs, key=lambda output: output.path)),
        failures=tuple(failures[path] for path in sorted(failures)),
        built_during_evaluation=tuple(sorted(built)),
    )


def make_output(path: AttrPath, kind: Kind, found: Found | Unavailable) -> FlakeOutput:
    """What an attribute turned out to be; the derivation itself is read from the store.

    Raises:
        ToolError: the derivation is not there.
    """
    drv_attr_path = (*path, *found.suffix)
    if isinstance(found, Unavailable):
        return FlakeOutput(
            path=path,
            drv_attr_path=drv_attr_path,
            kind=kind,
            name=found.name,
            system=found.system,
            unavailable=", ".join(found.marks) or "not available on this platform (meta.available = false)",
        )
    derivation = read_derivation(found.drv_path)
    wanted = tuple(name for name in dict.fromkeys(found.install) if name in derivation.outputs)
    return FlakeOutput(
        path=path,
        drv_attr_path=drv_attr_path,
        kind=kind,
        name=derivation.name,
        system=derivation.system,
        drv_path=derivation.path,
        outputs=derivation.outputs,
        wanted=wanted or (found.output if found.output in derivation.outputs else min(derivation.outputs),),
        features=derivation.features,
        timeout=found.timeout,
        max_silent=found.max_silent,
    )
