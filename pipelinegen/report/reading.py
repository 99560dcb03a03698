"""What evaluating each output reads, and why it was evaluated or not: for `preview`, `explain`, `memo show`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pipelinegen.characters import inert
from pipelinegen.values import Value

FORMAT_VERSION = "1.0"

Style = Callable[[str, str], str]
"""(text, style name) → text, coloured where wanted."""

LISTED = 20
"""So many outputs, or groups of them, `preview` lists by itself; more only where everything is asked for."""

NAMED = 3
"""So many outputs of a group are named; of more only the first ones."""

VOLATILE = frozenset(
    {
        *("dirtyRev", "dirtyShortRev", "lastModified", "lastModifiedDate", "narHash"),
        *("rev", "revCount", "shortRev"),
    }
)
"""Attributes of `self` that every commit changes, or nearly every one."""


class Reading(Value):
    """How one output's derivation came to be known, and what evaluating it reads of the flake's own source.

    Attributes:
        attr: the attribute path as Nix prints it.
        known: its derivation comes from an earlier evaluation.
        recorded: what it reads is known; nothing is said of it where it is not.
        reads: how many files it reads, or may read.
        files: these files, where they are to be listed; sorted paths below the top of the source tree.
        folders: the folders whose entries it lists; "" is the top.
        metadata: attributes of `self` that it uses besides `outPath`, such as `rev`.
        changed: those of the files and folders that differ from the base; null where no base is known.
        always: why it is evaluated at every commit, each reason a phrase; empty for most.
        trees: at how many source trees it is known to be the same. After the first, one more is evaluated, since
            what depends on the tree's own store path looks like everything else until then.
        why: why it was evaluated now, a phrase; null where it is known.
    """

    attr: str
    known: bool
    recorded: bool = True
    reads: int = 0
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    changed: tuple[str, ...] | None = None
    always: tuple[str, ...] = ()
    trees: int = 0
    why: str | None = None


def reasons_for_always(
    metadata: Iterable[str], *, coupled: bool = False, builds: bool = False, unrecorded: str | None = None
) -> tuple[str, ...]:
    """Why an output is evaluated at every commit, each reason a phrase; none for most.

    Args:
        metadata: attributes of `self` that it uses besides its path.
        coupled: it was seen to change though nothing that it reads had.
        builds: evaluating it needs import from derivation.
        unrecorded: why nothing is known of what it reads.
    """
    reasons = [unrecorded] if unrecorded else []
    if builds:
        reasons.append("evaluating it builds something (import from derivation), which hides what it reads")
    if coupled:
        reasons.append("it depends on the source tree's own store path, as with `${self}` in a string")
    names = [f"self.{name}" for name in sorted(VOLATILE.intersection(metadata))]
    if names:
        reasons.append(f"it may read {_and(names)}, which every commit changes")
    return tuple(reasons)


def reason_for_evaluating(reading: Reading, *, paths_changed: bool = False) -> str:
    """Why an output that is not known had to be evaluated: one phrase.

    Args:
        reading: with everything but `why`.
        paths_changed: files were added, deleted or renamed since the base.
    """
    if reading.always:
        return reading.always[0]
    if reading.changed:
        return _changed(reading.changed)
    if paths_changed:
        return "files were added, deleted or renamed, and nobody sees which of them evaluation asks for"
    if reading.trees > 1:
        return "it had been seen at one tree only, so it might depend on the tree itself"
    return "nothing that holds here is remembered"


def _changed(paths: Sequence[str]) -> str:
    first, others = inert(shown(paths[0])), len(paths) - 1
    return f"{first} and {others} more that it reads changed" if others else f"{first} changed"


def shown(path: str) -> str:
    """A path as people know it."""
    return path or "the top folder"


def known_sentence(reading: Reading) -> str:
    """Why the derivation of `reading` is known."""
    if not reading.changed:
        return f"derivation known: {_unchanged(reading.reads)}"
    return (
        f"derivation known: {_what(reading.reads)} {_be(reading.reads)} as in an earlier evaluation "
        f"({_changed(reading.changed)} since the base)"
    )


def _unchanged(files: int) -> str:
    if files == 0:
        return "it reads no file"
    return "the only file it reads has not changed" if files == 1 else f"none of the {files} files it reads changed"


def _what(files: int) -> str:
    return "the only file it reads" if files == 1 else f"all {files} files it reads"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def summary(readings: Sequence[Reading], failures: int = 0) -> str:
    """`20 of 21 derivations known, 1 evaluated`, and why where one reason counts for all.

    Args:
        readings: of all outputs.
        failures: how many outputs there are besides, which did not evaluate.
    """
    known = sum(reading.known for reading in readings)
    evaluated = len(readings) + failures - known
    text = f"{known} of {count(len(readings) + failures, 'derivation')} known"
    if not evaluated:
        return f"{text}: nothing that they read has changed" if readings else text
    reasons = {reading.why or "" for reading in readings if not reading.known} | ({""} if failures else set())
    same = "".join(reasons) if evaluated > 1 and len(reasons) == 1 else ""
    return f"{text}, {evaluated} evaluated{': ' if same else ''}{inert(same)}"


def preview_lines(readings: Sequence[Reading], style: Style, *, everything: bool = False) -> list[str]:
    """The section of `preview` about evaluation, without its summary; empty where the summary says it all.

    Args:
        readings: of all outputs.
        style: colours a text.
        everything: one line for each output, however many there are.
    """
    if not everything and _of_one_kind(readings):
        return []
    if everything:
        lines = [_line(reading.known, reading.attr, _sentence(reading), style) for reading in readings]
    else:
        lines = [*_evaluated(readings, style), *_known(readings, style)]
    return [style("evaluation", "bold"), *lines] if lines else []


def _of_one_kind(readings: Sequence[Reading]) -> bool:
    return len({(reading.known, reading.why) for reading in readings}) <= 1


def _sentence(reading: Reading) -> str:
    return known_sentence(reading) if reading.known else f"evaluated: {reading.why}"


def _line(known: bool, attrs: str, sentence: str, style: Style) -> str:
    mark = style("=", "dim") if known else style("*", "yellow")
    return f"  {mark} {inert(attrs)}  {style(inert(sentence), 'dim')}"


def _evaluated(readings: Sequence[Reading], style: Style) -> Iterator[str]:
    """One line for each reason, that of most outputs first."""
    groups: dict[str, list[str]] = {}
    for reading in readings:
        if not reading.known:
            groups.setdefault(_sentence(reading), []).append(reading.attr)
    order = sorted(groups, key=lambda sentence: (-len(groups[sentence]), groups[sentence]))
    for sentence in order[:LISTED]:
        yield _line(False, _names(groups[sentence]), sentence, style)
    left = sum(len(groups[sentence]) for sentence in order[LISTED:])
    if left:
        yield _line(False, f"{left} more", "evaluated for other reasons: --all lists each", style)


def _known(readings: Sequence[Reading], style: Style) -> Iterator[str]:
    """One line for each where there are few outputs, else one for all."""
    known = [reading for reading in readings if reading.known]
    if len(readings) <= LISTED:
        yield from (_line(True, reading.attr, _sentence(reading), style) for reading in known)
    elif known:
        yield _line(True, count(len(known), "output"), "derivation known: nothing that they read changed", style)


def _names(attrs: Sequence[str]) -> str:
    if len(attrs) <= NAMED:
        return ", ".join(attrs)
    return f"{', '.join(attrs[: NAMED - 1])} and {len(attrs) - NAMED + 1} more"


def explain_lines(reading: Reading, style: Style) -> Iterator[str]:
    """What `explain` says of one output's evaluation, indented as its other lines."""
    if reading.known:
        yield f"  {'known':<10}  {inert(known_sentence(reading).removeprefix('derivation known: '))}"
    else:
        yield f"  {'evaluated':<10}  {inert(reading.why or '')}"
    for reason in reading.always:
        if reason != reading.why:
            yield f"  {'coupled':<10}  {inert(reason)}"
    changed = frozenset(reading.changed or ())
    for label, paths in (("reads", reading.files), ("lists", reading.folders)):
        for number, path in enumerate(paths):
            mark = style(" (changed since the base)", "yellow") if path in changed else ""
            yield f"  {label if number == 0 else '':<10}  {inert(shown(path))}{mark}"
    if reading.metadata:
        yield f"  {'uses':<10}  {', '.join(f'self.{inert(name)}' for name in reading.metadata)}"


def show_text(readings: Sequence[Reading], failures: Sequence[str], style: Style) -> str:
    """The text of `memo show`: each output, then what every commit evaluates, and why."""
    lines: list[str] = []
    for reading in readings:
        mark, colour = _MARKS[_state(reading)]
        lines.append(f"{style(mark, colour)} {inert(reading.attr)}  {style(_reads(reading), 'dim')}")
    always = {reading.attr: reading.always for reading in readings if reading.always}
    always |= dict.fromkeys(failures, ("it does not evaluate",))
    if always:
        lines += ["", style("evaluated at every commit", "bold")]
        for attr, reasons in always.items():
            lines.append(f"  {inert(attr)}")
            lines += [f"    because {inert(reason)}" for reason in reasons]
    once = sum(_state(reading) == "once" for reading in readings)
    lines += ["", f"{summary(readings, len(failures))}; {len(always)} evaluated at every commit"]
    if once:
        lines.append(
            f"{count(once, 'output')} {'was' if once == 1 else 'were'} seen at one tree only (marked ?): "
            f"the next one evaluates {'it' if once == 1 else 'them'} once more"
        )
    return "\n".join(lines).lstrip("\n") + "\n"


_MARKS = {"known": ("=", "green"), "once": ("?", "yellow"), "always": ("!", "red")}


def _state(reading: Reading) -> str:
    return "always" if reading.always else "known" if reading.trees > 1 else "once"


def _reads(reading: Reading) -> str:
    if not reading.recorded:
        return "what it reads is not known"
    parts = [count(reading.reads, "file")]
    if reading.folders:
        parts.append(f"the names in {count(len(reading.folders), 'folder')}")
    parts += [f"self.{inert(name)}" for name in reading.metadata]
    return f"reads {_and(parts)}"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def count(number: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Shown(Value):
    """The record of `memo show --json`.

    Attributes:
        outputs: all that evaluate, by path.
        failures: attribute paths of those that do not; they are evaluated at every commit.
    """

    format_version: str = FORMAT_VERSION
    outputs: tuple[Reading, ...]
    failures: tuple[str, ...] = ()
