"""Flake → inventory, evaluating only what is not known from earlier evaluations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pipelinegen import nix
from pipelinegen.attrpath import AttrPath, show
from pipelinegen.config import Config
from pipelinegen.errors import MemoError, ToolError
from pipelinegen.inventory.model import FlakeSource, Inventory
from pipelinegen.inventory.pool import OnProgress
from pipelinegen.inventory.survey import survey
from pipelinegen.memo.last import FOLDER
from pipelinegen.memo.model import Key, Record, World
from pipelinegen.memo.store import MemoStore
from pipelinegen.memo.tree import Tree
from pipelinegen.memo.view import View
from pipelinegen.values import digest

_ANSWERS_NOTHING = frozenset({"workers", "evaluator", "memo", "timeout", "max_memory_mb", "max_bases"})
"""Settings of evaluation that change whether or how fast there is a result, and never the result."""


_SHOWN = 5

NOTED = "fetched"
"""Folder of what Nix noted of fetched trees, by its version, below that of the snapshots."""

_ALTER_EVALUATION = ("allowed-uris", "experimental-features", "plugin-files", "restrict-eval")
"""Settings of Nix on which it depends what pure evaluation gives, or whether it gives something."""


@cache
def nix_settings(nix_version: str) -> dict[str, str | None]:  # noqa: ARG001  # each version has settings of its own
    """Settings of the Nix on PATH that alter evaluation; asked once by each process.

    Raises:
        ToolError: Nix does not tell them.
    """
    settings = nix.settings()
    return {name: settings.get(name) for name in _ALTER_EVALUATION}


@dataclass(frozen=True)
class Memo:
    """What is remembered of evaluations in one world.

    Attributes:
        ignored: whether the configuration declares a path to be without effect.
    """

    store: MemoStore
    world: World
    ignored: Callable[[str], bool]


def open_memo(
    folder: Path, source: FlakeSource, config: Config, *, ignored: Callable[[str], bool] = lambda _: False
) -> Memo | None:
    """The memo for evaluations of this flake with this configuration; null where there may be none.

    Args:
        folder: of caches.
    """
    evaluation = config.evaluation
    if not evaluation.memo or evaluation.impure:
        return None
    options = {
        "store": str(Path(source.store_path).parent),
        "nix": nix_settings(source.nix_version),
        "include": config.include,
        "exclude": config.exclude,
        "ignore_paths": config.ignore_paths,
        "evaluation": evaluation.model_dump(mode="json", exclude=set(_ANSWERS_NOTHING)),
    }
    world = World(
        nix_version=source.nix_version,
        locks=digest([source.locks, source.relocated]),
        subdirectory=source.subdirectory,
        options=digest(options),
    )
    return Memo(MemoStore(folder / FOLDER), world, ignored)


@dataclass(frozen=True)
class Counts:
    """How many outputs there are, and for how many what was needed."""

    outputs: int
    known: int
    evaluated: int


@dataclass(frozen=True)
class Inspection:
    """An inventory and how it came about.

    Attributes:
        records: what is known of each attribute at this tree; nothing where nothing is recorded.
        recalled: outputs that were not evaluated.
        compared: with how many answers of the memo an evaluation of everything was compared; null where it was not.
        not_recorded: why nothing could be recorded; null where it could, or there is no memo.
    """

    inventory: Inventory
    records: dict[Key, Record] = field(default_factory=dict)
    recalled: frozenset[AttrPath] = frozenset()
    compared: int | None = None
    not_recorded: str | None = None

    def known(self, path: AttrPath) -> bool:
        """Whether an output came from the memo."""
        return path in self.recalled

    def reads(self, path: AttrPath) -> Record | None:
        """What is recorded of an output."""
        return self.records.get((path, "item"))

    @property
    def counts(self) -> Counts:
        """Of outputs, and of what failed: that was evaluated."""
        outputs = len(self.inventory.outputs) + len(self.inventory.failures)
        return Counts(outputs, len(self.recalled), outputs - len(self.recalled))


def inspect(
    source: FlakeSource,
    config: Config,
    memo: Memo | None,
    *,
    on_progress: OnProgress | None = None,
    on_warning: Callable[[str], None] = lambda _: None,
    verify: bool = False,
    again: Collection[AttrPath] = (),
) -> Inspection:
    """What the flake offers; what is not known is evaluated.

    Args:
        memo: what is remembered, and what it is added to.
        on_progress: takes how many attributes are done, and how many are known so far.
        on_warning: takes what does no harm but should be known.
        verify: evaluate everything, and compare it with the memo.
        again: outputs that are evaluated and compared in any case.

    Raises:
        FlakeError: the flake cannot be evaluated as a whole.
        MemoError: something evaluates to something else than the memo says; the memo is empty now.
        ToolError: there is no Nix, or it does not behave.
    """
    if memo is None:
        return Inspection(survey(source, config, on_progress=on_progress, on_warning=on_warning).inventory)
    view = View(memo.store, memo.world, Tree.scan(source, memo.ignored))
    asked_again: set[Key] = {(path, "item") for path in again}
    found = survey(
        source,
        config,
        on_progress=on_progress,
        on_warning=on_warning,
        known=lambda key: view.miss(key) if verify or key in asked_again else view.recall(key),
        builds=view.builds,
        reads_metadata=view.reads_metadata,
        record=True,
        kept=memo.store.folder / NOTED / source.nix_version,
        only=asked_again or None,
        backwards=view.other_direction,
    )
    if found.not_recorded:
        on_warning(f"what evaluation reads is not recorded: {found.not_recorded}")
    compared = view.answers(set(found.evaluated) if verify else asked_again)
    wrong = sorted(
        show(key[0])
        for key, answer in compared.items()
        if key in found.evaluated and found.evaluated[key].result != answer
    )
    if wrong:
        hint = "nothing is remembered any more: run this again"
        try:
            memo.store.drop(None)
        except ToolError as error:
            hint = f"it could not be removed: {error.message}, {error.where}; do so"
        raise MemoError(
            "what was remembered of the flake is wrong",
            where=", ".join(wrong[:_SHOWN]) + (" …" if len(wrong) > _SHOWN else ""),
            why="evaluating this gave something else, though nothing that it reads has changed",
            hint=f"{hint}; and please report it, with what this reads",
        )
    records = view.records(found.evaluated)
    trouble = view.save(records)
    if trouble:
        on_warning(trouble)
    return Inspection(
        inventory=found.inventory,
        records=records,
        recalled=frozenset(key[0] for key, record in view.recalled.items() if record.result.output is not None),
        compared=len(compared) if verify else None,
        not_recorded=found.not_recorded,
    )


def refine(source: FlakeSource, memo: Memo) -> str | None:
    """Add to what is remembered of a tree what evaluations at others have shown since; why not, if it cannot be kept.

    Raises:
        ToolError: the source tree cannot be read.
    """
    view = View(memo.store, memo.world, Tree.scan(source, memo.ignored))
    return view.save(view.refined())
