"""`generate` in a GitLab job: what the API and the variables change, with real git and Nix."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.gitlab_deployments import describe
from pipelinegen.plan.model import RECORD_JOB
from tests.gitlab_server import FakeGitLab, api_url, running_gitlab
from tests.gitrepo import commit, git
from tests.integration.test_generate import new_repository, pipelinegen

pytestmark = pytest.mark.nix


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with running_gitlab() as made:
        yield made


@pytest.fixture
def repository(nix_bin: Path, tmp_path: Path) -> Path:
    return new_repository(tmp_path / "fleet")


def push(repository: Path, gitlab: FakeGitLab | None = None, **extra: str) -> dict[str, str]:
    """The variables of a push to `main`."""
    variables = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_PIPELINE_SOURCE": "push",
        "CI_COMMIT_BRANCH": "main",
        "CI_DEFAULT_BRANCH": "main",
        "CI_COMMIT_REF_PROTECTED": "true",
        "CI_PROJECT_ID": "7",
        "CI_PROJECT_DIR": str(repository),
        "CI_JOB_TOKEN": "job-token",
        "NO_COLOR": "1",
    }
    if gitlab is not None:
        variables["CI_API_V4_URL"] = api_url(gitlab)
    return {**variables, **extra}


def plan(repository: Path, variables: dict[str, str]) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    ran = pipelinegen("-v", "preview", "--json", cwd=repository, **variables)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), ran


def settings(repository: Path) -> str:
    return (repository / "pipelinegen.toml").read_text("utf-8")


def system_of(repository: Path, host: str) -> str:
    """The store path of a host's system, as Nix tells it."""
    attribute = f".#nixosConfigurations.{host}.config.system.build.toplevel.outPath"
    command = ["nix", "--extra-experimental-features", "nix-command flakes", "eval", "--raw", attribute]
    return subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout


def deploy_decisions(found: dict[str, Any]) -> dict[str, str]:
    hosts = (output for output in found["outputs"] if output["kind"] == "nixos")
    return {host["attr"].rsplit(".", 1)[-1]: host["decisions"]["deploy"]["decision"] for host in hosts}


def test_only_hosts_whose_last_deployment_differs_are_deployed(repository: Path, gitlab: FakeGitLab) -> None:
    for host in ("db1", "web1", "web2"):
        gitlab.deployment(host, git(repository, "rev-parse", "HEAD"), "success", job="success")
    text = (repository / "pkgs" / "libdisk.nix").read_text("utf-8")
    commit(repository, {"pkgs/libdisk.nix": text.replace("/database", "/data")}, "change what only db1 has")
    found, _ = plan(repository, push(repository, gitlab))
    assert deploy_decisions(found) == {"db1": "run", "web1": "skip", "web2": "skip"}


def test_a_host_whose_system_is_told_needs_no_evaluation_of_its_commit(repository: Path, gitlab: FakeGitLab) -> None:
    for number, host in enumerate(("db1", "web1", "web2")):
        gone = str(number) * 40  # a commit that nobody has any more
        gitlab.deployment(host, gone, "success", job="success")
        gitlab.environment(host)["description"] = describe("", gone, system_of(repository, host))
    found, ran = plan(repository, push(repository, gitlab))
    assert set(deploy_decisions(found).values()) == {"skip"}, ran.stderr


def test_hosts_beyond_the_number_of_commits_that_may_be_evaluated_are_deployed(
    repository: Path, gitlab: FakeGitLab
) -> None:
    commits = [git(repository, "rev-parse", "HEAD")]
    commits += [commit(repository, {"notes.txt": str(number)}) for number in range(3)]
    commit(repository, {"pipelinegen.toml": f"{settings(repository)}\n[evaluation]\nmax_bases = 1\n"})
    for host, given in (("db1", commits[0]), ("web1", commits[1]), ("web2", commits[1])):
        gitlab.deployment(host, given, "success", job="success")
    found, ran = plan(repository, push(repository, gitlab))
    assert deploy_decisions(found) == {"db1": "run", "web1": "skip", "web2": "skip"}
    assert f"evaluating {commits[1][:12]}" in ran.stderr
    assert f"what db1 was last given is not known: evaluating {commits[0][:12]} would be one commit more" in ran.stderr


def test_a_deployment_that_is_not_known_means_deploy(repository: Path, gitlab: FakeGitLab) -> None:
    gitlab.refuse(500)
    found, ran = plan(repository, push(repository, gitlab))
    assert set(deploy_decisions(found).values()) == {"run"}
    reasons = next(one for one in found["outputs"] if one["kind"] == "nixos")["decisions"]["deploy"]["reasons"]
    assert "GitLab does not tell its deployments" in reasons
    assert "GitLab does not tell the deployments" in ran.stderr
    assert "job-token" not in ran.stderr


def test_irrelevant_files_skip_evaluation_only_after_a_base_that_passed(repository: Path, gitlab: FakeGitLab) -> None:
    before = git(repository, "rev-parse", "HEAD")
    commit(repository, {"README.md": "# Other words\n"}, "documentation")
    gitlab.passed = before
    known = push(repository, gitlab, PIPELINEGEN_TOKEN="project-token", CI_COMMIT_BEFORE_SHA=before)
    found, ran = plan(repository, known)
    assert [job["name"] for job in found["jobs"]] == ["nothing-to-do"]
    assert found["outputs"] == []
    assert " eval " not in ran.stderr, "no evaluator was started"
    assert "evaluating" not in ran.stderr
    unknown, _ = plan(repository, push(repository, CI_COMMIT_BEFORE_SHA=before))
    assert unknown["outputs"]


def test_a_base_evaluation_is_kept_for_the_next_time(repository: Path) -> None:
    before = git(repository, "rev-parse", "HEAD")
    commit(repository, {"README.md": "# Other words\n"}, "documentation")
    variables = push(repository, CI_COMMIT_BEFORE_SHA=before)
    first, ran = plan(repository, variables)
    assert f"evaluating {before[:12]}" in ran.stderr
    again, ran = plan(repository, variables)
    assert f"evaluating {before[:12]}" not in ran.stderr
    assert again == first
    assert {output["status"] for output in first["outputs"]} == {"unchanged"}


def test_a_merge_request_neither_pushes_nor_deploys(repository: Path) -> None:
    base = git(repository, "rev-parse", "HEAD")
    variables = push(
        repository,
        CI_PIPELINE_SOURCE="merge_request_event",
        CI_COMMIT_BRANCH="",
        CI_MERGE_REQUEST_IID="1",
        CI_MERGE_REQUEST_EVENT_TYPE="detached",
        CI_MERGE_REQUEST_DIFF_BASE_SHA=base,
        CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main",
    )
    found, _ = plan(repository, variables)
    assert {job["stage"] for job in found["jobs"] if job["name"] != RECORD_JOB} == {"build", "test"}
    assert set(deploy_decisions(found).values()) == {"skip"}


def test_the_kept_cache_is_inside_the_project_where_gitlab_can_keep_it(repository: Path) -> None:
    before = git(repository, "rev-parse", "HEAD")
    commit(repository, {"README.md": "# Other words\n"}, "documentation")
    plan(repository, push(repository, CI_COMMIT_BEFORE_SHA=before))
    assert list((repository / ".pipelinegen-cache").iterdir())


def test_a_change_of_the_settings_is_never_irrelevant(repository: Path, gitlab: FakeGitLab) -> None:
    commit(repository, {"settings.toml": 'ignore_paths = ["*"]\n'}, "settings of another name")
    before = git(repository, "rev-parse", "HEAD")
    commit(repository, {"settings.toml": 'ignore_paths = ["*"]\n# changed\n'}, "change them")
    gitlab.passed = before
    variables = push(repository, gitlab, PIPELINEGEN_TOKEN="project-token", CI_COMMIT_BEFORE_SHA=before)
    ran = pipelinegen("--config", "settings.toml", "preview", "--json", cwd=repository, **variables)
    assert json.loads(ran.stdout)["outputs"]


def test_a_server_older_than_the_settings_say_is_a_warning(repository: Path) -> None:
    _, ran = plan(repository, push(repository, CI_SERVER_VERSION="16.2.1-ee"))
    assert "the server is GitLab 16.2.1-ee" in ran.stderr


def test_a_schedule_keeps_a_cache_warm_and_a_push_does_not(repository: Path, tmp_path: Path) -> None:
    cache = f'[caches.fleet]\nurl = "file://{tmp_path}/cache"\nwriters = "protected"\npublish = true\n'
    text = (repository / "pipelinegen.toml").read_text("utf-8")
    warm = 'warm = ["nixosConfigurations.web?"]\n'
    commit(repository, {"pipelinegen.toml": f"{text}\n{cache}{warm}"}, "a cache that is kept warm")

    def kept(source: str) -> set[str]:
        found, _ = plan(repository, push(repository, CI_PIPELINE_SOURCE=source))
        reasons = {one["attr"]: one["decisions"].get("push", {"reasons": []})["reasons"] for one in found["outputs"]}
        return {attr for attr, some in reasons.items() if "scheduled: keeps it" in " ".join(some)}

    assert kept("push") == set()
    assert kept("schedule") == {"nixosConfigurations.web1", "nixosConfigurations.web2"}
