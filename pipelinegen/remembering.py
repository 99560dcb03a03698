"""What commands do with what is remembered of one flake's evaluations, besides planning with it."""

from __future__ import annotations

from collections.abc import Container
from itertools import islice

from pipelinegen.changes.ignore import matcher
from pipelinegen.changes.read import Repository
from pipelinegen.config import Config
from pipelinegen.console import Console
from pipelinegen.errors import GitError, TransientError, UsageError
from pipelinegen.generate import Request
from pipelinegen.inspecting import Inspector
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.inventory.read import read_source
from pipelinegen.memo.effect import Effect, effect
from pipelinegen.memo.inspect import Inspection, open_memo
from pipelinegen.memo.last import FOLDER, Last, write_last
from pipelinegen.memo.model import Snapshot, Witness
from pipelinegen.memo.view import MOST_SNAPSHOTS
from pipelinegen.plan.model import Plan
from pipelinegen.readings import Difference, difference, readings, remembers
from pipelinegen.report.reading import Reading, count
from pipelinegen.values import Value


class Verified(Value):
    """What a verification found, where it found nothing wrong.

    Attributes:
        evaluated: outputs, and what failed.
        compared: how many of the memo's answers were compared: of outputs, and of the sets that they are in.
        confirmed, narrowed: see `memo.effect.Effect`.
    """

    evaluated: int
    compared: int
    confirmed: int
    narrowed: int

    def sentence(self) -> str:
        """For a person."""
        return (
            f"{count(self.evaluated, 'output')} evaluated; {count(self.compared, 'remembered result')} compared, none "
            f"differs; {self.confirmed} confirmed to be independent of the commit, {self.narrowed} found to read less"
        )


def look(request: Request, console: Console) -> Inspection:
    """Inspect the flake; what is not remembered is evaluated.

    Raises:
        UsageError: nothing is remembered by this configuration.
        PipelinegenError: it cannot be evaluated as a whole.
    """
    return _inspect(request, _source(request), console)


def verify_memo(request: Request, console: Console) -> Verified:
    """Evaluate everything, and compare it with what is remembered.

    Raises:
        MemoError: something differs; nothing is remembered any more.
        UsageError: nothing is remembered by this configuration.
        PipelinegenError: it cannot be evaluated as a whole.
    """
    source = _source(request)
    before = _snapshots(request, source)
    inspection = _inspect(request, source, console, verify=True)
    found = effect(before, inspection.records) if before else Effect(0, 0)
    return Verified(
        evaluated=inspection.counts.outputs,
        compared=inspection.compared or 0,
        confirmed=found.confirmed,
        narrowed=found.narrowed,
    )


def tell_of_evaluation(
    request: Request, plan: Plan, inspection: Inspection | None, *, details: Container[str] = ()
) -> tuple[Reading, ...] | None:
    """What to tell people of the inspection that a plan was made from, which is kept for `doctor`, too.

    Args:
        details: attribute paths of outputs whose files are listed.

    Returns:
        One for each output; null where nothing is remembered, or nothing had to be inspected.
    """
    if inspection is None or not remembers(inspection):
        return None
    counts = inspection.counts
    # That the folder cannot be written to was said when the snapshot was to be kept.
    write_last(
        request.cache_directory / FOLDER,
        Last(known=counts.known, evaluated=counts.evaluated, not_recorded=inspection.not_recorded),
    )
    return readings(inspection, _difference(request, plan), details=details)


def _difference(request: Request, plan: Plan) -> Difference | None:
    try:
        repository = Repository.open(request.directory / request.flake.partition("#")[0].partition("?")[0])
        return difference(repository, plan.base, plan.head, request.loaded.config.ignore_paths)
    except (GitError, TransientError):
        return None  # then what changed is not told


def require_memo(config: Config) -> None:
    """Refuse to look for what is not kept.

    Raises:
        UsageError: nothing is remembered by this configuration.
    """
    settings = config.evaluation
    if not settings.memo or settings.impure:
        why = "evaluation.impure = true" if settings.memo else "evaluation.memo = false"
        raise UsageError("nothing is remembered of this flake's evaluations", why=why)


def _source(request: Request) -> FlakeSource:
    require_memo(request.loaded.config)
    return read_source(request.flake, cwd=request.directory, config=request.loaded.config)


def _inspect(request: Request, source: FlakeSource, console: Console, *, verify: bool = False) -> Inspection:
    inspector = Inspector(request.loaded.config, request.cache_directory, console, verify=verify)
    inventory = inspector.head(source)
    return inspector.inspection or Inspection(inventory)


def _snapshots(request: Request, source: FlakeSource) -> tuple[Snapshot, ...]:
    """The newest ones of this flake, whatever trees they are of."""
    config = request.loaded.config
    memo = open_memo(request.cache_directory, source, config, ignored=matcher(config.ignore_paths))
    if memo is None:
        return ()
    return tuple(islice(memo.store.snapshots(memo.world, Witness(tree="", metadata=())), MOST_SNAPSHOTS))
