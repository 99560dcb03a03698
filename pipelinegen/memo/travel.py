"""How what is remembered reaches pipelines that cannot read the cache of the default branch.

A pipeline of the default branch leaves its snapshot as a file among the artifacts of the job that plans. A pipeline
of an unprotected ref that has no snapshot takes it from there.

Who wrote it: GitLab tells one cache of protected from one of unprotected refs, but not artifacts (whoever can push a
tag that is called like the default branch can leave some under its name). So what was taken that way is good enough
for unprotected refs, which share a cache that all of them can write to, and for no other:

- a pipeline of a protected ref takes nothing;
- what one of an unprotected ref took, and all that it worked out with it, lies in a folder of its own (`place`).
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelinegen.ci_env import CiEnv
from pipelinegen.console import plain
from pipelinegen.gitlab_artifacts import last_artifact
from pipelinegen.gitlab_transport import ApiError
from pipelinegen.inventory.model import FlakeSource
from pipelinegen.memo.inspect import Memo
from pipelinegen.memo.model import Witness
from pipelinegen.memo.place import UNPROTECTED
from pipelinegen.memo.store import export, import_
from pipelinegen.memo.tree import witness_of

ARTIFACT = "memo.json.gz"
"""Name of the file in the folder that `generate` writes."""

MAX_BYTES = 4 * 1024 * 1024
"""Of the file: every job that takes derivations takes the archive, and so this."""


@dataclass(frozen=True)
class Fetched:
    """What came of asking GitLab: one sentence; whether there is a snapshot now; whether something is wrong."""

    sentence: str
    taken: bool = False
    trouble: bool = False


def fetch_memo(env: CiEnv, memo: Memo, output: str = ".pipelinegen") -> Fetched | None:
    """Where nothing is remembered of this world, take the snapshot of the default branch's last pipeline that passed.

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
    whose = f"what the last pipeline of {plain(env.default_branch)} remembered"
    try:
        data = last_artifact(env, env.default_branch, env.job_name, f"{output}/{ARTIFACT}", max_bytes=MAX_BYTES)
    except ApiError as error:
        return Fetched(f"{whose} was not had from GitLab: {error.message}", trouble=True)
    if data is None:
        return Fetched(f"nothing is remembered here, and {whose} is not in GitLab's artifacts, or not for this job")
    return _kept(data, memo, whose)


def _kept(data: bytes, memo: Memo, whose: str) -> Fetched:
    snapshot = import_(data)
    if snapshot is None:
        return Fetched(f"{whose} cannot be read: it is torn, or of another version", trouble=True)
    if snapshot.world != memo.world:
        return Fetched(f"{whose} is of no use here: locked inputs, settings, Nix or pipelinegen differ")
    why_not = memo.store.save(snapshot)
    if why_not is not None:
        return Fetched(f"{whose} is not used: {why_not}", trouble=True)
    return Fetched(f"took {whose}: {len(snapshot.records)} attributes", taken=True)


def memo_to_leave(env: CiEnv, memo: Memo | None, source: FlakeSource) -> tuple[bytes | None, str | None]:
    """What a pipeline of the default branch leaves for others as `ARTIFACT`: the snapshot of its tree.

    Where none was made of that, as when nothing had to be evaluated, it is the newest one.

    Args:
        memo: as it is after the inspection; null where nothing is remembered.

    Returns the file and null, or null and why there is none where there should be one.
    """
    if memo is None or not (env.gitlab and env.on_default_branch):
        return None, None
    snapshot = next(memo.store.snapshots(memo.world, witness_of(source)), None)
    if snapshot is None:
        return None, None
    try:
        data = export(snapshot)
    except ValueError as error:
        return None, f"what is remembered was not left for other branches: {error}"
    if len(data) > MAX_BYTES:
        size = f"it takes {len(data)} bytes, more than {MAX_BYTES}"
        return None, f"what is remembered was not left for other branches: {size}"
    return data, None
