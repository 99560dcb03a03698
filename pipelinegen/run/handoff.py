"""The folder through which `generate` hands derivations and work to the jobs.

It holds `work.json` (`plan.model.Work`) and, beside it, the closure of all derivations as one compressed
`nix-store --export`: importing it replaces evaluating the flake in every job. Where the configuration wants it so
(`handoff.derivations = "evaluate"`) there is no export, and jobs evaluate what they build.
"""

from __future__ import annotations

import contextlib
import gzip
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from pipelinegen import files, local_store, nix
from pipelinegen.console import Console, plain
from pipelinegen.errors import CommandError, FlakeError, PipelinegenError, TransientError, UsageError
from pipelinegen.plan.model import FORMAT_VERSION, Attribute, Evaluation, Unit, Work

WORK_FILE = "work.json"
EXPORT_FILE = "derivations.export.gz"

_HOW = (
    "`pipelinegen generate` writes this folder; a job takes it as an artifact, or from PIPELINEGEN_HANDOFF; where the "
    "artifact has expired, run the parent pipeline's `inspect` again, then this job"
)
_EVALUATE = 'with handoff.derivations = "evaluate" jobs need no export'
_IMAGE = "let the jobs use the image that `generate` ran in (gitlab.image, PIPELINEGEN_IMAGE), and plan anew"
_CHUNK = 1 << 20


class _Version(BaseModel):
    """As much of a record as every version has."""

    format_version: str


@dataclass(frozen=True)
class Evaluated:
    """What evaluating one attribute in a job gave.

    Attributes:
        rev: the commit that is checked out; null for a tree with uncommitted changes, or without git.
        nix_version: of the Nix that evaluated.
        drv_path: the derivation; it and all it needs are in the local store now.
    """

    rev: str | None
    nix_version: str
    drv_path: str


Evaluate = Callable[[str, Attribute], Evaluated]
"""Evaluates an attribute of a flake, which is named relative to the top of the repository."""


def write_handoff(folder: Path, work: Work, drv_paths: Sequence[str]) -> Work:
    """Write the folder: first the derivations with all they need, then `work.json`.

    The bytes depend only on `work` and the derivations. Returns the work as written, which names the
    export (null without derivations, and where jobs evaluate).

    Raises:
        ToolError: a file cannot be written, or a derivation is not in the local store.
    """
    wanted = sorted(set(drv_paths)) if work.evaluation is None else []
    work = work.model_copy(update={"derivations": EXPORT_FILE if wanted else None})
    if wanted:
        with (
            files.atomic_writer(folder / EXPORT_FILE) as file,
            # No name and no time in the header: the same derivations give the same bytes.
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
        ):

            def write(data: bytes) -> None:
                packed.write(data)

            local_store.export_store_paths(local_store.requisites(wanted), write)
    files.write_atomic(folder / WORK_FILE, work.model_dump_json(indent=1) + "\n")
    return work


def read_work(folder: Path) -> Work:
    """Read `work.json`.

    Raises:
        UsageError: it is missing, torn, or of another major format version.
    """
    file = folder / WORK_FILE
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UsageError(
            "there is no handoff to take work from", where=str(file), why=error.strerror, hint=_HOW
        ) from error
    try:
        work = Work.model_validate_json(text)
    except ValidationError as error:
        why, hint = _why_unreadable(text)
        raise UsageError("the handoff cannot be read", where=str(file), why=why, hint=hint) from error
    if _major(work.format_version) != _major(FORMAT_VERSION):
        raise UsageError(
            "the handoff cannot be read", where=str(file), why=_other_version(work.format_version), hint=_IMAGE
        )
    return work


def obtain_derivations(
    folder: Path, work: Work, unit: Unit, *, evaluate: Evaluate | None = None, console: Console
) -> None:
    """Make sure that the derivations of a unit (with all they need) are in the local store.

    Args:
        folder, work: the handoff.
        unit: what is to be built.
        evaluate: evaluates the flake, where the handoff has no derivations.
        console: where people read along.

    Raises:
        UsageError: the handoff cannot be used.
        FlakeError: the flake cannot be evaluated here, or gives other derivations than it gave when planning.
        ToolError: Nix cannot import the derivations.
    """
    drv_paths = [one.drv_path for one in unit.builds]
    if work.evaluation is None or evaluate is None:
        if import_derivations(folder, work, drv_paths):
            console.say("imported the derivations of the handoff")
        return
    missing = nix.invalid_paths(drv_paths)
    differences: list[FlakeError] = []
    # Mostly the first target needs all of the unit, and the others need not be evaluated.
    for attr in dict.fromkeys((*unit.targets, *unit.serves)):
        attribute = work.evaluation.attributes.get(attr)
        if not missing or attribute is None:
            continue
        console.say(f"evaluating {plain(attr)}")
        found = evaluate(work.flake, attribute)
        missing = nix.invalid_paths(missing)
        if found.drv_path != attribute.drv_path:
            differences.append(_another(attr, attribute, work.evaluation, found))
    if missing and differences:
        raise differences[0]
    if missing:
        raise UsageError(
            "the targets of this job do not need what it is to build",
            where=unit.job,
            why=f"{missing[0]} was not among the derivations that evaluating them gave",
            hint=_HOW,
        )


def _another(attr: str, planned: Attribute, evaluation: Evaluation, found: Evaluated) -> FlakeError:
    if found.nix_version != evaluation.nix_version:
        reason = f"here Nix is {found.nix_version}, the plan was made with {evaluation.nix_version}"
    elif found.rev != evaluation.rev:
        named = [
            f"commit {rev[:12]}" if rev else "a tree with uncommitted changes" for rev in (found.rev, evaluation.rev)
        ]
        reason = f"here is {named[0]}, the plan was made of {named[1]}"
    elif evaluation.rev is None:
        reason = "the tree has uncommitted changes, perhaps not those that it had when the plan was made"
    else:
        reason = "the flake depends on more than its commit: on the depth of the clone (revCount), or it is impure"
    return FlakeError(
        "evaluating the flake here gives another derivation than it gave when the plan was made",
        where=plain(attr),
        why=f"planned: {planned.drv_path}\nhere: {found.drv_path}\n{reason}",
        hint='with handoff.derivations = "export" jobs take the derivations of the plan',
    )


def import_derivations(folder: Path, work: Work, drv_paths: Sequence[str]) -> bool:
    """Make sure that the derivations (with all they need) are in the local store.

    Returns:
        Whether something had to be imported.

    Raises:
        UsageError: the export is missing, truncated or damaged, or does not hold them.
        TransientError: there is no room for them here.
        ToolError: Nix cannot import it.
    """
    missing = nix.invalid_paths(drv_paths)
    if not missing:
        return False
    if work.derivations is None:
        raise UsageError(
            "the handoff holds no derivations", where=str(folder), why=f"{missing[0]} is needed", hint=_HOW
        )
    file = folder / Path(work.derivations).name
    try:
        local_store.import_store_paths(_unpacked(file))
    except CommandError as error:
        if any("signature" in line for line in error.stderr_tail):
            error.where = str(file)
            error.hint = f"only trusted users of the Nix daemon import; add the job's to trusted-users; {_EVALUATE}"
            raise
        if full := [line for line in error.stderr_tail if "No space left on device" in line]:
            raise TransientError("the derivations cannot be imported", where=str(file), why=plain(full[0])) from error
        raise _damaged(file, plain("\n".join(error.stderr_tail[-3:])) or error.message) from error
    still = nix.invalid_paths(missing)
    if still:
        raise UsageError(
            "the export of the derivations is incomplete",
            where=str(file),
            why=f"{still[0]} is not in it",
            hint=f"{_HOW}; {_EVALUATE}",
        )
    return True


@contextlib.contextmanager
def rooted(drv_paths: Sequence[str]) -> Iterator[Path]:
    """Keep derivations from the garbage collector meanwhile; gives a folder for further roots."""
    with tempfile.TemporaryDirectory(prefix="pipelinegen-roots-") as name:
        folder = Path(name)
        if drv_paths:
            local_store.add_roots(drv_paths, folder / "drv")
        yield folder


def _unpacked(file: Path) -> Iterator[bytes]:
    try:
        with gzip.open(file, "rb") as packed:
            while chunk := packed.read(_CHUNK):
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(file, str(error)) from error
    except OSError as error:
        raise _damaged(file, error.strerror or str(error)) from error


def _damaged(file: Path, why: str) -> PipelinegenError:
    return UsageError(
        "the export of the derivations is missing or damaged", where=str(file), why=why, hint=f"{_HOW}; {_EVALUATE}"
    )


def _why_unreadable(text: bytes) -> tuple[str, str]:
    """Whether it is another format or no (whole) record at all, and what to do."""
    with contextlib.suppress(ValueError):
        version = _Version.model_validate_json(text).format_version
        if version != FORMAT_VERSION:
            return _other_version(version), _IMAGE
    return "it is torn, or no record of work", _HOW


def _major(version: str) -> str:
    return version.partition(".")[0]


def _other_version(version: str) -> str:
    return f"it has format version {version[:20]!r}; this pipelinegen reads {_major(FORMAT_VERSION)}.x"
