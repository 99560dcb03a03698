"""GitLab's API over real HTTP: the answers we use, and a server that misbehaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from pipelinegen import gitlab_api
from pipelinegen.ci_env import CiEnv

SHA = "a" * 40


class FakeGitLab(ThreadingHTTPServer):
    """The two listings that we read, as https://docs.gitlab.com/api/deployments/ and /pipelines/ describe."""

    daemon_threads = True
    status = 200
    seen: list[tuple[str, dict[str, list[str]], dict[str, str]]]


class Handler(BaseHTTPRequestHandler):
    server: FakeGitLab

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.seen.append((url.path, parse_qs(url.query), dict(self.headers)))
        body: object = {"message": "refused"}
        if self.server.status == 200:
            rows = {"deployments": [{"id": 1, "sha": SHA}], "pipelines": [{"id": 2, "sha": SHA}]}
            body = rows[url.path.rsplit("/", 1)[-1]]
        data = json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Be quiet."""


@pytest.fixture
def server() -> Iterator[FakeGitLab]:
    fake = FakeGitLab(("127.0.0.1", 0), Handler)
    fake.seen = []
    thread = threading.Thread(target=fake.serve_forever, daemon=True)
    thread.start()
    yield fake
    fake.shutdown()
    fake.server_close()
    thread.join()


def env(server: FakeGitLab) -> CiEnv:
    return CiEnv(in_ci=True, gitlab=True, project_id="7", api_url=f"http://127.0.0.1:{server.server_address[1]}/api/v4")


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
    assert query["status"] == ["success"]
    assert query["sort"] == ["desc"]
    assert headers["JOB-TOKEN"] == "job-token"


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
