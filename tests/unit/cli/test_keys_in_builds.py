"""`generate` in a job that holds the key to what publishes or deploys."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.cli import run_command_line

HOST = '[hosts.web1]\naddress = "web1"\nssh_key_file = "op://v/ssh/key"\n'
READER = '[caches.up]\nurl = "https://cache.invalid"\nnetrc_file = "op://ci/up/netrc"\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", "ops_geheim")
    monkeypatch.delenv("PIPELINEGEN_TOKEN", raising=False)
    return tmp_path


def generate(project: Path, text: str) -> int:
    (project / "pipelinegen.toml").write_text(text)
    return run_command_line(["-C", str(project), "generate", "-o", "out"])


def test_a_service_account_that_opens_a_deploy_key_is_refused_before_anything_is_evaluated(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(project, HOST) == 2
    said = capsys.readouterr().err
    assert "error: OP_SERVICE_ACCOUNT_TOKEN is in jobs that build" in said
    assert "opens op://v/ssh/key" in said
    assert "environments of the jobs that push and deploy" in said
    assert "geheim" not in said
    assert not (project / "out").exists()


def test_where_builds_have_a_service_account_of_their_own_or_none_it_goes_on(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate(project, HOST + READER) == 5, "there is no Nix"
    monkeypatch.delenv("OP_SERVICE_ACCOUNT_TOKEN")
    assert generate(project, HOST) == 5
    assert "is in jobs that build" not in capsys.readouterr().err


def test_outside_of_ci_nobody_builds_but_its_owner(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITLAB_CI")
    assert generate(project, HOST) == 5


def test_a_mere_doubt_is_a_warning(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(project, '[hosts.web1]\naddress = "web1"\n') == 5
    said = capsys.readouterr().err
    assert "warning: jobs that evaluate and build have OP_SERVICE_ACCOUNT_TOKEN, which opens secrets that" in said
