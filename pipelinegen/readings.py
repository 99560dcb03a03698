"""What an inspection knows of each output's evaluation, put into the words of the report.

The memo compares with every tree that it remembers; people want to know what differs from the base. So that is asked
of git here, and only explains: nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelinegen.changes.ignore import irrelevant
from pipelinegen.changes.model import Base, Head
from pipelinegen.changes.read import Repository
from pipelinegen.inventory.model import FlakeOutput
from pipelinegen.memo.inspect import Inspection
from pipelinegen.report.reading import Reading, reason_for_evaluating, reasons_for_always


@dataclass(frozen=True)
class Difference:
    """What differs between base and head.

    Attributes:
        files: changed paths.
        before, now: folder → names in it, of the base and of head; of folders that hold files.
        paths: relevant files were added, deleted or renamed.
    """

    files: frozenset[str] = frozenset()
    before: Mapping[str, frozenset[str]] = field(default_factory=dict)
    now: Mapping[str, frozenset[str]] = field(default_factory=dict)
    paths: bool = False

    def folder(self, path: str) -> bool:
        """Whether other names are in a folder than there were."""
        return self.before.get(path) != self.now.get(path)


def difference(repository: Repository, base: Base | None, head: Head, ignored: Sequence[str] = ()) -> Difference | None:
    """What git says; null where there is no base to compare with.

    Args:
        ignored: `ignore_paths` of the configuration.

    Raises:
        GitError: the base is not here.
    """
    files = repository.changed_files(base, head) if base else None
    if base is None or files is None:
        return None
    before = _files_of(repository, base.rev)
    now = frozenset(repository.tracked_files()) if head.dirty else _files_of(repository, head.rev)
    moved = before ^ now
    return Difference(
        files=frozenset(files),
        before=_folders(before),
        now=_folders(now),
        paths=bool(moved) and not irrelevant(sorted(moved), ignored),
    )


def _files_of(repository: Repository, commit: str | None) -> frozenset[str]:
    if commit is None:
        return frozenset()
    listed = repository.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
    return frozenset(path for path in listed.text.split("\0") if path)


def _folders(paths: Iterable[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {"": set()}
    for path in paths:
        rest = path
        while rest:
            rest, _, name = rest.rpartition("/")
            names = found.setdefault(rest, set())
            if name in names:
                break  # and so are all folders around it
            names.add(name)
    return {folder: frozenset(names) for folder, names in found.items()}


def inspected(inspection: Inspection | None) -> tuple[int, int] | None:
    """Of how many outputs the derivation was known, and how many were evaluated; null where nothing is remembered."""
    if inspection is None or not remembers(inspection):
        return None
    return inspection.counts.known, inspection.counts.evaluated


def remembers(inspection: Inspection) -> bool:
    """Whether there is a memo: else the flake's own attributes would be recorded, or there is a reason why not."""
    return bool(inspection.records) or inspection.not_recorded is not None


def readings(
    inspection: Inspection, since: Difference | None = None, *, details: Container[str] = ()
) -> tuple[Reading, ...]:
    """How each output's derivation came to be known, in the order of the inventory.

    Args:
        since: what differs from the base; null where no base is known.
        details: attribute paths of outputs whose files are listed: there may be thousands for each of thousands.
    """
    return tuple(
        _reading(inspection, output, since, details=output.attr in details) for output in inspection.inventory.outputs
    )


def _reading(inspection: Inspection, output: FlakeOutput, since: Difference | None, *, details: bool) -> Reading:
    record = inspection.reads(output.path)
    known = inspection.known(output.path)
    if record is None:
        unrecorded = inspection.not_recorded or "what it reads could not be recorded"
        always = reasons_for_always((), unrecorded=unrecorded)
        reading = Reading(attr=output.attr, known=known, recorded=False, always=always)
    else:
        reads = record.reads
        files, folders = _shown(reads.files) if details else (), _shown(reads.folders)
        changed = None
        if since is not None:
            changed = (*sorted(since.files.intersection(files or reads.files)), *filter(since.folder, folders))
        reading = Reading(
            attr=output.attr,
            known=known,
            recorded=not record.builds,
            reads=len(reads.files),
            files=files,
            folders=folders,
            metadata=tuple(sorted(reads.metadata)),
            changed=changed,
            always=reasons_for_always(reads.metadata, coupled=record.coupled, builds=record.builds),
            trees=len(record.witnesses),
        )
    if known:
        return reading
    why = reason_for_evaluating(reading, paths_changed=since is not None and since.paths)
    return reading.model_copy(update={"why": why})


def _shown(paths: Iterable[str]) -> tuple[str, ...]:
    """Sorted; bytes that are no UTF-8 become U+FFFD, as git's are."""
    return tuple(sorted({path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for path in paths}))
