"""The folder through which `generate` hands derivations and work to the jobs.

It holds `work.json` (`plan.model.Work`) and, beside it, the closure of all derivations as one compressed
`nix-store --export`: importing it replaces evaluating the flake in every job.
"""

from __future__ import annotations

import contextlib
import gzip
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from pipelinegen import files, local_store, nix
from pipelinegen.console import plain
from pipelinegen.errors import CommandError, PipelinegenError, UsageError
from pipelinegen.plan.model import FORMAT_VERSION, Work

WORK_FILE = "work.json"
EXPORT_FILE = "derivations.export.gz"

_HOW = "`pipelinegen generate` writes this folder; a job takes it as an artifact, or from PIPELINEGEN_HANDOFF"
_CHUNK = 1 << 20


class _Version(BaseModel):
    """As much of a record as every version has."""

    format_version: str


def write_handoff(folder: Path, work: Work, drv_paths: Sequence[str]) -> Work:
    """Write the folder: first the derivations with all they need, then `work.json`.

    The bytes depend only on `work` and the derivations. Returns the work as written, which names the
    export (null without derivations).

    Raises:
        ToolError: a file cannot be written, or a derivation is not in the local store.
    """
    wanted = sorted(set(drv_paths))
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
        raise UsageError("the handoff cannot be read", where=str(file), why=_why_unreadable(text), hint=_HOW) from error
    if _major(work.format_version) != _major(FORMAT_VERSION):
        raise UsageError("the handoff cannot be read", where=str(file), why=_other_version(work.format_version))
    return work


def import_derivations(folder: Path, work: Work, drv_paths: Sequence[str]) -> bool:
    """Make sure that the derivations (with all they need) are in the local store.

    Returns:
        Whether something had to be imported.

    Raises:
        UsageError: the export is missing, truncated or damaged, or does not hold them.
        ToolError: Nix cannot import it.
    """
    missing = nix.invalid_paths(drv_paths)
    if not missing:
        return False
    if work.derivations is None:
        raise UsageError("the handoff holds no derivations", where=str(folder), why=f"{missing[0]} is needed")
    file = folder / Path(work.derivations).name
    try:
        local_store.import_store_paths(_unpacked(file))
    except CommandError as error:
        if any("signature" in line for line in error.stderr_tail):
            error.where = str(file)
            error.hint = "only a trusted user of the Nix daemon may import; add the job's user to trusted-users"
            raise
        raise _damaged(file, plain("\n".join(error.stderr_tail[-3:])) or error.message) from error
    still = nix.invalid_paths(missing)
    if still:
        raise UsageError("the export of the derivations is incomplete", where=str(file), why=f"{still[0]} is not in it")
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
    return UsageError("the export of the derivations is missing or damaged", where=str(file), why=why, hint=_HOW)


def _why_unreadable(text: bytes) -> str:
    """Whether it is another format or no (whole) record at all."""
    with contextlib.suppress(ValueError):
        version = _Version.model_validate_json(text).format_version
        if version != FORMAT_VERSION:
            return _other_version(version)
    return "it is torn, or no record of work"


def _major(version: str) -> str:
    return version.partition(".")[0]


def _other_version(version: str) -> str:
    return f"it has format version {version[:20]!r}; this pipelinegen reads {_major(FORMAT_VERSION)}.x"
