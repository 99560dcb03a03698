"""What the git repository says. Local questions only; `fetch.py` asks the server.

GitPython finds the repository. Everything else is plumbing with `-z` output, time limits and a cleaned
environment: file names are hostile, and GitPython knows neither SHA-256 repositories nor who owns one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pipelinegen import process
from pipelinegen.changes.model import Base, Head
from pipelinegen.console import plain
from pipelinegen.errors import CommandError, GitError, NoRepositoryError

LOCAL_SECONDS = 300.0
"""How long a question to the local repository may take; a cold network disk is slow."""

_COMMIT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_USERINFO = re.compile(r"(?<=://)[^/\s@]*@")

_OWNED_BY_ANOTHER = re.compile(r"dubious ownership|unsafe repository")

_KEPT_VARIABLES = re.compile(
    r"GIT_(?:SSL_.*|SSH.*|ASKPASS|PROXY.*|HTTP_.*|EXEC_PATH|CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_.*|VALUE_.*))"
)
"""How to reach and trust a server, and configuration that people give in CI variables (`safe.directory`).

All other `GIT_*` go: inside a hook or an alias `GIT_DIR`, `GIT_INDEX_FILE` and their like name another
repository than the one that was asked for.
"""


def is_commit_id(text: str) -> bool:
    """Whether `text` is a full commit id: 40 or 64 hexadecimal digits."""
    return _COMMIT_ID.fullmatch(text) is not None


def without_credentials(text: str) -> str:
    """Foreign text on one line, without the user and password part of any URL.

    `CI_REPOSITORY_URL`, which GitLab's runner makes the URL of `origin`, holds the job's token.
    """
    return plain(_USERINFO.sub("", text)).replace("\n", " ").strip()


class Repository:
    """A git repository with a work tree, whose top folder is `top`. Made by `open`."""

    def __init__(self, top: Path) -> None:
        self.top = top

    @classmethod
    def open(cls, path: Path) -> Repository:
        """The repository that `path`, a folder, lies in.

        Raises:
            GitError: there is none, it has no work tree, or git refuses to read it.
            ToolError: git is not installed.
        """
        process.find_tool("git", hint="install git")
        import git  # noqa: PLC0415  # refuses to be imported without git; and starts it

        try:
            with git.Repo(path.absolute(), search_parent_directories=True, expand_vars=False) as found:
                bare = found.bare
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
            raise NoRepositoryError(
                "there is no git repository",
                where=str(path),
                hint="run this inside the repository, or `git init` and `git add` your files",
            ) from error
        except (git.GitError, OSError, ValueError) as error:
            raise GitError(
                "the git repository cannot be read", where=str(path), why=without_credentials(str(error))
            ) from error
        if bare:
            raise GitError(
                "the git repository has no work tree", where=str(path), hint="use a clone that has its files"
            )
        return cls(_top(path))

    def run(
        self,
        *arguments: str,
        allowed: tuple[int, ...] | None = (0,),
        timeout: float = LOCAL_SECONDS,
        secrets: Iterable[str] = (),
    ) -> process.Completed:
        """Run git in the top folder; `allowed` None accepts every exit code.

        Raises:
            GitError: it ended with a code that is not allowed; why is its last line, without credentials.
            TransientError: `timeout` seconds passed.
        """
        return _git(self.top, arguments, allowed=allowed, timeout=timeout, secrets=secrets)

    def head(self) -> Head:
        """The checked-out commit, and whether tracked or added files differ from it.

        Untracked files do not count: a flake does not see them.
        """
        return Head(rev=self.resolve("HEAD"), dirty=bool(self.uncommitted_files()))

    def resolve(self, revision: str) -> str | None:
        """The full id of the commit that `revision` (any form git knows) names; null when there is none."""
        answer = self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", allowed=None
        )
        commit = answer.text.strip()
        return commit if answer.returncode == 0 and is_commit_id(commit) and self.has_commit(commit) else None

    def has_commit(self, commit: str) -> bool:
        """Whether the object of this full commit id is here."""
        if not is_commit_id(commit):
            return False
        return self.run("cat-file", "-e", f"{commit}^{{commit}}", allowed=None).returncode == 0

    def parents(self, commit: str) -> tuple[str, ...]:
        """The parents that the commit object names, also where a shallow clone does not have them.

        Raises:
            GitError: there is no such commit.
        """
        header = self.run("cat-file", "commit", commit).stdout.partition(b"\n\n")[0]
        return tuple(line[7:].decode() for line in header.split(b"\n") if line.startswith(b"parent "))

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether the history that is here leads from `descendant` to `ancestor` (or both are one)."""
        return self.run("merge-base", "--is-ancestor", ancestor, descendant, allowed=None).returncode == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """A best common ancestor in the history that is here."""
        answer = self.run("merge-base", one, other, allowed=None)
        return answer.text.strip() or None if answer.returncode == 0 else None

    def is_shallow(self) -> bool:
        """Whether history is cut off somewhere."""
        return self.run("rev-parse", "--is-shallow-repository").text.strip() == "true"

    def tracked_files(self) -> tuple[str, ...]:
        """Every path in the index, relative to the top, sorted; a submodule is one path."""
        return _paths(self.run("ls-files", "-z", "--cached").stdout.split(b"\0"))

    def uncommitted_files(self) -> tuple[str, ...]:
        """Tracked and added paths that differ from the checked-out commit, sorted."""
        status = self.run(
            "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no", "--ignore-submodules=untracked"
        )
        return _paths(entry[3:] for entry in status.stdout.split(b"\0"))

    def changed_files(self, base: Base, head: Head) -> tuple[str, ...] | None:
        """Paths that differ between the trees of `base` and `head`, sorted; null when the base is unknown.

        Both sides of a rename are listed, a changed submodule is one path, and uncommitted files count
        when `head` is dirty. Paths are relative to the top; bytes that are not UTF-8 become U+FFFD.

        Raises:
            GitError: the base is not here.
        """
        if base.empty:
            return self.tracked_files()
        if base.rev is None or head.rev is None:
            return None
        trees = (base.rev,) if head.dirty else (base.rev, head.rev)
        difference = self.run(
            "diff", "-z", "--name-only", "--no-ext-diff", "--no-renames",
            "--ignore-submodules=untracked", *trees, "--",
        )  # fmt: skip
        return _paths(difference.stdout.split(b"\0"))


def _top(path: Path) -> Path:
    """The top folder in git's own words: only git knows whether it trusts who owns it."""
    try:
        answer = _git(path, ("rev-parse", "--show-toplevel"))
    except GitError as error:
        if not _OWNED_BY_ANOTHER.search(error.why or ""):
            raise
        raise GitError(
            "the git repository belongs to somebody else, so git does not read it",
            where=str(path),
            why=error.why,
            hint="if you trust its owner: git config --global --add safe.directory FOLDER",
        ) from error
    return Path(answer.stdout.removesuffix(b"\n").decode("utf-8", "surrogateescape"))


def _git(
    folder: Path,
    arguments: Iterable[str],
    *,
    allowed: tuple[int, ...] | None = (0,),
    timeout: float = LOCAL_SECONDS,
    secrets: Iterable[str] = (),
) -> process.Completed:
    environment = process.environment(
        without=lambda name: name.startswith("GIT_") and not _KEPT_VARIABLES.fullmatch(name),
        # C: messages are looked at. No optional locks: looking must not disturb an editor's git.
        extra={"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
    )
    try:
        return process.run(
            # A file system monitor would outlive us and hold our pipes.
            ["git", "--no-pager", "-c", "core.fsmonitor=false", *arguments],
            cwd=folder,
            env=environment,
            timeout=timeout,
            allowed=allowed if allowed is not None else "any",
            secrets=secrets,
        )
    except CommandError as error:
        raise GitError(
            "git could not answer", where=without_credentials(error.command), why=last_words(error.stderr_tail)
        ) from error


def last_words(stderr: Iterable[str]) -> str:
    """The line in which git says what is wrong, without credentials."""
    lines = [line for line in map(without_credentials, stderr) if line]
    wrong = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return wrong[0] if wrong else "\n".join(lines[-1:]) or "git said nothing"


def _paths(entries: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(sorted({entry.decode("utf-8", "replace") for entry in entries if entry}))
