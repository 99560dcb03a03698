"""Evaluates what is not known of a flake, and records what that reads."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipelinegen import machine
from pipelinegen.config import Config, Evaluation
from pipelinegen.errors import CommandError, FlakeError, ToolError
from pipelinegen.inventory import eval_jobs
from pipelinegen.inventory.cache_homes import CacheHomes
from pipelinegen.inventory.expression import fetched_expression
from pipelinegen.inventory.frontier import Frontier, Key
from pipelinegen.inventory.model import FlakeSource, Inventory
from pipelinegen.inventory.outputs import as_inventory
from pipelinegen.inventory.pool import OnProgress, Pool
from pipelinegen.inventory.recording import NotRecordedError, Recorder
from pipelinegen.inventory.results import Evaluated, Result
from pipelinegen.inventory.rules import Rules
from pipelinegen.inventory.trees import Trees, add_marks, add_trees
from pipelinegen.inventory.worker import Recording, Worker


@dataclass(frozen=True)
class Survey:
    """An inventory and how it came about.

    Attributes:
        evaluated: what was evaluated now; all else was known.
        not_recorded: why nothing was recorded of what was read; null where it was, or was not wanted.
    """

    inventory: Inventory
    evaluated: dict[Key, Evaluated] = field(default_factory=dict)
    not_recorded: str | None = None


def survey(
    source: FlakeSource,
    config: Config,
    *,
    on_progress: OnProgress | None = None,
    on_warning: Callable[[str], None] | None = None,
    known: Callable[[Key], Result | None] = lambda _: None,
    builds: Callable[[Key], bool] = lambda _: False,
    reads_metadata: Callable[[Key], bool] = lambda _: False,
    record: bool = False,
    kept: Path | None = None,
    backwards: Callable[[], bool] = lambda: False,
    only: Collection[Key] | None = None,
) -> Survey:
    """Evaluate those of a flake's outputs that are not known.

    An output that fails costs only itself. The derivations of all that were evaluated are in the store afterwards.
    The result is the same for any number of evaluators.

    Args:
        source: the flake.
        config: which attributes, and limits.
        on_progress: takes how many attributes are done, and how many are known so far.
        on_warning: takes what does no harm but should be known.
        known: what an attribute is known to evaluate to; null where it must be evaluated.
        builds: whether an attribute is known to need a build to be evaluated.
        reads_metadata: whether an attribute is known to read what `self` says of the source: it is evaluated after
            the others, which would else seem to read that, too.
        record: record what is read.
        kept: a folder for what Nix notes of fetched trees; see `cache_homes`.
        backwards: whether to evaluate from the end; asked when it is clear what is known.
        only: evaluate nothing but these, so that the inventory lacks all else that is not known.

    Raises:
        FlakeError: the flake cannot be evaluated as a whole.
        ToolError: there is no Nix (or no `nix-eval-jobs`, where that is wanted), or it does not behave.
    """
    frontier = Frontier(Rules(config.include, config.exclude))
    _recall(frontier, known, builds, reads_metadata)
    if only is not None:
        frontier.pending = {key: task for key, task in frontier.pending.items() if key in only}
    if not frontier.pending:
        return Survey(as_inventory(source, frontier, set()))
    settings = config.evaluation
    if settings.evaluator == "nix-eval-jobs":
        eval_jobs.find()
    workers = how_many(settings)
    word = secrets.token_hex(16)
    with ExitStack() as stack:
        recording, not_recorded = None, None
        if record and settings.evaluator != "nix":
            record, not_recorded = False, f"{settings.evaluator} does not say when it turns to an output"
        try:
            trees = add_trees(source, marks=add_marks(word, workers) if record else None)
            if record:
                recording, not_recorded = _recording(source, trees, stack, kept)
        except CommandError as error:
            raise FlakeError(
                "Nix does not take the locked inputs of the flake",
                where=source.reference,
                why="\n".join(error.stderr_tail),
            ) from error
        pool = Pool(
            Worker(source, trees, settings, word=word),
            frontier,
            workers=workers,
            where=source.reference,
            on_progress=on_progress,
            recording=recording,
            backwards=backwards(),
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
    if recording is not None:
        not_recorded = _trouble(recording.recorder, pool, source)
    inventory = as_inventory(source, frontier, pool.built)
    return Survey(inventory, _evaluated(frontier, pool, inventory), not_recorded)


def _trouble(recorder: Recorder, pool: Pool, source: FlakeSource) -> str | None:
    """Why nothing, or not all, that was read is known after all."""
    if recorder.lost:
        return "more happened than could be noted (fs.inotify.max_queued_events?), or another program read the marks"
    if pool.many_builds:
        return "too many outputs need import from derivation, which hides what is read"
    if pool.reads and not any(_flake_file(source) in reads.files for reads in pool.reads.values()):
        return "nobody was seen to read flake.nix; is it a symbolic link?"
    return None


def _flake_file(source: FlakeSource) -> str:
    return str(PurePosixPath(source.subdirectory, "flake.nix"))


def _recall(
    frontier: Frontier,
    known: Callable[[Key], Result | None],
    builds: Callable[[Key], bool],
    reads_metadata: Callable[[Key], bool],
) -> None:
    """Take out of what is to be looked at all that is known."""
    looked: set[Key] = set()
    while fresh := [task.key for task in frontier.in_order() if task.key not in looked]:
        looked.update(fresh)
        for key in fresh:
            result = known(key)
            if result is not None:
                frontier.recall(key, result)
            elif builds(key):
                frontier.will_build(key)
            elif reads_metadata(key):
                frontier.will_read_metadata(key)


def _recording(
    source: FlakeSource, trees: Trees, stack: ExitStack, kept: Path | None
) -> tuple[Recording | None, str | None]:
    """What is needed to record, until `stack` ends; or why nothing can be recorded."""
    scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="pipelinegen-", ignore_cleanup_errors=True))
    # The trees must have been fetched before anybody watches.
    try:
        homes = CacheHomes(Path(scratch), seed=fetched_expression(trees), kept=kept)
        recorder = Recorder(source.store_path, str(trees.marks))
    except NotRecordedError as error:
        return None, str(error)
    except OSError as error:
        return None, f"a temporary folder cannot be written to: {error.strerror}"
    stack.callback(recorder.close)
    return Recording(recorder, homes), None


def _evaluated(frontier: Frontier, pool: Pool, inventory: Inventory) -> dict[Key, Evaluated]:
    """What was evaluated now, but for what failed: that is evaluated every time."""
    failed = {failure.path for failure in inventory.failures}
    # Whoever evaluates a flake reads this. If that was not seen, more was not.
    flake = _flake_file(inventory.source)
    reads = {key: one for key, one in pool.reads.items() if flake in one.files}
    results = {key: Result(names=names) for key, names in frontier.sets.items()}
    results |= {key: Result(strange=strange) for key, strange in frontier.ignored.items()}
    results |= {
        (output.path, "item"): Result(output=output) for output in inventory.outputs if output.path in frontier.found
    }
    return {
        key: Evaluated(result, reads.get(key), key in frontier.builders, key in pool.metadata_readers)
        for key, result in results.items()
        if key[0] not in failed or result.strange
    }


def how_many(settings: Evaluation) -> int:
    """Evaluators at once: one per core by default, fewer where their ceilings would not fit into the memory."""
    if settings.workers is not None:
        return settings.workers
    memory = machine.memory_mb()
    if memory is None:
        return machine.cores()
    # What is sold as 8 GiB reports a little less.
    return max(1, min(machine.cores(), memory * 17 // 16 // settings.max_memory_mb))
