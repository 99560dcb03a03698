"""What jobs of `main` remember, and with what jobs of other branches begin: real git, Nix and HTTP."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gitlab_archives import Archive
from tests.gitlab_server import FakeGitLab, running_gitlab
from tests.gitrepo import commit, git
from tests.integration.test_generate import new_repository, pipelinegen
from tests.integration.test_generate_in_gitlab import push

pytestmark = pytest.mark.nix

LEFT = Path(".pipelinegen/memo.tar")
TOOK = "took what the last pipeline of main remembered"


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with running_gitlab() as made:
        yield made


@pytest.fixture
def repository(nix_bin: Path, tmp_path: Path) -> Path:
    """A fleet with two commits: what was seen at one alone might depend on that."""
    made = new_repository(tmp_path / "fleet")
    text = (made / "pkgs" / "libdisk.nix").read_text("utf-8")
    commit(made, {"pkgs/libdisk.nix": f"# Disks.\n{text}"}, "a comment")
    return made


def generate(
    repository: Path, gitlab: FakeGitLab, cache: Path, branch: str = "main", **extra: str
) -> subprocess.CompletedProcess[str]:
    """The job `inspect`, whose runner has this cache."""
    variables = push(
        repository,
        gitlab,
        CI_JOB_NAME="inspect",
        PIPELINEGEN_CACHE_DIR=str(cache),
        PIPELINEGEN_BASE=git(repository, "rev-parse", "HEAD~1"),
        CI_COMMIT_BRANCH=branch,
        CI_COMMIT_REF_PROTECTED="true" if branch == "main" else "false",
    )
    ran = pipelinegen("-v", "generate", cwd=repository, **{**variables, **extra})
    assert ran.returncode == 0, ran.stderr
    return ran


def known(ran: subprocess.CompletedProcess[str]) -> int:
    """Of how many outputs the derivation was known."""
    said = re.search(r"(\d+) of \d+ derivations known", ran.stderr)
    assert said is not None, ran.stderr
    return int(said[1])


def pipeline(repository: Path) -> str:
    return (repository / ".pipelinegen" / "pipeline.yml").read_text("utf-8")


def other_branch(repository: Path) -> None:
    """A branch with a commit that adds no file."""
    git(repository, "checkout", "-q", "-b", "topic")
    text = (repository / "pkgs" / "libdisk.nix").read_text("utf-8")
    commit(repository, {"pkgs/libdisk.nix": text.replace("/database", "/data")}, "change what only db1 has")


def test_a_branch_without_a_cache_begins_with_what_the_default_branch_remembers(
    repository: Path, gitlab: FakeGitLab, tmp_path: Path
) -> None:
    main = generate(repository, gitlab, tmp_path / "protected")
    assert TOOK not in main.stderr
    gitlab.archives.append(Archive("main", "inspect", {str(LEFT): (repository / LEFT).read_bytes()}))
    other_branch(repository)
    ran = generate(repository, gitlab, tmp_path / "unprotected", "topic")
    assert TOOK in ran.stderr
    assert known(ran) > 5, main.stderr + ran.stderr
    assert not (repository / LEFT).exists(), "a branch leaves nothing for others"
    planned = pipeline(repository)
    again = generate(repository, gitlab, tmp_path / "unprotected", "topic")
    assert TOOK not in again.stderr
    assert known(again) >= known(ran)
    cold = generate(repository, gitlab, tmp_path / "cold", "topic", CI_JOB_TOKEN="")
    assert known(cold) == 0
    assert pipeline(repository) == planned


def test_without_an_artifact_a_branch_is_cold_and_says_so(repository: Path, gitlab: FakeGitLab, tmp_path: Path) -> None:
    other_branch(repository)
    ran = generate(repository, gitlab, tmp_path / "cache", "topic")
    assert "nothing is remembered here" in ran.stderr
    assert known(ran) == 0
    gitlab.refuse(503)
    ran = generate(repository, gitlab, tmp_path / "another", "topic")
    assert "was not had from GitLab: 503" in ran.stderr
    assert "job-token" not in ran.stderr


def test_what_an_unprotected_ref_took_is_not_used_by_a_protected_one(
    repository: Path, gitlab: FakeGitLab, tmp_path: Path
) -> None:
    generate(repository, gitlab, tmp_path / "elsewhere")
    gitlab.archives.append(Archive("main", "inspect", {str(LEFT): (repository / LEFT).read_bytes()}))
    # A maintainer's job of any branch has the cache of protected refs.
    taken = generate(repository, gitlab, tmp_path / "protected", "topic")
    assert TOOK in taken.stderr
    assert known(taken) > 5
    assert known(generate(repository, gitlab, tmp_path / "protected")) == 0
    assert known(generate(repository, gitlab, tmp_path / "protected", "topic")) > 5, "that of main, by now"
