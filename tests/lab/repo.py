"""The example fleet as a project: a git repository with commits, and the clones that runners make of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests import gitrepo
from tests.lab.machine import FLEET


@dataclass(frozen=True)
class Project:
    """A git repository in `folder`, on branch `main`."""

    folder: Path

    def git(self, *arguments: str | Path) -> str:
        """The output of a git command that must succeed."""
        return gitrepo.git(self.folder, *arguments)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace `old`, which must be there exactly once, in a file of the work tree."""
        file = self.folder / path
        text = file.read_text("utf-8")
        assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
        file.write_text(text.replace(old, new), "utf-8")

    def commit(self, message: str) -> str:
        """Commit the work tree as it is; the commit's id."""
        self.git("add", "--all")
        return gitrepo.commit(self.folder, {}, message)

    @property
    def head(self) -> str:
        """The id of the checked-out commit."""
        return self.git("rev-parse", "HEAD")

    def clone(self, folder: Path, *, branch: str = "main", commit: str | None = None) -> Path:
        """A fresh checkout as a runner makes it: whole history, `commit` (or the branch) checked out."""
        self.git("clone", "--quiet", "--branch", branch, f"file://{self.folder}", folder)
        if commit is not None:
            Project(folder).git("checkout", "--quiet", "--detach", commit)
        return folder


def new_project(folder: Path, source: Path = FLEET, *, files: dict[str, str] | None = None) -> Project:
    """Make a repository of a folder's files (with `files` added or replaced) with one commit.

    Args:
        folder: where to; must not exist.
        files: path in the repository → content, such as a `pipelinegen.toml` for the test.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("result*", ".git"))
    for path, text in (files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    project = Project(gitrepo.make_repo(folder))
    project.commit("first")
    return project
