"""What GitLab is told of a deployment, over real HTTP, and what a later job then learns of the host."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest

from pipelinegen import gitlab_report, gitlab_transport
from pipelinegen.ci_env import CiEnv
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console
from pipelinegen.deploy.report import DeployReport
from pipelinegen.deploy.tell_gitlab import as_told, tell_gitlab
from pipelinegen.errors import DeployOutcome
from pipelinegen.gitlab_api import connect
from pipelinegen.gitlab_deployments import LastDeployment, describe, last_deployed
from tests.gitlab_server import JOB_TOKEN, PROJECT, PROJECT_TOKEN, SHA, FakeGitLab, Fault, api_url, running_gitlab

OLD = "0" * 40
STORE = "/nix/store/00000000000000000000000000000000"
SYSTEM, BEFORE = f"{STORE}-nixos-system-web1-2", f"{STORE}-nixos-system-web1-1"
HOST = HostConfig(address="web1.example")


@pytest.fixture
def server() -> Iterator[FakeGitLab]:
    with running_gitlab() as made:
        yield made


@pytest.fixture(autouse=True)
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_JOB_TOKEN", JOB_TOKEN)
    monkeypatch.delenv("PIPELINEGEN_TOKEN", raising=False)


def env(server: FakeGitLab, **values: str) -> CiEnv:
    return CiEnv(
        in_ci=True,
        gitlab=True,
        project_id=PROJECT,
        api_url=api_url(server),
        commit_sha=SHA,
        branch="main",
        ref_name="main",
        job_url="https://gitlab.example/fleet/-/jobs/5",
        parent_pipeline_id="41",
        pipeline_id="42",
        environment="web1",
        environment_action="start",
    ).model_copy(update=values)


def report(result: str = "deployed", *, action: str = "switch", exit_code: int = 0, **values: str) -> DeployReport:
    made = {"host": "web1", "address": "web1.example", "system": SYSTEM, "revision": SHA, "result": result}
    return DeployReport.model_validate({**made, "action": action, "exit_code": exit_code, **values})


def failed(outcome: DeployOutcome) -> DeployReport:
    return report(outcome.word, exit_code=int(outcome), message="the health check failed")


def tell(server: FakeGitLab, told: DeployReport, *, rollback: bool = False, **values: str) -> str:
    """Tell the server; what was said on stderr."""
    stream = io.StringIO()
    tell_gitlab(told, HOST, env(server, **values), Console(stream), rollback=rollback)
    return stream.getvalue()


def a_job(server: FakeGitLab, told: DeployReport, *, rollback: bool = False) -> LastDeployment:
    """A job of the environment deploys and tells; what the next pipeline then learns."""
    server.deployment("web1", OLD, "success", job="success")
    server.environment("web1")["description"] = describe("The first one.", OLD, BEFORE)
    deployment = server.deployment("web1", SHA, "running", job="running")
    assert tell(server, told, rollback=rollback) == ""
    server.finish(deployment, "failed" if told.exit_code else "success")
    api = connect(env(server))
    assert api is not None
    return last_deployed(api, "web1")


@pytest.mark.parametrize("result", ["deployed", "unchanged", "warnings"])
@pytest.mark.parametrize("action", ["switch", "boot", "reboot"])
def test_after_a_success_the_system_is_known(result: str, action: str, server: FakeGitLab) -> None:
    assert a_job(server, report(result, action=action)) == LastDeployment(commit=SHA, system=SYSTEM)
    assert server.environment("web1")["description"] == f"The first one.\npipelinegen: {SHA} {SYSTEM}"


@pytest.mark.parametrize("outcome", DeployOutcome)
def test_after_anything_else_it_is_not_known(outcome: DeployOutcome, server: FakeGitLab) -> None:
    assert a_job(server, failed(outcome)).commit is None


@pytest.mark.parametrize(
    "told",
    [
        report(action="test"),
        report("dry-run"),
        report("dry-run", action="dry-activate"),
        report(revision=OLD),
    ],
    ids=["only until the next boot", "only looked", "only asked", "another commit's system"],
)
def test_a_job_that_ends_well_without_giving_the_host_the_commits_system_for_good_makes_it_unknown(
    told: DeployReport, server: FakeGitLab
) -> None:
    assert a_job(server, told).commit is None


def test_after_a_rollback_that_went_well_it_is_not_known_in_two_ways(server: FakeGitLab) -> None:
    assert a_job(server, report(system=BEFORE), rollback=True).unknown == "its last deployment failed"
    assert (server.deployments[-1]["status"], server.deployments[-1]["sha"]) == ("failed", SHA)
    server.deployments.pop()
    api = connect(env(server))
    assert api is not None
    assert "rollback" in (last_deployed(api, "web1").unknown or "")


def test_the_next_success_makes_it_known_again(server: FakeGitLab) -> None:
    a_job(server, report(system=BEFORE), rollback=True)
    assert a_job(server, report()).system == SYSTEM


def test_a_look_at_a_host_outside_of_its_environment_changes_nothing(server: FakeGitLab) -> None:
    assert as_told(report("dry-run"), HOST, env(server, environment="")) is None
    assert as_told(report("dry-run"), HOST, env(server, environment_action="verify")) is None
    assert as_told(report("interrupted", exit_code=1), HOST, env(server)) is None


def test_a_refusal_leaves_the_description(server: FakeGitLab) -> None:
    server.environment("web1")["description"] = describe("", OLD, BEFORE)
    tell(server, failed(DeployOutcome.REFUSED))
    assert server.written == []


def test_a_host_without_an_environment_is_not_described(server: FakeGitLab) -> None:
    assert tell(server, report()) == ""
    assert server.written == []


def test_the_settings_name_the_environment(server: FakeGitLab) -> None:
    server.environment("production/web1")
    host = HOST.model_copy(update={"environment": "production/web1"})
    tell_gitlab(report(), host, env(server), Console(io.StringIO()))
    assert server.environment("production/web1")["description"] == f"pipelinegen: {SHA} {SYSTEM}"


class TestTheCommitsStatus:
    """Only the project's own token may set it."""

    def test_says_how_it_ended_and_where(self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIPELINEGEN_TOKEN", PROJECT_TOKEN)
        tell(server, report())
        tell(server, failed(DeployOutcome.ROLLED_BACK))
        assert server.statuses == [
            {
                "sha": SHA,
                "name": "deploy/web1",
                "state": state,
                "description": description,
                "ref": "main",
                "target_url": "https://gitlab.example/fleet/-/jobs/5",
                "pipeline_id": "41",
            }
            for state, description in (
                ("success", f"deployed: {SYSTEM.rpartition('/')[2]}"),
                ("failed", "the health check failed"),
            )
        ]

    def test_is_short_and_clean(self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIPELINEGEN_TOKEN", PROJECT_TOKEN)
        tell(server, report("failed", exit_code=1, message="\x1b[31mbroken\x1b[0m\n" + "very " * 100))
        assert server.statuses[0]["description"].startswith("broken very")

    def test_is_not_warned_of_where_the_token_is_only_to_read(
        self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIPELINEGEN_TOKEN", PROJECT_TOKEN)
        server.scope = "read_api"
        server.environment("web1")
        said = tell(server, report())
        assert "status of the commit: 403 Forbidden" in said
        assert "warning" not in said
        assert server.environment("web1")["description"], "the job's own token may write that"


class TestTroubles:
    """They are warnings, and never take long."""

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
    def test_each_step_is_tried_and_warned_of(
        self, status: int, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gitlab_transport, "PAUSES", (0.01,))
        monkeypatch.setenv("PIPELINEGEN_TOKEN", PROJECT_TOKEN)
        server.refuse(status)
        said = tell(server, report(), rollback=True)
        assert [line.split(":")[1].strip() for line in said.splitlines()] == [
            "GitLab does not take the record of a deployment",
            "GitLab does not tell the environments",
            "GitLab does not take the status of the commit",
        ]
        assert JOB_TOKEN not in said
        assert PROJECT_TOKEN not in said

    @pytest.mark.parametrize("act", ["stall", "drip", "reset"])
    def test_a_server_that_hangs_holds_nobody_up(
        self, act: str, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gitlab_report, "SECONDS", 3.0)
        monkeypatch.setenv("PIPELINEGEN_TOKEN", PROJECT_TOKEN)
        server.faults = [Fault(act=act)]
        started = time.monotonic()
        said = tell(server, report(), rollback=True)
        assert time.monotonic() - started < 7
        assert said.count("warning:") == 3

    def test_one_step_that_fails_keeps_no_other_from_being_made(
        self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIPELINEGEN_TOKEN", PROJECT_TOKEN)
        server.environment("web1")
        server.faults = [Fault(403, only="/deployments")]
        said = tell(server, report(), rollback=True)
        assert said.count("warning:") == 1
        assert [path.split("/")[1] for _, path, _ in server.written] == ["environments", "statuses"]

    def test_an_environment_that_only_the_project_token_may_write_is_written(
        self, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIPELINEGEN_TOKEN", PROJECT_TOKEN)
        server.environment("web1")
        server.job_token_may = False
        assert tell(server, report()) == ""
        assert server.environment("web1")["description"]

    def test_outside_of_gitlab_nothing_is_told(self, server: FakeGitLab) -> None:
        stream = io.StringIO()
        tell_gitlab(report(), HOST, CiEnv(), Console(stream))
        assert (stream.getvalue(), server.seen) == ("", [])
