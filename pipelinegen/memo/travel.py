"""How what is remembered reaches pipelines that cannot read the cache of the default branch.

A pipeline of the default branch leaves its last snapshots as a file among the artifacts of the job that plans. A
pipeline of an unprotected ref that has no snapshot takes them from there.

Who wrote it: GitLab tells one cache of protected from one of unprotected refs, but not artifacts (whoever can push a
tag that is called like the default branch can leave some under its name). So what was taken that way is good enough
for unprotected refs, which share a cache that all of them can write to, and for no other:

- a pipeline of a protected ref takes nothing;
- what one of an unprotected ref took, and all that it worked out with it, lies in a folder of its own (`place`).
"""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from pipelinegen.ci_env import CiEnv
from pipelinegen.console import plain
from pipelinegen.gitlab_transport import ApiError
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.memo.inspect import Memo
from pipelinegen.memo.model import Snapshot, Witness
from pipelinegen.memo.place import UNPROTECTED
from pipelinegen.memo.store import export, import_
from pipelinegen.memo.tree import witness_of

ARTIFACT = "memo.tar"
"""Name of the file in the folder that `generate` writes. What is in it is compressed already."""

SNAPSHOTS = 4
"""That travel at most. One is not enough: that of head has seen its tree alone, where that of the base, evaluated
after it, knows what is the same in both.
"""

MAX_BYTES = 4 * 1024 * 1024
"""Of the file: every job that takes derivations takes the archive, and so this."""


@dataclass(frozen=True)
class Fetched:
    """What came of asking GitLab: one sentence; whether there are snapshots now; whether something is wrong."""

    sentence: str
    taken: bool = False
    trouble: bool = False


def fetch_memo(env: CiEnv, memo: Memo, output: str = ".pipelinegen") -> Fetched | None:
    """Where nothing is remembered of this world, take the snapshots of the default branch's last pipeline that passed.

    Only in a GitLab job of an unprotected ref whose caches are in a part of their own, and only from the same project:
    in a pipeline that runs in a fork that is the fork. What goes wrong costs time only: nothing is raised.

    Args:
        memo: in `place.cache_folder`.
        output: folder that `generate` writes, relative to the top of the repository.

    Returns null where there was nothing to ask for.
    """
    if not env.gitlab or env.ref_protected or env.default_branch is None or env.job_name is None:
        return None
    own = memo.store.folder.parent.name == UNPROTECTED
    if not own or next(memo.store.snapshots(memo.world, Witness(tree="", metadata=())), None) is not None:
        return None
    from pipelinegen.gitlab_artifacts import last_artifact  # noqa: PLC0415  # slow to import, and rarely needed

    whose = f"what the last pipeline of {plain(env.default_branch)} remembered"
    try:
        data = last_artifact(env, env.default_branch, env.job_name, f"{output}/{ARTIFACT}", max_bytes=MAX_BYTES)
    except ApiError as error:
        return Fetched(f"{whose} was not had from GitLab: {error.message}", trouble=True)
    if data is None:
        return Fetched(f"nothing is remembered here, and {whose} is not in GitLab's artifacts, or not for this job")
    return _kept(data, memo, whose)


def _kept(data: bytes, memo: Memo, whose: str) -> Fetched:
    snapshots = _unpacked(data)
    if snapshots is None:
        return Fetched(f"{whose} cannot be read: it is torn, or of another version", trouble=True)
    if any(snapshot.world != memo.world for snapshot in snapshots):
        return Fetched(f"{whose} is of no use here: locked inputs, settings, Nix or pipelinegen differ")
    for snapshot in reversed(snapshots):  # the first one is to be the newest again
        why_not = memo.store.save(snapshot)
        if why_not is not None:
            return Fetched(f"{whose} is not used: {why_not}", trouble=True)
    return Fetched(f"took {whose}: {len(snapshots[0].records)} attributes", taken=True)


def _unpacked(data: bytes) -> list[Snapshot] | None:
    """What `_packed` put together; null where anything in it is wrong, or nothing is in it."""
    found: list[Snapshot | None] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in islice(archive, SNAPSHOTS):
                # A sparse file may be said to be of any size.
                file = archive.extractfile(member) if member.isreg() and member.size <= len(data) else None
                found.append(import_(file.read()) if file is not None else None)
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, RecursionError):
        return None
    snapshots = [snapshot for snapshot in found if snapshot is not None]
    return snapshots if snapshots and len(snapshots) == len(found) else None


def _packed(parts: Iterable[bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for number, part in enumerate(parts, 1):
            member = tarfile.TarInfo(f"{number}.memo.json.gz")
            member.size = len(part)
            archive.addfile(member, io.BytesIO(part))
    return stream.getvalue()


def memo_to_leave(env: CiEnv, memo: Memo | None, source: FlakeSource) -> tuple[bytes | None, str | None]:
    """What a pipeline of the default branch leaves for others as `ARTIFACT`: the snapshot of its tree, and the newest.

    Args:
        memo: as it is after the inspections; null where nothing is remembered.

    Returns the file and null, or null and why there is none where there should be one.
    """
    if memo is None or not (env.gitlab and env.on_default_branch):
        return None, None
    parts: list[bytes] = []
    for snapshot in islice(memo.store.snapshots(memo.world, witness_of(source)), SNAPSHOTS):
        with contextlib.suppress(ValueError):  # torn since it was looked at
            parts.append(export(snapshot))
    while parts:
        data = _packed(parts)
        if len(data) <= MAX_BYTES:
            return data, None
        if len(parts) == 1:
            size = f"it takes {len(data)} bytes, more than {MAX_BYTES}"
            return None, f"what is remembered was not left for other branches: {size}"
        parts.pop()
    return None, None
