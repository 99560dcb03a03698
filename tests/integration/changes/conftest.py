"""One GitLab project with a history in which every base is another commit; built once, cloned per test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelinegen.changes.read import Repository
from tests.gitrepo import ISOLATED, clone_shallow, commit, git, make_repo, make_server, merge, push


@pytest.fixture(autouse=True)
def _isolated_git(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ISOLATED.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True)
class Project:
    """Commits of a project and of a fork. Commit N of a branch writes the file `branch/N`.

        main      0 … 9 ── 10 … 34 ──┬── (other) ─── train_car
                      │              ├── merged_result ┘ ── train
        feature       └─ 0 … 29 ─────┘

    Every branch is longer than the runner's 20 commits, so a clone sees neither its start nor the others.
    """

    server: Path
    fork: Path
    work: Path
    main: tuple[str, ...]
    feature: tuple[str, ...]
    merged_result: str
    train_car: str
    train: str
    rebased: str
    """Of a train that rebases: the request's commits on top of main, no merge."""
    overwritten: str
    """Was on main until a force-push; the server still has it."""
    unrelated: str
    root: str

    @property
    def fork_point(self) -> str:
        """Where `feature` left `main`."""
        return self.main[9]

    @property
    def feature_files(self) -> tuple[str, ...]:
        return tuple(sorted(f"feature/{number}" for number in range(len(self.feature))))

    def main_files(self, first: int, last: int = 34) -> tuple[str, ...]:
        """What the commits `first` to `last` of main wrote."""
        return tuple(sorted(f"main/{number}" for number in range(first, last + 1)))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    work = make_repo(folder / "work")
    main = tuple(commit(work, {f"main/{number}": "x"}, f"main {number}") for number in range(35))
    git(work, "checkout", "--quiet", "-b", "feature", main[9])
    feature = tuple(commit(work, {f"feature/{number}": "x"}, f"feature {number}") for number in range(30))
    git(work, "checkout", "--quiet", "-b", "other", main[-1])
    other = commit(work, {"other/0": "x"}, "other 0")
    git(work, "checkout", "--quiet", "-b", "overwritten", main[20])
    overwritten = commit(work, {"overwritten/0": "x"}, "overwritten 0")
    merged_result = merge(work, main[-1], "feature")
    train_car = merge(work, main[-1], other)
    train = merge(work, train_car, "feature")
    git(work, "checkout", "--quiet", "--detach", main[-1])
    rebased = [commit(work, {f"feature/{number}": "x"}, f"rebased {number}") for number in range(3)][-1]
    git(work, "checkout", "--quiet", "--orphan", "unrelated")
    git(work, "rm", "-r", "-f", "--quiet", ".")
    root = commit(work, {"unrelated/0": "x"}, "unrelated 0")
    unrelated = commit(work, {"unrelated/1": "x"}, "unrelated 1")

    server = make_server(folder / "server.git")
    refs = {
        "refs/heads/main": main[-1],
        "refs/heads/feature": feature[-1],
        "refs/heads/unrelated": unrelated,
        "refs/merge-requests/1/head": feature[-1],
        "refs/merge-requests/1/merge": merged_result,
        "refs/merge-requests/1/train": train,
        "refs/merge-requests/2/train": rebased,
        f"refs/keep-around/{overwritten}": overwritten,
        "refs/tags/v1": main[5],
    }
    push(work, server, refs)
    fork = make_server(folder / "fork.git")
    push(work, fork, {"refs/heads/main": main[2], "refs/heads/feature": feature[-1]})
    return Project(
        server=server,
        fork=fork,
        work=work,
        main=main,
        feature=feature,
        merged_result=merged_result,
        train_car=train_car,
        train=train,
        rebased=rebased,
        overwritten=overwritten,
        unrelated=unrelated,
        root=root,
    )


Clone = Callable[..., Repository]


@pytest.fixture
def clone(project: Project, tmp_path: Path) -> Clone:
    """Clone as a runner does: `clone(commit, depth=20, branch=None, server=project.server)`."""

    def make(at: str, *, depth: int | None = 20, branch: str | None = None, server: Path | None = None) -> Repository:
        folder = clone_shallow(server or project.server, tmp_path / "clone", at, depth=depth, branch=branch)
        return Repository.open(folder)

    return make
