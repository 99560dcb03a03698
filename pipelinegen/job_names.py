"""Names that GitLab accepts, from any text at all.

Each function is deterministic, and two texts never get one name: a text that had to be altered or
shortened carries a short hash of its original, and so does one that merely looks as if it did.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePath

from pipelinegen.characters import visible

MAX_JOB_NAME = 255
"""Characters of any job's name: https://docs.gitlab.com/ci/jobs/#job-names."""

MAX_NEEDED_NAME = 128
"""Characters of the name of a job that another one needs."""

MAX_GROUP_NAME = 255
"""Characters of an environment's or a resource group's name."""

RESERVED = frozenset(
    {
        *("after_script", "before_script", "cache", "default", "image", "include", "pages", "pages:deploy"),
        *("services", "spec", "stages", "types", "variables", "workflow", "true", "false", "nil"),
    }
)
"""Words that mean something else where a job's name stands, or that parsers may take for no text."""

GROUPED = re.compile(r"(?:[\x08\s:]+(?:\[.*\]|\d+[\s:/\\]+\d+)){1,3}\s*\Z", re.ASCII)
"""The end of a name that GitLab's graph cuts off, to show such jobs as one group (`CommitStatus#group_name`)."""

GROUP_NAME = re.compile(r"[a-zA-Z0-9_${}. -](?:[a-zA-Z0-9_/${}. -]*[a-zA-Z0-9_${}. -])?")
"""An environment or resource group (`Gitlab::Regex.environment_name_regex`)."""

HANDOFF = ".pipelinegen"
"""Folder that `generate` writes, with all that the jobs of the child need, unless told otherwise."""

OUTPUTS = ".pipelinegen-outputs"
"""Folder below which jobs leave outputs for each other, where those travel as artifacts: `pipeline ID/slug of job`."""

_HASH_LENGTH = 10
_HASHED = re.compile(rf"(?:^|[~-])[0-9a-f]{{{_HASH_LENGTH}}}\Z")


def job_name(word: str, *rest: str, limit: int = 100) -> str:
    """A readable job name: `build packages.x86_64-linux.hello` from `("build", "packages.x86_64-linux.hello")`.

    It never starts with a dot (a hidden job), is no reserved word, and does not end as the names of a
    group do (`x 1/3`, `x: [y]`).

    Args:
        word: a word of our own.
        rest: any text; several are separated by `, `.
        limit: characters of the name, 30 to `MAX_NEEDED_NAME` for a job that others need.
    """
    plain = f"{word} {', '.join(rest)}" if rest else word
    name = visible(plain)
    if name.startswith("."):
        name = "_" + name
    readable_both_ways = name == plain and word and " " not in word and not any(", " in part for part in rest)
    if readable_both_ways and all(rest) and len(name) <= limit and not _misread(name):
        return name
    original = "".join(f"{len(part)}:{part}" for part in (word, *rest))
    return _hashed(name, original, limit, mark=" ~", gap="…")


def _misread(name: str) -> bool:
    """Whether GitLab, or a person who knows our hashes, would take the name for something else."""
    return name in RESERVED or bool(GROUPED.search(name) or _HASHED.search(name))


def environment_name(text: str) -> str:
    """The name of a GitLab environment; without `$`, which GitLab would expand."""
    return _slug(text, r"[^a-zA-Z0-9_/. -]+", edges=" /-", limit=100)


def resource_group(text: str) -> str:
    """The name of a resource group (jobs of one group run one at a time, in all pipelines)."""
    return environment_name(text)


def slug(text: str) -> str:
    """A file name: letters, digits, `_`, `.`, `-`, never hidden, never an option, at most 80 characters."""
    return _slug(text, r"[^a-zA-Z0-9_.-]+", edges=".-", limit=80)


def per_cache(file: str, caches: Iterable[str]) -> tuple[str, ...]:
    """Names of the report files of a push to several caches: the first one's is `file`, others name their cache."""
    path = PurePath(file)
    return tuple(
        file if number == 0 else str(path.with_stem(f"{path.stem}-{cache}")) for number, cache in enumerate(caches)
    )


def title(text: str, limit: int = MAX_JOB_NAME) -> str:
    """One readable line for people, where GitLab would expand variables (`workflow:name`): no `$`."""
    line = visible(text).replace("$", "＄")  # noqa: RUF001  # the full-width sign is the point
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _slug(text: str, forbidden: str, *, edges: str, limit: int) -> str:
    name = re.sub(forbidden, "-", text).strip(edges)
    if name and name == text and len(name) <= limit and not _HASHED.search(name):
        return name
    return _hashed(name, text, limit, mark="-", gap="--")


def _hashed(name: str, original: str, limit: int, *, mark: str, gap: str) -> str:
    """`name` with a hash of `original` at its end, cut in the middle so that it fits."""
    digest = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    room = limit - len(mark) - len(digest)
    if len(name) > room:
        head, tail = (room - len(gap) + 1) // 2, (room - len(gap)) // 2
        name = name[:head] + gap + name[-tail:]
    return f"{name}{mark}{digest}" if name else digest
