"""The ladder of fetches: what is fetched, what is left as it was, and what never shows in a message."""

from __future__ import annotations

import base64
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelinegen.changes.fetch import ORIGIN, Fetcher, url_source
from pipelinegen.changes.read import Repository
from tests.gitrepo import clone_shallow, commit, git, make_repo, make_server, push
from tests.integration.changes.conftest import Clone, Project

pytestmark = pytest.mark.processes

MISSING = "1" * 40
TOKEN = "glcbt-64_secret"


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server whose main is longer than all steps but the last bring; `side` left it 50 commits ago."""

    def commits(branch: str, start: str, numbers: range) -> str:
        return f"reset refs/heads/{branch}\n{start}" + "".join(
            f"commit refs/heads/{branch}\ncommitter T <t@example.org> {number} +0000\ndata 1\nx"
            f"\nM 100644 inline {branch}\ndata 4\n{number:04d}\n"
            for number in numbers
        )

    folder = tmp_path_factory.mktemp("long")
    work = make_repo(folder / "work")
    git(work, "fast-import", "--quiet", stdin=commits("main", "", range(1500)).encode())
    start = f"from {git(work, 'rev-parse', 'main~50')}\n"
    git(work, "fast-import", "--quiet", stdin=commits("side", start, range(1450, 1500)).encode())
    server = make_server(folder / "server.git")
    push(work, server, {f"refs/heads/{branch}": git(work, "rev-parse", branch) for branch in ("main", "side")})
    return server


class TestLadder:
    def test_a_commit_is_fetched_alone(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1])
        fetcher = Fetcher(repo, enabled=True)
        assert fetcher.obtain(project.main[5])
        assert git(repo.top, "rev-list", "--count", project.main[5]) == "1"
        assert fetcher.troubles == []

    def test_a_server_that_serves_no_ids_is_asked_for_more_history(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Only the old protocol keeps to what the server advertises.
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "0")
        server = make_server(tmp_path / "strict.git", any_commit=False)
        push(project.work, server, {"refs/heads/main": project.main[-1]})
        repo = Repository.open(clone_shallow(server, tmp_path / "clone", project.main[-1], depth=3, branch="main"))
        git(repo.top, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
        fetcher = Fetcher(repo, enabled=True)
        assert fetcher.obtain(project.main[4])
        assert any("unadvertised object" in trouble for trouble in fetcher.troubles)

    def test_history_is_lengthened_until_it_is_whole(self, long: Path, tmp_path: Path) -> None:
        root, head = git(long, "rev-list", "--max-parents=0", "main"), git(long, "rev-parse", "main")
        repo = Repository.open(clone_shallow(long, tmp_path / "clone", head, depth=1))
        assert Fetcher(repo, enabled=True).is_ancestor(root, head)

    def test_both_sides_of_a_merge_base_are_lengthened_no_more_than_it_takes(self, long: Path, tmp_path: Path) -> None:
        side = git(long, "rev-parse", "side")
        repo = Repository.open(clone_shallow(long, tmp_path / "clone", side, depth=20))
        fetcher = Fetcher(repo, enabled=True)
        tip = fetcher.tip("refs/heads/main")
        assert tip is not None
        assert fetcher.merge_base(side, tip, ref="refs/heads/main") == git(long, "rev-parse", "main~50")
        assert repo.is_shallow(), "the whole history was fetched"

    def test_no_more_history_is_fetched_than_the_answer_needs(self, project: Project, clone: Clone) -> None:
        repo = clone(project.main[-1], depth=2)
        assert Fetcher(repo, enabled=True).is_ancestor(project.main[-2], project.main[-1])
        assert git(repo.top, "rev-list", "--count", "HEAD") == "2"

    def test_a_whole_clone_stays_whole(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1], depth=None)
        fetcher = Fetcher(repo, enabled=True)
        assert fetcher.obtain(project.main[-1])
        assert not repo.is_shallow()
        assert not fetcher.obtain(MISSING)
        assert not repo.is_shallow()

    def test_a_whole_clone_stays_whole_when_a_branch_is_fetched(self, long: Path, tmp_path: Path) -> None:
        old = git(long, "rev-parse", "main~1000")
        repo = Repository.open(clone_shallow(long, tmp_path / "clone", old, depth=None))
        fetcher = Fetcher(repo, enabled=True)
        assert fetcher.tip("refs/heads/main") == git(long, "rev-parse", "main")
        assert not repo.is_shallow()
        assert fetcher.is_ancestor(old, git(long, "rev-parse", "main"))

    def test_a_shallow_clone_is_not_sent_the_whole_history_of_a_branch(self, long: Path, tmp_path: Path) -> None:
        old = git(long, "rev-parse", "main~1000")
        repo = Repository.open(clone_shallow(long, tmp_path / "clone", old, depth=1))
        tip = Fetcher(repo, enabled=True).tip("refs/heads/main")
        assert git(repo.top, "rev-list", "--count", tip or "") == "100"

    def test_a_commit_that_nobody_has_is_asked_for_once(self, project: Project, clone: Clone) -> None:
        repo = clone(project.main[-1], depth=2)
        fetcher = Fetcher(repo, enabled=True)
        assert not fetcher.obtain(MISSING)
        assert not fetcher.obtain(MISSING)
        assert len(fetcher.troubles) == 1
        assert "not our ref" in fetcher.troubles[0]
        assert git(repo.top, "rev-list", "--count", "HEAD") == "2", "more history cannot have it"

    @pytest.mark.parametrize("text", ["", "main", "--upload-pack=x", "+refs/heads/*:refs/heads/*"])
    def test_what_is_no_commit_id_is_not_asked_for(self, project: Project, clone: Clone, text: str) -> None:
        fetcher = Fetcher(clone(project.main[-1]), enabled=True)
        assert not fetcher.obtain(text)
        assert fetcher.troubles == []

    def test_nothing_is_fetched_when_that_is_not_wanted(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1])
        fetcher = Fetcher(repo, enabled=False)
        assert not fetcher.obtain(project.main[5])
        assert fetcher.tip("refs/heads/main") is None
        assert fetcher.merge_base(project.feature[-1], project.feature[-2]) == project.feature[-2]
        assert not repo.has_commit(project.main[5])

    def test_a_fetch_leaves_refs_and_head_of_the_runner_alone(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1], branch="feature")
        before = git(repo.top, "for-each-ref"), git(repo.top, "status", "--porcelain", "--branch")
        fetcher = Fetcher(repo, enabled=True)
        assert fetcher.tip("refs/heads/main") is not None
        git(repo.top, "update-ref", "-d", "refs/pipelinegen/target")
        assert before == (git(repo.top, "for-each-ref"), git(repo.top, "status", "--porcelain", "--branch"))
        assert not (repo.top / ".git/FETCH_HEAD").exists() or "main" not in (repo.top / ".git/FETCH_HEAD").read_text()

    def test_no_remote_is_a_trouble_and_no_crash(self, tmp_path: Path) -> None:
        folder = make_repo(tmp_path / "repo")
        commit(folder, {"a": "1"})
        fetcher = Fetcher(Repository.open(folder), enabled=True)
        assert not fetcher.obtain(MISSING)
        assert "'origin' does not appear to be a git repository" in fetcher.troubles[0]


class TestTime:
    def test_a_server_that_never_answers_costs_no_more_than_the_time_given(
        self, project: Project, clone: Clone
    ) -> None:
        repo = clone(project.main[-1])
        with socket.create_server(("127.0.0.1", 0)) as silent:
            git(repo.top, "remote", "set-url", "origin", f"git://127.0.0.1:{silent.getsockname()[1]}/x")
            fetcher = Fetcher(repo, enabled=True, seconds=1.0)
            started = time.monotonic()
            assert not fetcher.obtain(MISSING)
            assert fetcher.tip("refs/heads/main") is None
            assert time.monotonic() - started < 20
        assert fetcher.troubles == ["git fetch did not end within 1 s", "the time for fetching was used up"]


class TestSecrets:
    @pytest.mark.parametrize("user", [f"gitlab-ci-token:{TOKEN}@", f"{TOKEN}@"])
    def test_a_token_in_the_url_of_origin_is_never_shown(
        self, project: Project, clone: Clone, caplog: pytest.LogCaptureFixture, user: str
    ) -> None:
        caplog.set_level(logging.DEBUG)
        repo = clone(project.main[-1])
        git(repo.top, "remote", "set-url", "origin", f"http://{user}127.0.0.1:1/project.git")
        fetcher = Fetcher(repo, enabled=True)
        assert not fetcher.obtain(MISSING)
        assert "unable to access 'http://127.0.0.1:1/project.git/'" in fetcher.troubles[0]
        assert TOKEN not in "".join(fetcher.troubles) + caplog.text

    def test_a_password_in_the_target_projects_url_is_refused(self) -> None:
        assert url_source("https://user:secret@gitlab.example.org/group/project") is None

    @pytest.mark.parametrize(
        ("url", "login"),
        [
            ("https://gitlab.example.org/group/project", True),
            ("https://gitlab.example.org:8443/group/project", False),
            ("http://gitlab.example.org/group/project", False),
            ("https://elsewhere.example.org/group/project", False),
            ("https://gitlab.example.org.evil.example.org/x", False),
            ("file:///srv/project", False),
        ],
    )
    def test_the_jobs_token_goes_only_to_the_jobs_server(self, url: str, login: bool) -> None:
        source = url_source(url, like="https://gitlab.example.org/fork/project")
        assert source is not None
        assert source.job_token is login

    @pytest.mark.parametrize("url", ["", "ext::sh -c id", "--upload-pack=id", "/srv/project", "git@host:x", "http://["])
    def test_what_is_no_plain_url_is_no_source(self, url: str) -> None:
        assert url_source(url, like="https://gitlab.example.org/x") is None


@pytest.fixture
def https_like_server(project: Project) -> Iterator[tuple[str, list[str | None]]]:
    """The project behind a login over HTTP; the URL of the server and the passwords that it was given."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def answer(self) -> None:
            login = self.headers.get("Authorization")
            decoded = base64.b64decode(login.removeprefix("Basic ")).decode() if login else None
            seen.append(decoded)
            if decoded != f"gitlab-ci-token:{TOKEN}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="GitLab"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(project.server.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            head, _, content = subprocess.run(
                ["git", "http-backend"], env=environment, input=body, capture_output=True, check=True, timeout=60
            ).stdout.partition(b"\r\n\r\n")
            self.send_response(200)
            for line in head.decode().split("\r\n"):
                name, _, value = line.partition(": ")
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    thread.join()
    server.server_close()


class TestLogin:
    """A fork's pipeline asks the parent project, which may be private, with the job's token."""

    def test_the_target_project_is_read_with_the_jobs_token(
        self,
        project: Project,
        clone: Clone,
        https_like_server: tuple[str, list[str | None]],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("CI_JOB_TOKEN", TOKEN)
        url, seen = https_like_server
        source = url_source(f"{url}/server.git", like=f"{url}/fork")
        assert source is not None
        repo = clone(project.feature[-1], server=project.fork)
        kept = repo.top / "stored"
        git(repo.top, "config", "credential.helper", f"store --file={kept}")
        fetcher = Fetcher(repo, enabled=True)
        assert fetcher.tip("refs/heads/main", source) == project.main[-1], fetcher.troubles
        assert seen[:2] == [None, f"gitlab-ci-token:{TOKEN}"]
        assert TOKEN not in caplog.text
        assert not kept.exists(), "a helper of the user must not be given the token to keep"

    def test_another_server_is_not_given_the_token_and_asks_nobody(
        self,
        project: Project,
        clone: Clone,
        https_like_server: tuple[str, list[str | None]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("CI_JOB_TOKEN", TOKEN)
        url, seen = https_like_server
        source = url_source(f"{url}/server.git", like="http://gitlab.example.org/fork")
        assert source is not None
        fetcher = Fetcher(clone(project.feature[-1]), enabled=True)
        assert fetcher.tip("refs/heads/main", source) is None
        assert set(seen) == {None}
        assert "terminal prompts disabled" in fetcher.troubles[0]


def test_origin_is_where_a_runner_fetches_from() -> None:
    assert (ORIGIN.address, ORIGIN.job_token) == ("origin", False)
