"""The change as values: which base and why, which files, which outputs."""

from __future__ import annotations

import enum

from pydantic import Field

from pipelinegen.values import Value


class Base(Value):
    """The commit to compare with.

    Attributes:
        rev: full commit id; null means unknown or none: everything counts as changed.
        rule: name of the row of the decision table that answered, such as `merge-request-diff-base`.
        reason: one sentence for people.
        passed: whether the pipeline of this commit is known to have passed; null means not known.
        empty: there is nothing before head (a root commit, an unrelated history): compare with an empty
            tree. `rev` is null then, and every file and output counts as new.
    """

    rev: str | None
    rule: str
    reason: str
    passed: bool | None = None
    empty: bool = False


class Head(Value):
    """What is looked at: the commit (null before the first), and whether files differ from it."""

    rev: str | None
    dirty: bool = False


class Status(enum.StrEnum):
    """How an output compares with the base."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNKNOWN = "unknown"


class ChangeSet(Value):
    """What differs between base and head.

    Attributes:
        files: changed paths relative to the repository's top, sorted; null when the base is unknown.
        status: attribute path → status, for every output of head.
        removed: attribute paths that only the base has, sorted.
        evaluation_skipped: why nothing was evaluated (only irrelevant paths changed since a base that
            is known to have passed); null in the usual case.
    """

    base: Base
    head: Head
    files: tuple[str, ...] | None = None
    status: dict[str, Status] = Field(default_factory=dict)
    removed: tuple[str, ...] = ()
    evaluation_skipped: str | None = None
