"""What `run deploy` and `generations` are told: which options go together, and what they default to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.changes.newer import Newer
from pipelinegen.cli import run_command_line
from pipelinegen.cli.deploy import ACTIONS
from pipelinegen.config_hosts import HostConfig
from pipelinegen.deploy import deployment
from pipelinegen.deploy.report import Action, DeployReport

SYSTEM = f"/nix/store/{'a' * 32}-nixos-system-web1"
COMMIT = "0123456789" * 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("CI_COMMIT_SHA", "PIPELINEGEN_ALLOW_OLDER"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pipelinegen.toml").write_text('[hosts.web1]\naddress = "192.0.2.1"\naction = "boot"\n')
    return tmp_path


@pytest.fixture
def told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command tells `run_deploy`, which does nothing."""
    kept: dict[str, Any] = {}

    def keep(name: str, system: str | None, **rest: Any) -> DeployReport:
        kept.update(rest, name=name, system=system)
        return DeployReport(host=name, address="", system=system or "", result="deployed")

    monkeypatch.setattr(deployment, "run_deploy", keep)
    return kept


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        pytest.param((), "there is nothing to deploy", "--rollback [GENERATION]", id="neither system nor rollback"),
        pytest.param(("--system", SYSTEM, "--rollback", "3"), "exclude each other", "the host has", id="both"),
        pytest.param(("--rollback", "--revision", COMMIT), "--revision is of a --system", "its own", id="revision"),
        pytest.param(("--rollback", "0"), "'0' is no generation's number", "--help", id="generation 0"),
        pytest.param(("--rollback", "-1"), "no such option", "--help", id="generation -1"),
        pytest.param(
            ("--system", SYSTEM, "--dry-run", "--action", "dry-activate"), "exclude each other", "looks", id="dry twice"
        ),
        pytest.param(("--system", SYSTEM, "--revision", "main"), "is no commit id", "git rev-parse", id="branch"),
        pytest.param(("--system", SYSTEM, "--timeout", "soon"), "is no duration", "20 minutes", id="duration"),
        pytest.param(("--system", SYSTEM, "--timeout", "0"), "is no duration", "20 minutes", id="no time"),
        pytest.param(("--system", SYSTEM, "--action", "explode"), "'explode' is not one of", "--help", id="action"),
        pytest.param(("--system", SYSTEM, "--settings", "{"), "no JSON", "", id="settings that are no JSON"),
        pytest.param(("--system", SYSTEM, "--settings", "[1]"), "no JSON object", "", id="settings that are a list"),
        pytest.param(
            ("--system", SYSTEM, "--settings", '{"adress": "x"}'), "did you mean 'address'", "schema", id="unknown key"
        ),
    ],
)
def test_options_that_make_no_sense_are_wrong_use(
    told: dict[str, Any], capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str, hint: str
) -> None:
    assert run_command_line(["run", "deploy", "web1", *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert hint in said
    assert not told


def test_a_host_that_a_bare_rollback_swallows_is_told_where_it_belongs(
    told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["run", "deploy", "--rollback", "web1"]) == 2
    said = capsys.readouterr().err
    assert "HOST comes before a bare --rollback" in said
    assert not told


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param(("--rollback",), "previous", id="bare"),
        pytest.param(("--rollback", "previous"), "previous", id="by word"),
        pytest.param(("--rollback", "41"), 41, id="by number"),
        pytest.param(("--rollback", "--dry-run"), "previous", id="before another option"),
    ],
)
def test_a_rollback_names_a_generation_or_means_the_previous_one(
    told: dict[str, Any], options: tuple[str, ...], wanted: object
) -> None:
    assert run_command_line(["run", "deploy", "web1", *options]) == 0
    assert (told["system"], told["rollback"]) == (None, wanted)


def test_what_is_not_said_is_left_to_the_settings_of_the_host(told: dict[str, Any]) -> None:
    assert run_command_line(["run", "deploy", "web1", "--system", SYSTEM]) == 0
    assert told["system"] == SYSTEM
    assert [told[name] for name in ("action", "rollback", "timeout", "revision")] == [None] * 4
    assert not told["dry_run"]
    assert not told["allow_older"]
    assert set(told["reports"].model_dump().values()) == {None}
    assert told["config"].hosts["web1"].action == "boot"


def test_what_is_said_arrives(told: dict[str, Any], folder: Path) -> None:
    options = ["--action", "test", "--timeout", "1h 30m", "--revision", COMMIT, "--allow-older", "--dry-run"]
    reports = ["--report", "a.json", "--markdown", "b.md", "--junit", "c.xml", "--metrics", "d.txt"]
    assert run_command_line(["run", "deploy", "web1", "--system", SYSTEM, *options, *reports]) == 0
    assert (told["action"], told["timeout"], told["revision"]) == ("test", 5400, COMMIT)
    assert told["allow_older"]
    assert told["dry_run"]
    assert isinstance(told["newer"], Newer)
    assert [file.relative_to(folder).name for file in told["reports"].model_dump().values()] == [
        *("a.json", "b.md", "c.xml", "d.txt")
    ]


def test_every_action_can_be_asked_for() -> None:
    assert set(ACTIONS) == set(Action.__args__)  # type: ignore[attr-defined]


def test_the_commit_of_the_pipeline_is_that_of_the_system_but_not_of_a_generation(
    told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_COMMIT_SHA", COMMIT)
    assert run_command_line(["run", "deploy", "web1", "--system", SYSTEM]) == 0
    assert told["revision"] == COMMIT
    assert run_command_line(["run", "deploy", "web1", "--rollback"]) == 0
    assert told["revision"] is None


@pytest.mark.parametrize(("value", "allowed"), [("1", True), ("TRUE", True), ("0", False), ("no", False), ("", False)])
def test_a_variable_lets_an_old_job_deploy(
    told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, value: str, *, allowed: bool
) -> None:
    monkeypatch.setenv("PIPELINEGEN_ALLOW_OLDER", value)
    assert run_command_line(["run", "deploy", "web1", "--system", SYSTEM]) == 0
    assert told["allow_older"] is allowed


def test_settings_win_over_those_of_the_file_key_by_key(told: dict[str, Any]) -> None:
    settings = json.dumps({"port": 2222, "action": "reboot"})
    assert run_command_line(["run", "deploy", "web1", "--system", SYSTEM, "--settings", settings]) == 0
    host: HostConfig = told["config"].hosts["web1"]
    assert (host.address, host.port, host.action) == ("192.0.2.1", 2222, "reboot")


def test_settings_bring_a_host_that_the_file_does_not_have(told: dict[str, Any], folder: Path) -> None:
    settings = json.dumps({"address": "192.0.2.7", "known_hosts_file": "known", "ssh_key_file": "$KEY"})
    assert run_command_line(["run", "deploy", "web7", "--system", SYSTEM, "--settings", settings]) == 0
    hosts = told["config"].hosts
    assert set(hosts) == {"web1", "web7"}
    assert (hosts["web7"].known_hosts_file, hosts["web7"].ssh_key_file) == (str(folder / "known"), "$KEY")


@pytest.mark.parametrize("command", [("run", "deploy", "--system", SYSTEM), ("generations",)], ids=" ".join)
def test_a_host_that_is_not_configured_is_wrong_use_with_a_close_match(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert folder.is_dir()
    assert run_command_line([*command, "wbe1"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'web1'?" in said
    assert "configured: web1" in said


def test_the_help_tells_what_becomes_of_gitlab_s_button_to_roll_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["run", "deploy", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "run an OLD job once more" in said
    assert "PIPELINEGEN_ALLOW_OLDER=1" in said
    assert "--rollback [GENERATION]" in said


def test_a_report_from_before_does_not_outlive_a_deployment_that_breaks_off_early(folder: Path) -> None:
    old = folder / "web1.json"
    old.write_text('{"host": "web1", "address": "", "system": "/s", "result": "deployed"}')
    arguments = ["run", "deploy", "web1", "--system", SYSTEM, "--settings", "{", "--report", "web1.json"]
    assert run_command_line(arguments) == 2
    assert not old.exists()
