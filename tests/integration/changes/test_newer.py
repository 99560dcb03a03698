"""Whether a host runs a later commit's system, asked from the clone of a job that has one commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.changes.newer import Newer
from tests.gitrepo import commit, git, make_repo, push
from tests.integration.changes.conftest import Clone, Project

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("depth", [1, 20, None], ids=["one commit", "20 commits", "all of it"])
@pytest.mark.parametrize(
    ("ours", "theirs", "answer"),
    [
        pytest.param(30, 34, True, id="a little later"),
        pytest.param(2, 34, True, id="much later"),
        pytest.param(34, 33, False, id="a little earlier"),
        pytest.param(34, 1, False, id="much earlier"),
        pytest.param(34, 34, False, id="the same"),
    ],
)
def test_a_later_commit_is_told_from_an_earlier_one(
    project: Project, clone: Clone, ours: int, theirs: int, answer: bool, depth: int | None
) -> None:
    repo = clone(project.main[ours], depth=depth)
    newer = Newer(repo.top, project.main[ours], fetch=True)
    assert newer(project.main[theirs]) is answer


def test_a_commit_of_another_branch_is_not_later(project: Project, clone: Clone) -> None:
    repo = clone(project.main[34], depth=None)
    assert Newer(repo.top, project.main[34], fetch=True)(project.feature[5]) is False


@pytest.mark.parametrize(
    "theirs", ["1" * 40, "", "main", "--upload-pack=touch x"], ids=["unknown", "empty", "a branch", "an option"]
)
def test_what_the_server_does_not_have_is_neither_later_nor_earlier(
    project: Project, clone: Clone, theirs: str
) -> None:
    repo = clone(project.main[34])
    assert Newer(repo.top, project.main[34], fetch=True)(theirs) is None


def test_nothing_is_fetched_on_a_developer_s_machine(project: Project, clone: Clone) -> None:
    repo = clone(project.main[2], depth=1)
    assert Newer(repo.top, project.main[2], fetch=False)(project.main[34]) is None
    assert not repo.has_commit(project.main[34])


def test_without_a_commit_of_our_own_or_a_repository_nothing_is_known(project: Project, tmp_path: Path) -> None:
    assert Newer(project.work, None, fetch=True)(project.main[0]) is None
    assert Newer(tmp_path, project.main[0], fetch=True)(project.main[1]) is None


def test_a_server_that_is_gone_leaves_it_unknown(project: Project, clone: Clone) -> None:
    repo = clone(project.main[2], depth=1)
    git(repo.top, "remote", "set-url", "origin", "file:///nowhere")
    assert Newer(repo.top, project.main[2], fetch=True)(project.main[34]) is None


def test_a_history_that_is_cut_off_decides_nothing_of_commits_side_by_side(project: Project, tmp_path: Path) -> None:
    """The fork has both tips, and its clone cannot be made deeper once it is gone."""
    work = make_repo(tmp_path / "work")
    start = commit(work, {"a": "1"})
    git(work, "checkout", "--quiet", "--detach")
    left = commit(work, {"a": "2"})
    git(work, "checkout", "--quiet", "--detach", start)
    right = commit(work, {"a": "3"})
    push(work, project.fork, {"refs/heads/left": left, "refs/heads/right": right})
    repo = make_repo(tmp_path / "shallow")
    git(repo, "fetch", "--quiet", "--depth=1", f"file://{project.fork}", left, right)
    assert Newer(repo, left, fetch=False)(right) is None
    git(repo, "fetch", "--quiet", "--unshallow", f"file://{project.fork}", left, right)
    assert Newer(repo, left, fetch=False)(right) is False
