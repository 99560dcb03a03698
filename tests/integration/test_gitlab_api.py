"""What is asked of GitLab's API, over real HTTP: the answers we use, and a server that misbehaves."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pipelinegen import gitlab_api, gitlab_transport
from pipelinegen.ci_env import CiEnv
from pipelinegen.gitlab_deployments import LastDeployment, describe, last_deployed
from tests.gitlab_server import JOB_TOKEN, PROJECT, PROJECT_TOKEN, SHA, FakeGitLab, Fault, api_url, running_gitlab

OTHER = "b" * 40
SYSTEM = "/nix/store/00000000000000000000000000000000-nixos-system-web1"
OF_JOB = {"CI_JOB_TOKEN": JOB_TOKEN}
TOKENS = {"CI_JOB_TOKEN": JOB_TOKEN, "PIPELINEGEN_TOKEN": PROJECT_TOKEN}


@pytest.fixture
def server() -> Iterator[FakeGitLab]:
    with running_gitlab() as made:
        yield made


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)


def connect(
    server: FakeGitLab, monkeypatch: pytest.MonkeyPatch, tokens: dict[str, str], *, seconds: float = 20
) -> gitlab_api.GitLabApi:
    for name, value in tokens.items():
        monkeypatch.setenv(name, value)
    env = CiEnv(in_ci=True, gitlab=True, project_id=PROJECT, api_url=api_url(server))
    api = gitlab_api.connect(env, seconds=seconds)
    assert api is not None
    return api


def asked(server: FakeGitLab, monkeypatch: pytest.MonkeyPatch, environment: str = "web1") -> LastDeployment:
    """What a job learns of an environment."""
    return last_deployed(connect(server, monkeypatch, OF_JOB), environment)


def test_the_jobs_own_token_reads_the_last_successful_deployment(
    server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.deployment("web1", OTHER, "failed", job="failed")
    server.deployment("web1", SHA, "success", job="success")
    server.deployment("web10", OTHER, "success", job="success")
    assert asked(server, monkeypatch) == LastDeployment(commit=SHA)
    path, query, headers = server.seen[0]
    assert path == f"/api/v4/projects/{PROJECT}/deployments"
    assert (query["environment"], query["order_by"], query["sort"]) == (["web1"], ["id"], ["desc"])
    assert headers["JOB-TOKEN"] == JOB_TOKEN


def test_an_environment_that_was_never_deployed_is_not_known(
    server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.environment("web1")["description"] = describe("", SHA, SYSTEM)
    assert asked(server, monkeypatch).unknown == "it was never deployed by a pipeline"


@pytest.mark.parametrize(
    ("later", "known"),
    [
        ([("failed", "failed")], False),
        ([("canceled", "canceled")], False),
        ([("running", "running")], False),
        ([("failed", "failed"), ("created", "manual")], False),
        ([("failed", None)], False),
        ([("created", "waiting_for_resource")], False),
        ([("skipped", "skipped"), ("created", "pending"), ("blocked", "manual")], False),
        ([("created", "manual"), ("blocked", "manual"), ("skipped", "skipped")], True),
        ([("created", "manual")] * 70, True),
        ([("mystery", "success")], False),
    ],
    ids=[
        "failed",
        "cancelled",
        "running",
        "failed before one that waits for somebody",
        "recorded as failed",
        "one waits for its turn",
        "one waits among others",
        "none started",
        "none started, on several pages",
        "a status of the future",
    ],
)
def test_a_deployment_that_may_have_changed_or_will_change_the_host_makes_its_system_unknown(
    later: list[tuple[str, str | None]], known: bool, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.deployment("web1", SHA, "success", job="success")
    for status, job in later:
        server.deployment("web1", OTHER, status, job=job)
    found = asked(server, monkeypatch)
    assert (found.commit == SHA) is known
    assert (found.unknown is None) is known


@pytest.mark.parametrize("headers", [True, False], ids=["told by headers", "headers dropped by a proxy"])
def test_pages_are_followed_at_the_address_of_the_job(
    headers: bool, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.headers_of_pages = headers
    server.deployment("web1", SHA, "success", job="success")
    for _ in range(130):
        server.deployment("web1", OTHER, "skipped", job="skipped")
    assert asked(server, monkeypatch).commit == SHA
    pages = [query["page"] for path, query, _ in server.seen if "updated_after" not in query and "deploy" in path]
    assert pages == [[str(number)] for number in range(1, 8)]


def test_what_lies_behind_too_many_pages_is_not_known(server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitlab_api, "MAX_PAGES", 2)
    server.deployment("web1", SHA, "success", job="success")
    for _ in range(60):
        server.deployment("web1", OTHER, "skipped", job="skipped")
    api = connect(server, monkeypatch, OF_JOB)
    assert last_deployed(api, "web1").commit is None
    assert api.troubles == ["GitLab lists too many deployments: more than 40"]


def test_the_job_of_an_old_pipeline_that_ran_last_makes_the_system_unknown(
    server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = server.deployment("web1", OTHER, "created", job="manual")
    server.deployment("web1", SHA, "success", job="success")
    assert asked(server, monkeypatch).commit == SHA
    server.finish(old, "success")
    assert asked(server, monkeypatch).unknown == "an older deployment of it ran after its last one"


class TestTheDescription:
    """The environment's description names the system that its last deployment brought."""

    def test_of_the_same_commit_is_believed(self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
        server.deployment("web1", SHA, "success", job="success")
        server.environment("web1")["description"] = describe("The *first* of them.\r\n\r\nSee there.", SHA, SYSTEM)
        server.environment("web11")["description"] = describe("", SHA, SYSTEM.replace("web1", "web11"))
        assert asked(server, monkeypatch) == LastDeployment(commit=SHA, system=SYSTEM)

    @pytest.mark.parametrize(
        "description",
        [
            describe("", OTHER, SYSTEM),
            describe("", None, None),
            f"pipelinegen: {SHA} {SYSTEM} or so",
            f"pipelinegen: {SHA} {SYSTEM}\npipelinegen: {SHA} {SYSTEM}",
            f"Pipelinegen: {SHA} {SYSTEM}",
            f"pipelinegen: {SHA[:12]} {SYSTEM}",
            f"pipelinegen: {SHA} nixos-system-web1",
            f"pipelinegen: {SHA} {SYSTEM}\x00",
            "pipelinegen: see the wiki",
        ],
        ids=[
            "of another commit",
            "that says so",
            "more words",
            "twice",
            "capital letter",
            "short commit",
            "no path",
            "control character",
            "of people",
        ],
    )
    def test_that_may_not_be_ours_makes_it_unknown(
        self, description: str, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.deployment("web1", SHA, "success", job="success")
        server.environment("web1")["description"] = description
        found = asked(server, monkeypatch)
        assert (found.commit, found.system) == (None, None)
        assert found.unknown

    @pytest.mark.parametrize("description", [None, "", "ask the admins about pipelinegen: they know"])
    def test_without_our_line_leaves_the_commit(
        self, description: str | None, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.deployment("web1", SHA, "success", job="success")
        server.environment("web1")["description"] = description
        assert asked(server, monkeypatch) == LastDeployment(commit=SHA)

    def test_that_cannot_be_read_makes_it_unknown(self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
        server.deployment("web1", SHA, "success", job="success")
        server.faults = [Fault(403, only="/environments")]
        assert asked(server, monkeypatch).commit is None


class TestTokens:
    """Two tokens, of which each may something else."""

    def test_the_jobs_own_is_not_tried_on_pipelines(self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
        assert connect(server, monkeypatch, OF_JOB).last_passed("main") is None
        assert server.seen == []

    def test_a_project_token_reads_the_last_passed_pipeline(
        self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        api = connect(server, monkeypatch, {"PIPELINEGEN_TOKEN": PROJECT_TOKEN})
        assert api.last_passed("main") == SHA
        assert server.seen[0][1]["ref"] == ["main"]

    @pytest.mark.parametrize(
        "tokens", [{"PIPELINEGEN_TOKEN": "of-last-year"}, {"PIPELINEGEN_TOKEN": f"{PROJECT_TOKEN}\n"}]
    )
    def test_deployments_are_read_where_either_may(
        self, tokens: dict[str, str], server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.deployment("web1", SHA, "success", job="success")
        api = connect(server, monkeypatch, TOKENS | tokens)
        assert last_deployed(api, "web1").commit == SHA
        assert api.troubles == []

    def test_an_old_gitlab_takes_only_the_project_token(
        self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.job_token_may = False
        server.deployment("web1", SHA, "success", job="success")
        assert last_deployed(connect(server, monkeypatch, OF_JOB), "web1").commit is None
        assert last_deployed(connect(server, monkeypatch, TOKENS), "web1").commit == SHA

    def test_what_was_refused_is_not_asked_for_each_host(
        self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.refuse(403)
        api = connect(server, monkeypatch, TOKENS)
        for number in range(20):
            assert last_deployed(api, f"web{number}").unknown == "GitLab does not tell its deployments"
        assert len(server.seen) == 2

    @pytest.mark.parametrize("missing", ["project_id", "api_url"])
    def test_without_a_job_there_is_no_api(self, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CI_JOB_TOKEN", JOB_TOKEN)
        values = {"project_id": PROJECT, "api_url": "http://127.0.0.1:1/api/v4", missing: None}
        assert gitlab_api.connect(CiEnv(gitlab=True, **values)) is None

    def test_without_a_token_there_is_no_api(self) -> None:
        env = CiEnv(gitlab=True, project_id=PROJECT, api_url="http://127.0.0.1:1/api/v4")
        assert gitlab_api.connect(env) is None


class TestTroubles:
    """A server that does not answer as it should."""

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
    def test_a_refusal_is_not_known_at_once_and_tells_no_token(
        self, status: int, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.refuse(status)
        api = connect(server, monkeypatch, OF_JOB)
        assert last_deployed(api, "web1").commit is None
        assert len(server.seen) == 1
        assert api.troubles[0].startswith(f"GitLab does not tell the deployments: {status} ")
        assert JOB_TOKEN not in api.troubles[0]
        assert "[secret]" in api.troubles[0], "the server repeats the token in its message"

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(503, times=2),
            Fault(502, page="<html>Bad gateway</html>", times=1),
            Fault(429, {"Retry-After": "1"}, times=1),
            Fault(429, {"RateLimit-Reset": "1"}, times=2),
            Fault(act="reset", times=2),
        ],
        ids=["503", "502 of a proxy", "429 with Retry-After", "429 with RateLimit-Reset", "reset"],
    )
    def test_what_passes_is_waited_for(self, fault: Fault, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
        server.deployment("web1", SHA, "success", job="success")
        server.faults = [fault]
        started = time.monotonic()
        assert asked(server, monkeypatch).commit == SHA
        assert time.monotonic() - started >= float(fault.headers.get("Retry-After", 0))

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (Fault(429, {"Retry-After": "3600"}), "429 Too Many Requests"),
            (Fault(429, {"Retry-After": "Mon, 01 Jan 2035 00:00:00 GMT"}), "429 Too Many Requests"),
            (Fault(429, {"Retry-After": "soon"}), "429 Too Many Requests"),
            (Fault(500), "500 Internal Server Error"),
            (Fault(522, page="<html>"), "status 522"),
            (Fault(200, page="<html>Please log in</html>"), "the answer is no JSON"),
            (Fault(act="reset"), "ConnectionError"),
            (Fault(act="stall"), "no answer|Timeout"),
            (Fault(act="drip"), "no answer within"),
        ],
        ids=["an hour", "years", "nonsense", "500", "of a proxy", "a page", "reset", "stall", "drip"],
    )
    def test_what_does_not_pass_is_given_up_in_bounded_time(
        self, fault: Fault, said: str, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gitlab_transport, "TIMEOUT", 0.5)
        server.faults = [fault]
        api = connect(server, monkeypatch, OF_JOB, seconds=2)
        started = time.monotonic()
        found = [last_deployed(api, f"web{number}") for number in range(30)]
        assert {one.unknown for one in found} == {"GitLab does not tell its deployments"}
        assert time.monotonic() - started < 6
        assert any(part in api.troubles[0] for part in said.split("|")), api.troubles[0]
        assert JOB_TOKEN not in " ".join(api.troubles)

    def test_a_server_that_is_away_is_not_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CI_JOB_TOKEN", JOB_TOKEN)
        env = CiEnv(gitlab=True, project_id=PROJECT, api_url="http://127.0.0.1:1/api/v4")
        api = gitlab_api.connect(env, seconds=2)
        assert api is not None
        assert last_deployed(api, "web1").commit is None
        assert "ConnectionError" in api.troubles[0]

    def test_a_bundle_of_certificates_that_is_not_there_is_not_known(
        self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        monkeypatch.setenv("CI_JOB_TOKEN", JOB_TOKEN)
        url = api_url(server).replace("http:", "https:")
        api = gitlab_api.connect(CiEnv(gitlab=True, project_id=PROJECT, api_url=url), seconds=2)
        assert api is not None
        assert last_deployed(api, "web1").commit is None

    @pytest.mark.parametrize("token", ["job\u2026token", "job\ntoken"], ids=["no latin letter", "line end"])
    def test_a_token_that_cannot_be_sent_is_not_known_and_not_told(
        self, token: str, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        api = connect(server, monkeypatch, {"CI_JOB_TOKEN": token}, seconds=2)
        assert last_deployed(api, "web1").commit is None
        assert "token" not in api.troubles[0].replace("[secret]", "")
