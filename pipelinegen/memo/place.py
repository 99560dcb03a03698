"""Which part of the folder that GitLab caches is read and written by which pipelines."""

from __future__ import annotations

from pathlib import Path

from pipelinegen.ci_env import CiEnv
from pipelinegen.memo.last import FOLDER
from pipelinegen.memo.store import MemoStore

UNPROTECTED = "unprotected"
"""Name of the part that no pipeline of a protected ref looks into."""


def cache_folder(env: CiEnv, folder: Path) -> Path:
    """The part of the folder that caches keep which this pipeline reads and writes.

    What a pipeline of an unprotected ref takes from artifacts (see `travel`) may be anybody's, and GitLab gives jobs of
    maintainers the cache of protected refs whatever branch they run for (`Ci::Build#uses_protected_cache?` in its
    sources). So such a pipeline uses the folder itself only where snapshots are in it: this is then what pipelines of
    protected refs left in their cache, or there is one cache for all refs, and nothing is taken. Otherwise it has a
    part of its own.

    Args:
        folder: that GitLab caches.
    """
    if not env.gitlab or env.ref_protected or MemoStore(folder / FOLDER).describe().snapshots:
        return folder
    return folder / UNPROTECTED
