"""Flake → inventory."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from pipelinegen import machine
from pipelinegen.attrpath import AttrPath
from pipelinegen.config import Config, Evaluation
from pipelinegen.errors import CommandError, FlakeError, ToolError
from pipelinegen.inventory import eval_jobs
from pipelinegen.inventory.frontier import Frontier
from pipelinegen.inventory.graph import read_derivation
from pipelinegen.inventory.model import EvalFailure, FlakeOutput, FlakeSource, Inventory, Kind
from pipelinegen.inventory.pool import OnProgress, Pool
from pipelinegen.inventory.records import Found, Unavailable
from pipelinegen.inventory.rules import Rules
from pipelinegen.inventory.source import read_source, source_at
from pipelinegen.inventory.trees import add_trees
from pipelinegen.inventory.worker import Worker

__all__ = ["read_inventory", "read_source", "source_at"]


def read_inventory(
    source: FlakeSource,
    config: Config,
    *,
    on_progress: OnProgress | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Inventory:
    """Evaluate a flake's outputs.

    An output that fails costs only itself. The derivations of all others are in the store afterwards. The
    result is the same for any number of evaluators.

    Args:
        source: the flake.
        config: which attributes, and limits.
        on_progress: takes how many attributes are done, and how many are known so far.
        on_warning: takes what does no harm but should be known.

    Raises:
        FlakeError: the flake cannot be evaluated as a whole.
        ToolError: there is no Nix (or no `nix-eval-jobs`, where that is wanted), or it does not behave.
    """
    settings = config.evaluation
    if settings.evaluator == "nix-eval-jobs":
        eval_jobs.find()
    try:
        trees = add_trees(source)
    except CommandError as error:
        raise FlakeError(
            "Nix does not take the locked inputs of the flake",
            where=source.reference,
            why="\n".join(error.stderr_tail),
        ) from error
    frontier = Frontier(Rules(config.include, config.exclude))
    workers = how_many(settings)
    pool = Pool(
        Worker(source, trees, settings, word=secrets.token_hex(16)),
        frontier,
        workers=workers,
        where=source.reference,
        on_progress=on_progress,
    )
    try:
        if settings.evaluator == "nix-eval-jobs":
            pool.run(names_only=True)
            jobs = eval_jobs.EvalJobs(source, trees, settings, workers=workers, on_build=pool.built.add)
            trouble = jobs.run(frontier, on_progress=on_progress)
            if trouble and on_warning:
                on_warning(trouble)
        pool.run()
    except ValueError as error:
        raise ToolError("the evaluator's reports make no sense", where=source.reference, why=str(error)) from error
    return _inventory(source, frontier, pool.built)


def how_many(settings: Evaluation) -> int:
    """Evaluators at once: one per core by default, fewer where their ceilings would not fit into the memory."""
    if settings.workers is not None:
        return settings.workers
    memory = machine.memory_mb()
    if memory is None:
        return machine.cores()
    # What is sold as 8 GiB reports a little less.
    return max(1, min(machine.cores(), memory * 17 // 16 // settings.max_memory_mb))


def _inventory(source: FlakeSource, frontier: Frontier, built: set[str]) -> Inventory:
    outputs: list[FlakeOutput] = []
    failures = dict(frontier.failures)
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
