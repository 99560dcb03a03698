"""Whether one commit is a later one than another, also where a runner's clone has but one of them."""

from __future__ import annotations

from pathlib import Path

from pipelinegen.changes.fetch import Fetcher
from pipelinegen.changes.read import Repository, is_commit_id
from pipelinegen.errors import GitError, ToolError, TransientError


class Newer:
    """Answers whether a commit is a descendant of ours.

    Args:
        directory: a folder of the repository.
        ours: full commit id; null when it is not known.
        fetch: whether what the clone lacks may be asked of the server.
    """

    def __init__(self, directory: Path, ours: str | None, *, fetch: bool) -> None:
        self._directory = directory
        self._ours = ours
        self._fetch = fetch

    def __call__(self, theirs: str) -> bool | None:
        """Whether `theirs` (foreign text) is a descendant of ours; null when that cannot be found out."""
        if self._ours is None or not is_commit_id(theirs):
            return None
        if theirs == self._ours:
            return False
        try:
            repo = Repository.open(self._directory)
            return _descends(repo, Fetcher(repo, enabled=self._fetch), theirs, self._ours)
        except (GitError, ToolError, TransientError):
            return None


def _descends(repo: Repository, fetcher: Fetcher, theirs: str, ours: str) -> bool | None:
    if not (fetcher.obtain(ours) and fetcher.obtain(theirs)):
        return None
    base = fetcher.merge_base(ours, theirs)
    if base == ours:
        return True
    # A history that is cut off somewhere may hide the way from one to the other.
    return False if base == theirs or not repo.is_shallow() else None
