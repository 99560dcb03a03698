"""`run push --targets`: choose outputs of a flake by their attributes, and have them here to be pushed.

The same evaluation, the same walk to what must be built and the same building as in pipelines, all in one place
and without a plan: for schedules of one's own, and by hand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import attrpath, nix
from pipelinegen.cache import read as caches
from pipelinegen.cache.model import Availability
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.characters import inert
from pipelinegen.config import Config
from pipelinegen.config_caches import WriterClass
from pipelinegen.console import Console
from pipelinegen.errors import StepFailedError, UsageError
from pipelinegen.inventory.graph import read_derivations
from pipelinegen.inventory.model import EvalFailure, FlakeOutput, Inventory
from pipelinegen.inventory.read import read_inventory, read_source
from pipelinegen.plan import to_build
from pipelinegen.plan.model import Realise, Stage, Unit
from pipelinegen.progress import Progress
from pipelinegen.run.build import make, tell_failures
from pipelinegen.run.exchange import HERE, exchange
from pipelinegen.run.handoff import rooted
from pipelinegen.run.names import hint

_STORE = "the local store"
"""Named among the caches: what is here need not be built either."""


@dataclass(frozen=True)
class Selection:
    """What the patterns mean.

    Attributes:
        outputs: to be pushed.
        left_out: attribute → why it cannot be.
        failures: what did not evaluate and would, or may, be meant.
    """

    outputs: tuple[FlakeOutput, ...]
    left_out: dict[str, str]
    failures: tuple[EvalFailure, ...]


@dataclass(frozen=True)
class Obtained:
    """What is here now.

    Attributes:
        paths: store paths to push.
        failure: some of what was chosen could not be had.
    """

    paths: tuple[str, ...]
    failure: StepFailedError | None = None


def class_for(names: Iterable[str], config: Config) -> PipelineClass:
    """Whom to believe where nobody says: only what goes nowhere but where anybody writes may come from anybody."""
    open_to_all = all(config.caches[name].writers is WriterClass.UNPROTECTED for name in names)
    return PipelineClass.UNPROTECTED if open_to_all else PipelineClass.PROTECTED


def select(inventory: Inventory, patterns: Sequence[str]) -> Selection:
    """The outputs that some pattern names.

    Raises:
        UsageError: a pattern is none, or names nothing; close matches are offered.
    """
    parsed = [(text, attrpath.parse_pattern(text)) for text in dict.fromkeys(patterns)]
    named = {
        text: [output for output in inventory.outputs if attrpath.matches(pattern, output.path)]
        for text, pattern in parsed
    }
    failing = {
        text: [failure for failure in inventory.failures if attrpath.could_contain(pattern, failure.path)]
        for text, pattern in parsed
    }
    known = [output.attr for output in inventory.outputs]
    for text, outputs in named.items():
        if not outputs and not failing[text]:
            raise UsageError(
                f"no output of the flake matches {inert(text)!r}",
                hint=hint(text, known, "the flake has no outputs"),
            )
    matched = {output.path: output for some in named.values() for output in some}
    failures = {failure.path: failure for some in failing.values() for failure in some}
    chosen = [matched[path] for path in sorted(matched)]
    left_out = {output.attr: why for output in chosen if (why := _impossible(output)) is not None}
    return Selection(
        outputs=tuple(output for output in chosen if output.attr not in left_out),
        left_out=left_out,
        failures=tuple(failures[path] for path in sorted(failures)),
    )


def _impossible(output: FlakeOutput) -> str | None:
    if output.unavailable is not None:
        return output.unavailable
    if len(output.wanted_paths) < len(output.wanted):
        return "its store path is not known before it is built (content-addressed derivation)"
    return None


@contextlib.contextmanager
def obtained(
    flake: str,
    patterns: Sequence[str],
    *,
    directory: Path,
    config: Config,
    kind: PipelineClass,
    console: Console,
    outputs: Path = HERE,
) -> Iterator[Obtained]:
    """Have the outputs that match in the local store, and keep them from being collected meanwhile.

    What the local store lacks is fetched by name from the caches that a pipeline of this class trusts, else built.

    Args:
        flake, directory: the flake, and the folder that its reference is relative to.
        patterns: which of its outputs.
        config, kind: the caches, and which of them are trusted.
        console: where people read along.
        outputs: where other jobs leave artifacts, if they do.

    Raises:
        UsageError: a pattern names nothing, or all that it names cannot be pushed.
        FlakeError: the flake cannot be evaluated as a whole.
        StepFailedError: nothing of it could be had.
    """
    source = read_source(flake, cwd=directory, config=config)
    console.say(f"evaluating {source.reference}")
    with Progress(console, "evaluating", "attributes") as progress:
        inventory = read_inventory(source, config, on_progress=progress, on_warning=console.warn)
    chosen = select(inventory, patterns)
    for attr, why in chosen.left_out.items():
        console.warn(f"{inert(attr)} is not pushed: {why}")
    for broken in chosen.failures:
        console.warn(f"{inert(broken.attr)} did not evaluate")
        for line in broken.message.splitlines():
            console.foreign(line, "  | ")
    if not chosen.outputs and not chosen.failures:
        raise UsageError("nothing that matches can be pushed", why="\n".join(chosen.left_out.values()))
    drv_paths = sorted({output.drv_path for output in chosen.outputs})
    with rooted(drv_paths) as roots:
        made = _have(chosen.outputs, roots, config=config, kind=kind, console=console, outputs=outputs)
        failure = _failure(chosen, made)
        if failure is not None and not made:
            raise failure
        yield Obtained(tuple(dict.fromkeys(path for output in made for path in output.wanted_paths)), failure)


def _have(
    wanted: Sequence[FlakeOutput],
    roots: Path,
    *,
    config: Config,
    kind: PipelineClass,
    console: Console,
    outputs: Path,
) -> list[FlakeOutput]:
    """Fetch or build; those that are there in the end."""
    reader = caches.reader(config, kind)

    def ask(paths: Iterable[str]) -> Availability:
        asked = list(dict.fromkeys(paths))
        absent = set(nix.invalid_paths(asked))
        elsewhere = reader.ask(path for path in asked if path in absent)
        here: dict[str, bool | None] = {path: path not in absent for path in asked}
        return Availability(
            caches={_STORE: here, **elsewhere.caches},
            trusted=(_STORE, *elsewhere.trusted),
            trouble=elsewhere.trouble,
        )

    names: dict[str, set[str]] = {}
    for output in wanted:
        names.setdefault(output.drv_path, set()).update(output.wanted)
    found = to_build.find(names, read_derivations, ask)
    for name, trouble in sorted(ask(()).trouble.items()):
        console.warn(f"cache {name} did not answer: {trouble}")
    with exchange(config, kind, outputs=outputs, console=console) as others:
        made = make(_unit(wanted, names, found), others, roots)
    tell_failures(made.items, console)
    paths = [path for output in wanted for path in output.wanted_paths]
    gone = set(nix.invalid_paths(paths))
    return [output for output in wanted if not gone.intersection(output.wanted_paths)]


def _unit(wanted: Sequence[FlakeOutput], names: Mapping[str, set[str]], found: to_build.ToBuild) -> Unit:
    """The work of a job that does all of it: whatever need not be built is fetched by name, and else built after all.

    Args:
        names: derivation → its wanted outputs.
    """
    builds = {**names, **found.builds}
    fetch = {path for output in wanted if output.drv_path not in found.builds for path in output.wanted_paths}
    for drv_path in found.builds:
        for dependency, outputs in found.graph[drv_path].inputs.items():
            if dependency not in found.builds:
                known = found.graph[dependency].outputs
                fetch |= {path for name in outputs if (path := known.get(name))}
    return Unit(
        job="run push --targets",
        stage=Stage.BUILD,
        targets=tuple(output.attr for output in wanted),
        builds=tuple(
            Realise(drv_path=drv_path, outputs=tuple(sorted(used))) for drv_path, used in sorted(builds.items())
        ),
        fetch=tuple(sorted(fetch)),
        timeout=max((output.timeout for output in wanted if output.timeout), default=None),
        max_silent=max((output.max_silent for output in wanted if output.max_silent), default=None),
    )


def _failure(chosen: Selection, made: Sequence[FlakeOutput]) -> StepFailedError | None:
    there = {output.attr for output in made}
    lost = [output.attr for output in chosen.outputs if output.attr not in there]
    lost += [failure.attr for failure in chosen.failures]
    if not lost:
        return None
    total = len(chosen.outputs) + len(chosen.failures)
    return StepFailedError(
        f"{len(lost)} of {total} chosen outputs could neither be fetched nor built",
        why="\n".join(inert(attr) for attr in lost[:10]),
        hint="the others were pushed" if made else None,
    )
