"""Getting from the server what a CI clone lacks: single commits, more history, the target branch.

A runner clones shallowly (20 commits by default) and only the pipeline's own ref. Nothing here raises for
a server that is away or refuses: the answer is then "not there", and `troubles` says why. Only CI
pipelines fetch; on a developer's machine nothing is asked over the network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pipelinegen.changes.read import Repository, is_commit_id, last_words
from pipelinegen.errors import GitError, TransientError

FETCH_SECONDS = 300.0
"""All fetches of one run together. What takes longer than building too much is not worth fetching."""

DEEPENING = ("--deepen=100", "--deepen=1000", "--unshallow")

TARGET_REF = "refs/pipelinegen/target"
"""Where a fetched branch is kept: outside of what users and runners name, prune and push."""

_LOGIN_HELPER = '!f() { test "$1" = get && echo username=gitlab-ci-token && echo "password=$CI_JOB_TOKEN"; }; f'
"""The token stays in the environment; what is in argv is only the name of the variable."""


@dataclass(frozen=True)
class Source:
    """Where to fetch from: a remote's name or a URL without credentials.

    `job_token`: log in with the job's token where the server asks. Only for the server that the job is of.
    """

    address: str
    job_token: bool = False


ORIGIN = Source("origin")


class Fetcher:
    """Fetches into one repository.

    Args:
        enabled: false answers every question from what is here.
        seconds: time for all fetches together.
    """

    def __init__(self, repo: Repository, *, enabled: bool, seconds: float = FETCH_SECONDS) -> None:
        self.repo = repo
        self.enabled = enabled
        self.troubles: list[str] = []
        """Why fetches failed, one line each, without credentials."""
        self._remaining = seconds
        self._failed: dict[tuple[str, ...], str] = {}

    def obtain(self, commit: str, source: Source = ORIGIN) -> bool:
        """Make the commit of this full id be here: by its id, else by more and more history.

        In a shallow clone it arrives alone (depth 1): good for a diff, not for questions of ancestry.
        """
        if not is_commit_id(commit):
            return False
        if self.repo.has_commit(commit):
            return True
        depth = ("--depth=1",) if self.repo.is_shallow() else ()
        trouble = self._fetch(source, *depth, wants=(commit,))
        if self.repo.has_commit(commit):
            return True
        if trouble is not None and "not our ref" in trouble:
            return False  # the server has said that it does not have it; more history has it neither
        return any(self.repo.has_commit(commit) for _ in self._deepen([(source, ())]))

    def tip(self, ref: str, source: Source = ORIGIN) -> str | None:
        """The commit of `ref` (`refs/heads/main`) on the server as of now; null when it cannot be fetched.

        A shallow clone gets up to 100 commits of its history with it.
        """
        if self.repo.run("check-ref-format", ref, allowed=None).returncode != 0:
            return None
        # Without a depth, a shallow clone would be sent the branch's whole history. With one, a
        # complete clone would become shallow.
        depth = ("--depth=100",) if self.repo.is_shallow() else ()
        trouble = self._fetch(source, *depth, wants=(_refspec(ref),))
        return self.repo.resolve(TARGET_REF) if trouble is None else None

    def is_ancestor(self, ancestor: str, head: str) -> bool:
        """Whether `ancestor` is in the history of `head`, fetching history until that is certain."""
        if not self.obtain(ancestor):
            return False
        if self.repo.is_ancestor(ancestor, head):
            return True
        return any(self.repo.is_ancestor(ancestor, head) for _ in self._deepen([(ORIGIN, (head,))]))

    def merge_base(self, head: str, other: str, *, source: Source = ORIGIN, ref: str | None = None) -> str | None:
        """A common ancestor of `head` and `other`, fetching the history of both until there is one.

        `other` came from `source`, as the tip of `ref` where that is given.
        """
        base = self.repo.merge_base(head, other)
        if base is not None:
            return base
        # A server lengthens every history that it knows, wanted or not: one fetch does for both.
        wants = [(source, (_refspec(ref) if ref else other,))]
        if source != ORIGIN:
            wants.append((ORIGIN, (head,)))
        for _ in self._deepen(wants):
            base = self.repo.merge_base(head, other)
            if base is not None:
                return base
        return None

    def _deepen(self, wants: Sequence[tuple[Source, tuple[str, ...]]]) -> Iterator[None]:
        """Lengthen a shallow history step by step; yields after each step that changed something."""
        for step in DEEPENING:
            fetched = False
            for source, want in wants:
                # Asked each time: a whole repository refuses to be made deeper.
                if not self.enabled or not self.repo.is_shallow():
                    break
                # Also after one that failed: one side's history may be enough.
                fetched |= self._fetch(source, step, wants=want) is None
            if fetched:
                yield

    def _fetch(self, source: Source, *options: str, wants: tuple[str, ...]) -> str | None:
        """Fetch, but not again what has failed; null when it worked, else why not."""
        call = (source.address, *options, *wants)
        if not self.enabled:
            return "nothing is fetched"
        if call not in self._failed:
            trouble = self._try(source, options, wants)
            if trouble is None:
                return None
            self._failed[call] = trouble
            if trouble not in self.troubles:
                self.troubles.append(trouble)
        return self._failed[call]

    def _try(self, source: Source, options: Sequence[str], wants: Sequence[str]) -> str | None:
        if self._remaining <= 0:
            return "the time for fetching was used up"
        # Only our helper: another one might store the token.
        login = ("-c", "credential.helper=", "-c", f"credential.{_server(source.address)}.helper={_LOGIN_HELPER}")
        started = time.monotonic()
        try:
            answer = self.repo.run(
                *(login if source.job_token else ()),
                *("-c", "gc.auto=0", "-c", "maintenance.auto=false"),
                *("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
                # Only what is wanted: an old ref of a used work tree may stand in the way of the configured ones.
                *(("--refmap=",) if wants else ()),
                *options,
                "--",
                source.address,
                *wants,
                allowed=None,
                timeout=self._remaining,
                secrets=_passwords(self._url(source)),
            )
        except TransientError:
            return f"git fetch did not end within {self._remaining:.0f} s"
        finally:
            self._remaining -= time.monotonic() - started
        return None if answer.returncode == 0 else f"git fetch: {last_words(answer.stderr_tail)}"

    def _url(self, source: Source) -> str:
        try:
            return self.repo.run("remote", "get-url", source.address, allowed=(0, 2, 128)).text.strip()
        except GitError:
            return ""


def url_source(url: str, *, like: str | None = None) -> Source | None:
    """A project's URL as a source, logging in with the job's token if `like` is on the same server.

    Null for what is no plain URL of a repository: it would reach git as an option, a command, or with a
    password in argv.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https", "ssh", "file"} or "@" in parts.netloc:
        return None
    same = like is not None and _server(url) == _server(like)
    return Source(url, job_token=same and parts.scheme in {"http", "https"})


def _refspec(ref: str) -> str:
    return f"+{ref}:{TARGET_REF}"


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _passwords(url: str) -> tuple[str, ...]:
    if "://" not in url:
        return ()
    user = urlsplit(url).netloc.rpartition("@")[0]
    secret = user.partition(":")[2] or user
    return tuple({secret, unquote(secret)} - {""})
