"""Plays a story: inspects one state after another with a memo, and compares with full evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pipelinegen import nix
from pipelinegen.changes.ignore import irrelevant
from pipelinegen.config import Config, Evaluation
from pipelinegen.errors import MemoError
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.memo.inspect import inspect, open_memo
from tests.integration.memo.edits import LIBRARIES, NOTHING, Favoured, story
from tests.integration.memo.flakes import IGNORED
from tests.integration.memo.reference import Answer, answer, differences, references
from tests.integration.memo.states import File, State, Stored, flake_source, store


@dataclass
class Played:
    """How it went.

    Attributes:
        wrong: answers that are not those of a full evaluation.
        outputs: answers in all, failures included.
        known: answers that came from the memo.
        failures: outputs that fail.
        warnings: what was said.
    """

    wrong: list[str] = field(default_factory=list)
    outputs: int = 0
    known: int = 0
    failures: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """A story whose trees are in the store.

    Attributes:
        edits: what led to each state.
        states, sources: of each.
        answers: of full evaluations.
    """

    edits: list[str]
    states: list[State]
    sources: list[FlakeSource]
    answers: list[Answer]


def set_stage(seed: int, edits: int, scratch: Path, config: Config, favoured: Favoured = NOTHING) -> Stage:
    """Everything but the memo: a story, its trees in the store, and the right answers."""
    version = nix.version()
    new = not version.startswith("2.8.")
    told = story(seed, edits, relative_inputs=new, dirty_names=new, favoured=favoured)
    states = [project.state() for _, project in told]
    libraries = [State({"value.nix": File(f'"library {number}"')}) for number in range(LIBRARIES)]
    stored = store([*libraries, *states], scratch / "trees")
    kept: list[Stored] = stored[:LIBRARIES]
    sources = [flake_source(state, tree, kept, version) for state, tree in zip(states, stored[LIBRARIES:], strict=True)]
    return Stage([name for name, _ in told], states, sources, references(sources, kept, config, scratch / "whole"))


def play(
    seed: int, edits: int, scratch: Path, *, favoured: Favoured = NOTHING, stop_when_wrong: bool = False
) -> Played:
    """A story with one memo, from nothing."""
    random = Random(f"play {seed}")  # noqa: S311  # reproducible
    workers = random.choice((1, 1, 1, 1, 2, 3))
    config = Config(evaluation=Evaluation(workers=workers), ignore_paths=IGNORED)
    stage = set_stage(seed, edits, scratch, config, favoured)
    played = Played()
    for number in range(len(stage.sources)):
        _show(stage, number, played, scratch, config, verify=random.random() < 0.02)
        # Now and then what was before is asked for again, as the base of a push is.
        if random.random() < 0.15:
            _show(stage, random.randrange(number + 1), played, scratch, config, verify=False)
        if played.wrong and stop_when_wrong:
            break
    return played


def _show(stage: Stage, number: int, played: Played, scratch: Path, config: Config, *, verify: bool) -> None:
    source = stage.sources[number]
    memo = open_memo(scratch / "cache", source, config, ignored=lambda path: irrelevant([path], config.ignore_paths))
    where = f"state {number} ({stage.edits[number]})"
    try:
        inspection = inspect(source, config, memo, on_warning=played.warnings.append, verify=verify)
    except MemoError as error:
        played.wrong.append(f"{where}: {error.message}: {error.where}")
        return
    played.wrong += [f"{where}: {line}" for line in differences(answer(inspection.inventory), stage.answers[number])]
    if verify:
        return
    played.outputs += inspection.counts.outputs
    played.known += inspection.counts.known
    played.failures += len(inspection.inventory.failures)
