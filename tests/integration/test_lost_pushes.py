"""Pushes whose deployments fail, are cancelled or undone lose nothing: a later push deploys what they should have.

A real repository, a real flake with two hosts, `generate` for each push, and a GitLab that remembers
deployments; its jobs tell it what `run deploy` tells.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipelinegen.ci_env import CiEnv
from pipelinegen.console import Console
from pipelinegen.gitlab_report import Ended, report_deployed
from tests.gitlab_server import JOB_TOKEN, PROJECT, FakeGitLab, api_url, running_gitlab
from tests.gitrepo import commit, git, make_repo
from tests.integration.conftest import ONE_NIX
from tests.integration.test_generate import pipelinegen

pytestmark = [pytest.mark.nix, ONE_NIX]

FLAKE = """
{
  outputs = { self }:
    let
      host = name: {
        config.system.build.toplevel = derivation {
          name = "nixos-system-${name}";
          system = "x86_64-linux";
          builder = "/bin/sh";
          args = [ "-c" "echo ${builtins.readFile (./. + "/${name}.txt")} > $out" ];
        };
      };
    in
    {
      nixosConfigurations = { a = host "a"; b = host "b"; };
    };
}
"""
SETTINGS = """
refs = ["main"]

[[runners]]
system = "x86_64-linux"

[hosts.a]
address = "a.example"

[hosts.b]
address = "b.example"
"""


class Project:
    """A repository whose pushes become pipelines.

    Args:
        described: whether GitLab keeps descriptions of environments, as it does since 17.
    """

    def __init__(self, folder: Path, gitlab: FakeGitLab, monkeypatch: pytest.MonkeyPatch, *, described: bool) -> None:
        self.repository = make_repo(folder)
        self.gitlab = gitlab
        self.described = described
        self.before = "0" * 40
        self.plan: dict[str, str] = {}
        monkeypatch.setenv("CI_JOB_TOKEN", JOB_TOKEN)
        monkeypatch.delenv("PIPELINEGEN_TOKEN", raising=False)

    def push(self, **files: str) -> str:
        """Push a commit that changes these files (name without `.txt`) and generate; the hosts it deploys."""
        now = commit(self.repository, {f"{name}.txt": text for name, text in files.items()})
        ran = pipelinegen(
            "generate",
            cwd=self.repository,
            CI="true",
            GITLAB_CI="true",
            CI_PIPELINE_SOURCE="push",
            CI_COMMIT_BRANCH="main",
            CI_DEFAULT_BRANCH="main",
            CI_COMMIT_REF_PROTECTED="true",
            CI_COMMIT_BEFORE_SHA=self.before,
            CI_PROJECT_ID=PROJECT,
            CI_PROJECT_DIR=str(self.repository),
            CI_JOB_TOKEN=JOB_TOKEN,
            CI_API_V4_URL=api_url(self.gitlab),
        )
        assert ran.returncode == 0, ran.stderr
        self.before = now
        pipeline = yaml.safe_load((self.repository / ".pipelinegen" / "pipeline.yml").read_text("utf-8"))
        jobs = [job for job in pipeline.values() if isinstance(job, dict) and "environment" in job]
        commands = [shlex.split(job["script"][0]) for job in jobs]
        self.plan = {words[-1]: words[words.index("--system") + 1] for words in commands}
        return "".join(sorted(self.plan))

    def deploy(self, host: str, status: str = "success", *, rollback: bool = False) -> None:
        """The job that deploys a host runs, tells GitLab how it ended, and ends."""
        row = None if rollback else self.gitlab.deployment(host, self.before, "running", job="running")
        if self.described and status != "canceled":
            env = CiEnv(
                gitlab=True, project_id=PROJECT, api_url=api_url(self.gitlab), commit_sha=self.before, branch="main"
            )
            ended = Ended(
                host=host,
                environment=host,
                fate="given" if status == "success" and not rollback else "unknown",
                system=self.plan.get(host, ""),
                succeeded=status == "success",
                rolled_back=rollback,
            )
            report_deployed(env, ended, Console())
        if row is not None:
            self.gitlab.finish(row, status)


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with running_gitlab() as made:
        yield made


BOTH = pytest.mark.parametrize("described", [True, False], ids=["systems are told", "only commits are told"])


@pytest.fixture
def described() -> bool:
    """Unless a test says otherwise, GitLab keeps descriptions."""
    return True


@pytest.fixture
def project(
    described: bool, nix_bin: Path, tmp_path: Path, gitlab: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """Both hosts were deployed by the first push."""
    made = Project(tmp_path / "fleet", gitlab, monkeypatch, described=described)
    commit(made.repository, {"flake.nix": FLAKE, "pipelinegen.toml": SETTINGS, ".gitignore": ".pipelinegen*\n"})
    assert made.push(a="1", b="1") == "ab"
    made.deploy("a")
    made.deploy("b")
    return made


@BOTH
def test_of_five_pushes_with_a_failed_one_in_the_middle_nothing_is_lost(project: Project) -> None:
    assert project.push(a="2") == "a"
    project.deploy("a")
    assert project.push(b="3") == "b"
    project.deploy("b", "failed")
    assert project.push(a="4") == "ab", "b still waits for what the third push brought"
    project.deploy("a")
    project.deploy("b")
    assert project.push(notes="5") == ""


@BOTH
def test_a_host_whose_deployment_failed_is_deployed_by_the_next_push_and_the_other_is_not(project: Project) -> None:
    assert project.push(a="2", b="2") == "ab"
    project.deploy("a")
    project.deploy("b", "failed")
    assert project.push(notes="3") == "b"


@pytest.mark.parametrize("began", [True, False], ids=["while it deployed", "before it deployed"])
def test_what_a_cancelled_push_brought_is_deployed_by_the_next(project: Project, began: bool) -> None:
    assert project.push(b="2") == "b"
    if began:
        project.deploy("b", "canceled")
    assert project.push(notes="3") == "b"


def test_a_pipeline_that_ended_before_its_deployments_loses_nothing(project: Project) -> None:
    assert project.push(a="2") == "a"  # its checks fail: nothing is deployed
    assert project.push(b="3") == "ab"
    project.deploy("b")
    assert project.push(notes="4") == "a"


@BOTH
def test_what_a_host_was_rolled_back_from_is_deployed_by_the_next_push(project: Project) -> None:
    if not project.described:
        project.gitlab.deployment("a", project.before, "failed")  # all that such a job can leave
    else:
        project.deploy("a", rollback=True)
    assert project.push(notes="2") == "a"
    project.deploy("a")
    assert project.push(notes="3") == ""


def test_a_revert_is_deployed_while_the_push_in_between_may_yet_deploy(project: Project) -> None:
    assert project.push(b="2") == "b"  # its jobs still wait
    assert project.push(b="1") == "b"
    project.deploy("b")
    assert project.push(notes="4") == ""


@pytest.mark.parametrize(
    ("status", "job"),
    [("failed", "failed"), ("running", "running"), ("created", "waiting_for_resource")],
    ids=["failed", "is still going on", "waits for its turn"],
)
def test_what_a_deployment_may_have_left_is_mended_although_its_push_was_reverted(
    project: Project, status: str, job: str
) -> None:
    assert project.push(b="2") == "b"
    project.gitlab.deployment("b", project.before, status, job=job)
    assert project.push(b="1") == "b"  # its pipeline is cancelled before it deploys
    assert project.push(notes="3") == "b", "the last success gave it this very system, and yet it may run another"


@BOTH
def test_a_force_push_back_to_an_older_commit_deploys_what_differs(project: Project) -> None:
    first = project.before
    assert project.push(a="2") == "a"
    project.deploy("a")
    git(project.repository, "reset", "--quiet", "--hard", first)
    assert project.push(notes="back") == "a"
