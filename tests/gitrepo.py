"""Git repositories for tests: real ones, without the settings of this user or computer.

A test whose code under test calls git itself puts `ISOLATED` into its environment, too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ISOLATED = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
"""No configuration but the repository's own."""

_EPOCH = 1_700_000_000


def git(folder: Path, *arguments: str | Path, stdin: bytes | None = None, second: int = 0) -> str:
    """Run git in `folder` and return its stdout without the last line end; fails where git fails.

    `second` sets the date of a commit. Git's own variables are removed: tests may run inside a hook.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    date = f"{_EPOCH + second} +0000"
    for role in ("AUTHOR", "COMMITTER"):
        environment[f"GIT_{role}_NAME"] = "Tester"
        environment[f"GIT_{role}_EMAIL"] = "tester@example.org"
        environment[f"GIT_{role}_DATE"] = date
    ended = subprocess.run(
        ["git", *map(str, arguments)],
        cwd=folder,
        env=environment | ISOLATED,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, f"git {arguments}: {ended.stderr.decode('utf-8', 'replace')}"
    return ended.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")


def make_repo(folder: Path, *, branch: str = "main") -> Path:
    """An empty repository with a work tree, on `branch`, without a commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch", branch)
    return folder


def stage(repo: Path, files: Mapping[str, str | None]) -> None:
    """Write files (path → text) and add them; None removes one. Any name works."""
    for name, text in files.items():
        file = repo / name
        if text is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    names = b"\0".join(os.fsencode(name) for name in files)
    git(repo, "update-index", "-z", "--add", "--remove", "--stdin", stdin=names)


def commit(repo: Path, files: Mapping[str, str | None], message: str = "change") -> str:
    """Commit files (path → text, None removes) on top of HEAD; the commit's id, the same in every run."""
    stage(repo, files)
    count = git(repo, "rev-list", "--count", "--all")
    git(repo, "commit", "--quiet", "--allow-empty", "--message", message, second=60 * int(count))
    return git(repo, "rev-parse", "HEAD")


def merge(repo: Path, into: str, other: str, message: str = "merge") -> str:
    """A merge commit with the parents `into` and `other`, in that order, checked out detached; its id."""
    git(repo, "checkout", "--quiet", "--detach", into)
    count = git(repo, "rev-list", "--count", "--all")
    git(repo, "merge", "--quiet", "--no-ff", "--message", message, other, second=60 * int(count))
    return git(repo, "rev-parse", "HEAD")


def make_server(folder: Path, *, any_commit: bool = True) -> Path:
    """A bare repository that serves commits by id (`any_commit`), as GitLab does."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--bare", "--initial-branch", "main")
    if any_commit:
        git(folder, "config", "uploadpack.allowReachableSHA1InWant", "true")
        git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    return folder


def push(repo: Path, server: Path, refs: Mapping[str, str]) -> None:
    """Make the server's refs (full name → commit) so, by force."""
    git(repo, "push", "--quiet", f"file://{server}", *(f"+{commit}:{ref}" for ref, commit in refs.items()))


def clone_shallow(
    server: Path, folder: Path, commit: str, *, depth: int | None = 20, branch: str | None = None
) -> Path:
    """A checkout as GitLab's runner makes it: only the pipeline's ref (and its `branch`), detached.

    Args:
        depth: commits of history; None for all.
        branch: the branch of a branch pipeline; the server must have it.
    """
    git(server, "update-ref", "refs/pipelines/1", commit)
    make_repo(folder, branch="unused")
    git(folder, "remote", "add", "origin", f"file://{server}")
    refs = ["+refs/pipelines/1:refs/pipelines/1"]
    if branch is not None:
        refs.append(f"+refs/heads/{branch}:refs/remotes/origin/{branch}")
    depths = [] if depth is None else [f"--depth={depth}"]
    git(folder, "fetch", "--quiet", "--no-tags", *depths, "origin", *refs)
    git(folder, "checkout", "--quiet", "--detach", commit)
    return folder
