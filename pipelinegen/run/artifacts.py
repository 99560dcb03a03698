"""Outputs as job artifacts: each job leaves a binary cache in a folder of its own, and reads those of others.

Such a cache holds the closure of what the job made, but for what the trusted caches hold: what other jobs made
is in it again, so that who reads it needs no other job's. GitLab unpacks the artifacts of all jobs that a job
needs into one working folder, one beside the other.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipelinegen import local_store, remote_store
from pipelinegen.cache.read import CacheReader
from pipelinegen.errors import CommandError, StepFailedError, ToolError
from pipelinegen.job_names import slug

COMPRESSION = "zstd"
"""Quick, and known to Nix since 2.4. GitLab packs the files once more, which finds nothing left to do."""

_BELIEVED = f"URL: nar/none\nCompression: none\nNarHash: sha256:{'0' * 52}\nNarSize: 1\nReferences: \n"
_INFO = "nix-cache-info"
_PARTS = ("nar", "realisations")
"""The folders of a binary cache; the second says which paths outputs are that are named by their content."""
_MIB = 1 << 20


@contextlib.contextmanager
def received(root: Path) -> Iterator[Path | None]:
    """What other jobs left below `root`, as one binary cache (of links); null where there is nothing.

    One, since Nix asks its caches one after the other, and a job may need those of hundreds.
    """
    folders = sorted(folder for folder in root.iterdir() if (folder / _INFO).is_file()) if root.is_dir() else []
    if not folders:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pipelinegen-received-") as name:
        view = Path(name)
        for part in _PARTS:
            (view / part).mkdir()
        for folder in folders:
            parts = (file for part in _PARTS for file in folder.glob(f"{part}/*"))
            for file in (folder / _INFO, *folder.glob("*.narinfo"), *parts):
                with contextlib.suppress(FileExistsError):  # two jobs that needed one path
                    (view / file.relative_to(folder)).symlink_to(file.resolve())
        yield view


def leave(
    paths: Sequence[str],
    root: Path,
    job: str,
    *,
    by_content: Sequence[str] = (),
    reader: CacheReader,
    received: Path | None,
    limit_mb: int,
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
) -> str:
    """Leave the closures of `paths`, but for what the trusted caches hold, in the folder of `job` below `root`.

    Args:
        paths: output paths in the local store; at least one.
        root: as in `received`.
        job: name of this job.
        by_content: those of which others must be told what they are outputs of (`local_store.copyable`).
        reader: asks the trusted caches.
        received: what other jobs left. It is in no cache, or nobody would have built it.
        limit_mb: MiB that GitLab takes as one archive.

    Returns:
        What was left, for people.

    Raises:
        StepFailedError: that cannot be written, or is larger than the limit; then nothing is left.
        ToolError: the local store does not hold a path, or the folder cannot be made.
    """
    folder = root / slug(job)
    closure = local_store.requisites(paths)
    ours = {*paths, *(path for path in closure if received is not None and _narinfo(received, path).exists())}
    held = reader.ask([path for path in closure if path not in ours])
    elsewhere = [path for path in closure if path not in ours and held.where(path) is not None]
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # Versions of Nix do not agree on how a URL says a folder's name with a space or a `%`.
        with tempfile.TemporaryDirectory(prefix="pipelinegen-leave-") as plain, _believed(folder, elsewhere):
            link = Path(plain, "to")
            link.symlink_to(folder.resolve())
            url = f"file://{link}?compression={COMPRESSION}"
            remote_store.copy([*paths, *by_content], to=url, on_line=on_line, on_idle=on_idle)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    except CommandError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StepFailedError(
            "the outputs cannot be left as artifacts", where=str(folder), why="\n".join(error.stderr_tail[-3:])
        ) from error
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ToolError("the outputs cannot be left as artifacts", where=str(folder), why=error.strerror) from error
    if size > limit_mb * _MIB:
        shutil.rmtree(folder, ignore_errors=True)  # the upload would fail, and say less
        raise StepFailedError(
            "the outputs are larger than what GitLab takes as artifacts",
            where=job,
            why=f"{-(-size // _MIB)} MiB, packed, of {len(closure) - len(elsewhere)} paths; "
            f"gitlab.max_artifact_mb is {limit_mb}",
            hint='hand over through a cache (handoff.mode = "cache"), or raise the limit of the server and this one',
        )
    return f"{len(closure) - len(elsewhere)} paths, {_size(size)}, without {len(elsewhere)} that a trusted cache has"


@contextlib.contextmanager
def _believed(folder: Path, paths: Sequence[str]) -> Iterator[None]:
    """Meanwhile the binary cache in `folder` claims to hold `paths`.

    Nix copies whole closures only, and only what the destination does not hold.
    """
    for path in paths:
        # All that Nix wants of such a file; what it says of the content is looked at when it is fetched.
        _narinfo(folder, path).write_text(f"StorePath: {path}\n{_BELIEVED}")
    try:
        yield
    finally:
        for path in paths:
            _narinfo(folder, path).unlink(missing_ok=True)


def _narinfo(folder: Path, path: str) -> Path:
    return folder / f"{path.rpartition('/')[2][:32]}.narinfo"


def _size(size: int) -> str:
    return f"{size / _MIB:.1f} MiB" if size >= _MIB else f"{-(-size // 1024)} KiB"
