"""GitLab's API over real HTTP: the answers we use, and a server that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelinegen import gitlab_api
from pipelinegen.ci_env import CiEnv
from tests.gitlab_server import SHA, FakeGitLab, api_url, running_gitlab


@pytest.fixture
def server() -> Iterator[FakeGitLab]:
    with running_gitlab() as made:
        yield made


def env(server: FakeGitLab) -> CiEnv:
    return CiEnv(in_ci=True, gitlab=True, project_id="7", api_url=api_url(server))


def connect(server: FakeGitLab, monkeypatch: pytest.MonkeyPatch, **tokens: str) -> gitlab_api.GitLabApi:
    monkeypatch.delenv("PIPELINEGEN_TOKEN", raising=False)
    monkeypatch.delenv("CI_JOB_TOKEN", raising=False)
    for name, value in tokens.items():
        monkeypatch.setenv(name, value)
    api = gitlab_api.connect(env(server))
    assert api is not None
    return api


def test_the_jobs_own_token_reads_the_last_successful_deployment(
    server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = connect(server, monkeypatch, CI_JOB_TOKEN="job-token")
    assert api.last_deployed("web1") == SHA
    ((path, query, headers),) = server.seen
    assert path == "/api/v4/projects/7/deployments"
    assert query["environment"] == ["web1"]
    assert query["order_by"] == ["id"]
    assert query["sort"] == ["desc"]
    assert headers["JOB-TOKEN"] == "job-token"


@pytest.mark.parametrize(
    ("later", "known"),
    [
        (("failed",), False),
        (("canceled",), False),
        (("running",), False),
        (("created", "failed"), False),
        (("created", "blocked", "skipped"), True),
    ],
    ids=["failed", "cancelled", "running", "failed before one that waits", "none started"],
)
def test_a_deployment_that_may_have_changed_the_host_makes_its_system_unknown(
    later: tuple[str, ...], known: bool, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.later = later
    assert (connect(server, monkeypatch, CI_JOB_TOKEN="job-token").last_deployed("web1") == SHA) is known


def test_the_jobs_own_token_is_not_tried_on_pipelines(server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert connect(server, monkeypatch, CI_JOB_TOKEN="job-token").last_passed("main") is None
    assert server.seen == []


def test_a_project_token_reads_the_last_passed_pipeline(server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    api = connect(server, monkeypatch, PIPELINEGEN_TOKEN="project-token")
    assert api.last_passed("main") == SHA
    assert server.seen[0][1]["ref"] == ["main"]


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_server_that_refuses_is_not_known_and_the_token_is_not_told(
    status: int, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = status
    api = connect(server, monkeypatch, CI_JOB_TOKEN="job-token")
    assert api.last_deployed("web1") is None
    assert "deployments" in api.troubles[0]
    assert "job-token" not in api.troubles[0]


def test_a_server_that_is_away_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_JOB_TOKEN", "job-token")
    api = gitlab_api.connect(CiEnv(gitlab=True, project_id="7", api_url="http://127.0.0.1:1/api/v4"))
    assert api is not None
    assert api.last_deployed("web1") is None
    assert api.troubles


@pytest.mark.parametrize("missing", ["project_id", "api_url"])
def test_outside_of_a_gitlab_job_there_is_no_api(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_JOB_TOKEN", "job-token")
    values = {"project_id": "7", "api_url": "http://127.0.0.1:1/api/v4", missing: None}
    assert gitlab_api.connect(CiEnv(gitlab=True, **values)) is None
