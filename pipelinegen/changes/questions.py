"""The questions that the rows of the decision table ask, each about one commit to compare with.

A question answers with what it found, or with half a sentence that says why it found nothing. GitLab's
variables: https://docs.gitlab.com/ci/variables/predefined_variables/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipelinegen.changes.fetch import ORIGIN, Fetcher, Source, url_source
from pipelinegen.changes.read import Repository, is_commit_id, without_credentials
from pipelinegen.ci_env import CiEnv, MergeRequest
from pipelinegen.errors import CredentialsError, GitError, ToolError, TransientError


class LastPassed(Protocol):
    """What GitLab's API knows and its variables do not."""

    def last_passed(self, branch: str) -> str | None:
        """Commit id of the newest pipeline of `branch` that passed; null when GitLab names none.

        Raises:
            CredentialsError, TransientError, ToolError: GitLab was not to be asked.
        """
        ...


@dataclass(frozen=True)
class Asked:
    """All that a row may look at."""

    repo: Repository
    fetcher: Fetcher
    env: CiEnv
    head: str
    """The checked-out commit; "" before the first."""
    explicit: str | None
    api: LastPassed | None


@dataclass(frozen=True)
class Found:
    """A question's answer: `rule` completes the row's name, `sentence` the reason."""

    rule: str
    rev: str | None
    sentence: str
    passed: bool | None = None


Question = Callable[[Asked], Found | str]
"""The answer, or why there is none (half a sentence)."""


def named_commit(asked: Asked) -> Found:
    """The commit that the user named: by id, branch, tag, or any other way that git knows.

    Raises:
        GitError: it does not exist. A wish that cannot be fulfilled is not replaced by a guess.
    """
    name = asked.explicit or ""
    commit: str | None
    if is_commit_id(name):
        commit = name if asked.fetcher.obtain(name) else None
    else:
        # A runner's work tree is used again and again: what the server says now comes first.
        commit = (
            asked.fetcher.tip(f"refs/heads/{name}")
            or asked.fetcher.tip(f"refs/tags/{name}")
            or asked.repo.resolve(name)
            or asked.repo.resolve(f"refs/remotes/origin/{name}")
        )
    if commit is None:
        raise GitError(
            f"there is no commit {without_credentials(name)!r} to compare with",
            where=str(asked.repo.top),
            why="; ".join(asked.fetcher.troubles) or None,
            hint="name a commit, branch or tag of this repository with --base or PIPELINEGEN_BASE",
        )
    return Found("commit", commit, f"{name!r} was named as the commit to compare with")


def nothing_yet(_: Asked) -> Found:
    """Before the first commit."""
    return Found("yet", None, "the repository has no commit yet, so everything is new")


def target_sha(asked: Asked) -> Found | str:
    """The state of the target branch that GitLab merged the request into."""
    return _variable(
        asked,
        _request(asked).target_branch_sha,
        "CI_MERGE_REQUEST_TARGET_BRANCH_SHA",
        Found("target-sha", "", "GitLab merged the request into this state of its target branch"),
    )


def first_parent(asked: Asked) -> Found | str:
    """The same, as the commit object says it; a clone of depth 1 has that object."""
    parents = asked.repo.parents(asked.head)
    source = _request(asked).source_branch_sha
    # With fast-forward merges GitLab rebases instead: the only parent is then the request's own commit.
    if len(parents) < 2 or (source is not None and source not in parents[1:]):
        return "HEAD is no merge of the request into its target"
    if not asked.fetcher.obtain(parents[0]):
        return "the first parent of HEAD cannot be fetched"
    return Found("first-parent", parents[0], "it is the first parent of the merge that GitLab made")


def diff_base(asked: Asked) -> Found | str:
    """Where the request left its target branch. For a merged result this is further back than need be."""
    return _variable(
        asked,
        _request(asked).diff_base_sha,
        "CI_MERGE_REQUEST_DIFF_BASE_SHA",
        Found("diff-base", "", "the merge request left its target branch there"),
    )


def target_merge_base(asked: Asked) -> Found | str:
    """Where HEAD left the target branch of the merge request, as fetched from the target's project."""
    request = _request(asked)
    if request.target_branch is None:
        return "GitLab does not name the target branch"
    if not in_fork(asked):
        return _merge_base_with(asked, request.target_branch, ORIGIN)
    # origin is the fork here, and the fork's branch of that name is not the target.
    source = url_source(request.project_url or "", like=asked.env.project_url)
    if source is None:
        return "GitLab gives no usable address of the target project"
    return _merge_base_with(asked, request.target_branch, source)


def external_merge_base(asked: Asked) -> Found | str:
    """Where a pull request of another forge left its target."""
    target = asked.env.external_target_sha
    if target is None:
        return "GitLab does not give CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA"
    if not asked.fetcher.obtain(target):
        return "the target of the pull request cannot be fetched"
    return _common(asked, asked.fetcher.merge_base(asked.head, target), "the target of the pull request")


def last_passed(asked: Asked) -> Found | str:
    """The last commit of the branch whose pipeline passed, so that nothing a failed one left behind is lost."""
    branch = asked.env.branch or ""
    if asked.api is None:
        return "the last pipeline that passed is not known without an API token"
    try:
        commit = asked.api.last_passed(branch)
    except (CredentialsError, TransientError, ToolError) as error:
        return f"GitLab could not be asked for the last pipeline that passed: {error.message}"
    if commit is None:
        return f"GitLab knows no pipeline of {branch!r} that passed"
    if not asked.fetcher.is_ancestor(commit, asked.head):
        return f"the last commit that passed, {commit[:12]}, is not in the history of HEAD"
    return Found("last-passed", commit, f"it is the last commit of {branch!r} whose pipeline passed", passed=True)


def before_push(asked: Asked) -> Found | str:
    """What the branch was before this push; what an earlier, failed pipeline left behind is lost."""
    before = asked.env.before_sha
    if before is None:
        return "CI_COMMIT_BEFORE_SHA names no commit"
    if not asked.fetcher.is_ancestor(before, asked.head):
        return f"CI_COMMIT_BEFORE_SHA, {before[:12]}, is not in the history of HEAD (a force-push?)"
    return Found("before-push", before, "the branch was at it before this push")


def root_commit(asked: Asked) -> Found | str:
    """Nothing, when HEAD is the first commit of its history."""
    if asked.repo.parents(asked.head):
        return "HEAD has commits before it"
    return Found("root-commit", None, "HEAD is the first commit, so everything is new")


def gitlab_merge_base(asked: Asked) -> Found | str:
    """Where the branch left the default branch, as GitLab 19.1 and newer say."""
    return _variable(
        asked,
        asked.env.default_branch_base_sha,
        "CI_COMMIT_DEFAULT_BRANCH_BASE_SHA",
        Found("default-branch-base", "", "the branch left the default branch there, as GitLab says"),
    )


def default_merge_base(asked: Asked) -> Found | str:
    """Where the branch left the default branch, as fetched now."""
    branch = asked.env.default_branch
    if branch is None:
        return "GitLab does not name the default branch"
    return _merge_base_with(asked, branch, ORIGIN)


def local_merge_base(asked: Asked) -> Found | str:
    """Where HEAD left the default branch, the upstream one first, as known here."""
    for name in ("origin/HEAD", "origin/main", "origin/master", "main", "master"):
        place = f"refs/remotes/{name}" if name.startswith("origin/") else f"refs/heads/{name}"
        tip = asked.repo.resolve(place)
        base = asked.repo.merge_base(asked.head, tip) if tip is not None else None
        if base is not None:
            return Found("merge-base", base, f"HEAD left {name} there")
    return "there is no default branch that HEAD shares history with"


def head_itself(asked: Asked) -> Found:
    """HEAD."""
    return Found("head", asked.head, "compared with HEAD itself, only uncommitted files count as changed")


# Parts of questions.


def in_fork(asked: Asked) -> bool:
    """Whether this is the pipeline of a merge request to another project, run in the fork."""
    request = asked.env.merge_request
    return request is not None and request.from_fork and request.project_url != asked.env.project_url


def _request(asked: Asked) -> MergeRequest:
    assert asked.env.merge_request is not None, "rows of merge requests ask this"  # noqa: S101
    return asked.env.merge_request


def _variable(asked: Asked, commit: str | None, variable: str, found: Found) -> Found | str:
    """The commit that a variable of GitLab's names, made available for a diff."""
    if commit is None:
        return f"GitLab does not give {variable}"
    if not asked.fetcher.obtain(commit):
        return f"{variable}, {commit[:12]}, cannot be fetched"
    return Found(found.rule, commit, found.sentence)


def _merge_base_with(asked: Asked, branch: str, source: Source) -> Found | str:
    ref = f"refs/heads/{branch}"
    tip = asked.fetcher.tip(ref, source)
    if tip is None and source == ORIGIN:
        # What an earlier pipeline left in the work tree is old, which is only less exact.
        tip = asked.repo.resolve(f"refs/remotes/origin/{branch}")
    if tip is None:
        return f"the branch {branch!r} cannot be fetched"
    return _common(asked, asked.fetcher.merge_base(asked.head, tip, source=source, ref=ref), f"the branch {branch!r}")


def _common(asked: Asked, base: str | None, other: str) -> Found | str:
    if base is not None:
        return Found("merge-base", base, f"HEAD left {other} there")
    if asked.repo.is_shallow():
        return f"no common history with {other} within what could be fetched"
    return Found("unrelated-history", None, f"HEAD has no history in common with {other}, so everything is new")
