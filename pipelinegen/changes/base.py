"""Which commit to compare with: a decision table, one row per situation.

The first row whose situation is given answers: its questions are asked in order until one finds a commit.
Where none does, everything counts as changed. Two commits are always compared tree by tree, so a base that
lies further back than it need costs time and is never wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelinegen.changes import questions as ask
from pipelinegen.changes.fetch import Fetcher
from pipelinegen.changes.model import Base
from pipelinegen.changes.questions import Asked, Found, LastPassed, Question
from pipelinegen.changes.read import Repository, without_credentials
from pipelinegen.ci_env import CiEnv


@dataclass(frozen=True)
class Row:
    """One situation: how it is detected, what is asked in which order, and why, if nothing is asked."""

    name: str
    applies: Callable[[Asked], bool]
    questions: tuple[Question, ...] = ()
    otherwise: str = ""


def find_base(repo: Repository, env: CiEnv, *, explicit: str | None = None, api: LastPassed | None = None) -> Base:
    """The commit to compare with, by the first row of `ROWS` that applies.

    In CI, what the clone lacks is fetched; on a developer's machine nothing is.

    Args:
        explicit: the commit that the user named; `PIPELINEGEN_BASE` counts as named, too.
        api: GitLab's API, where there is a token for it.

    Raises:
        GitError: the commit that the user named does not exist.
    """
    asked = Asked(
        repo=repo,
        fetcher=Fetcher(repo, enabled=env.in_ci),
        env=env,
        head=repo.resolve("HEAD") or "",
        explicit=explicit or env.base_override,
        api=api,
    )
    row = next(row for row in ROWS if row.applies(asked))
    misses: list[str] = []
    for question in row.questions:
        answer = question(asked)
        if isinstance(answer, Found):
            return Base(
                rev=answer.rev,
                rule=f"{row.name}-{answer.rule}",
                reason=_sentence(answer.sentence, misses, asked.fetcher.troubles if misses else []),
                passed=answer.passed,
                empty=answer.rev is None,
            )
        misses.append(answer)
    reason = _sentence(row.otherwise or "everything counts as changed", misses, asked.fetcher.troubles)
    return Base(rev=None, rule=f"{row.name}-full", reason=reason)


def _sentence(text: str, misses: list[str], troubles: list[str]) -> str:
    because = "; ".join([*misses, *troubles])
    return without_credentials(f"{text} ({because})" if because else text)


# Situations.


def _event(name: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.env.merge_request is not None and asked.env.merge_request.event_type == name


def _default_branch_from(source: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.env.on_default_branch and asked.env.pipeline_source == source


def _forced_default_branch(asked: Asked) -> bool:
    before = asked.env.before_sha
    return (
        _default_branch_from("push")(asked) and before is not None and not asked.fetcher.is_ancestor(before, asked.head)
    )


_MERGED = (ask.target_sha, ask.first_parent, ask.diff_base)

ROWS = (
    Row("named", lambda asked: asked.explicit is not None, (ask.named_commit,)),
    Row("no-commit", lambda asked: not asked.head, (ask.nothing_yet,)),
    Row("local", lambda asked: not asked.env.in_ci, (ask.local_merge_base, ask.head_itself)),
    Row("fork-merge-request", ask.in_fork, (ask.diff_base, ask.target_merge_base)),
    Row("merged-result", _event("merged_result"), _MERGED),
    Row("merge-train", _event("merge_train"), _MERGED),
    Row("merge-request", lambda asked: asked.env.merge_request is not None, (ask.diff_base, ask.target_merge_base)),
    Row(
        "external-pull-request",
        lambda asked: (
            asked.env.external_target_sha is not None or asked.env.pipeline_source == "external_pull_request_event"
        ),
        (ask.external_merge_base,),
    ),
    Row("tag", lambda asked: asked.env.tag is not None, otherwise="a tag builds everything"),
    Row(
        "schedule",
        lambda asked: asked.env.pipeline_source == "schedule",
        otherwise="a scheduled pipeline builds everything: that is what it is for",
    ),
    Row(
        "force-push",
        _forced_default_branch,
        otherwise="what the default branch held before is not in the history of HEAD: a force-push",
    ),
    Row("default-branch", _default_branch_from("push"), (ask.last_passed, ask.before_push, ask.root_commit)),
    # A child pipeline has its parent's variables but not its source: it may have been a schedule.
    Row("child-default-branch", _default_branch_from("parent_pipeline"), (ask.before_push,)),
    Row(
        "requested",
        lambda asked: asked.env.on_default_branch,
        otherwise="a pipeline that was started by hand or by another one builds all of the default branch",
    ),
    Row(
        "branch",
        lambda asked: asked.env.branch is not None,
        (ask.gitlab_merge_base, ask.default_merge_base, ask.before_push),
    ),
    Row("unknown", lambda _: True, otherwise="the CI variables name no branch, tag or merge request"),
)
"""In this order: a merge request before what it shares with a push, the special before the general."""
