"""Small pure parts: durations, words of trouble, reproduce lines, ssh's arguments, records of a host."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelinegen import durations
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console
from pipelinegen.deploy.report import DeployReport
from pipelinegen.deploy.ssh import Target, connection
from pipelinegen.deploy.state import HostState
from pipelinegen.errors import ConfigError, CredentialsError, DeployError, DeployOutcome, UsageError
from pipelinegen.plan.model import Failure, Realise, Stage, Unit, Work
from pipelinegen.run import reproduce, trouble
from pipelinegen.run.failure import run_failures
from pipelinegen.run.handoff import read_work
from pipelinegen.run.heartbeat import LineLog, duration
from pipelinegen.run.names import find_failure
from pipelinegen.run.push import check_store_paths

PATH = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.96, "10.0 s"),
        (10, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30 minutes", 1800), ("1h 30m", 5400), ("1.5 hours", 5400), ("90s", 90), ("1 day", 86400), ("2w", 1209600)],
)
def test_configured_durations_are_understood(text: str, seconds: float) -> None:
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "unable to download 'https://c/x.narinfo': HTTP error 503",
        "HTTP error 429 ('Too Many Requests')",
        "Couldn't connect to server",
        "ssh: connect to host c port 22: Connection refused",
        "error: writing to file: No space left on device",
    ],
)
def test_passing_trouble_is_recognised(text: str) -> None:
    assert trouble.passing(["something else", text]) == text


@pytest.mark.parametrize(
    "text",
    [
        "builder failed with exit code 1",
        "HTTP error 404",
        "HTTP error 401",
        "hash mismatch",
        "timed out after 5 seconds",
    ],
)
def test_a_lasting_failure_is_not_taken_for_passing_trouble(text: str) -> None:
    assert trouble.passing([text]) is None


@pytest.mark.parametrize(
    ("attr", "line"),
    [
        ("packages.x86_64-linux.hello", "nix build '.#packages.x86_64-linux.hello'"),
        ('packages.x86_64-linux."a b"', """nix build '.#packages.x86_64-linux."a b"'"""),
        ("nixosConfigurations.web1", "nix build '.#nixosConfigurations.web1.config.system.build.toplevel'"),
        ('homeConfigurations."me@x"', """nix build '.#homeConfigurations."me@x".activationPackage'"""),
    ],
)
def test_the_reproduce_line_can_be_pasted(attr: str, line: str) -> None:
    unit = Unit(job="j", stage=Stage.BUILD, targets=(attr,), builds=(Realise(drv_path="/d.drv", outputs=("out",)),))
    assert reproduce.lines(Work(flake="."), unit, "/d.drv", "again") == [line, "nix-store --realise /d.drv", "again"]


@pytest.mark.parametrize(
    ("name", "fragment"), [("a\\${b} c", '"a%24%7Bb%7D c"'), ("é\\n", '"%C3%A9%0A"'), ("\x1b[2J", '"%1B%5B2J"')]
)
def test_a_strange_name_is_written_as_the_command_line_takes_it(name: str, fragment: str) -> None:
    assert reproduce.installable(".", f'packages.x86_64-linux."{name}"') == f".#packages.x86_64-linux.{fragment}"


def test_a_name_that_no_installable_can_hold_gets_no_line_of_its_own() -> None:
    unit = Unit(job="j", stage=Stage.BUILD, targets=('packages.x86_64-linux."a\\"b"',), builds=())
    assert reproduce.lines(Work(flake="."), unit, "/d.drv", None) == ["nix-store --realise /d.drv"]


# --- store paths


def test_paths_are_taken_once_in_their_order() -> None:
    other = PATH.replace("hello", "other")
    assert check_store_paths([PATH, other, PATH]) == [PATH, other]


@pytest.mark.parametrize(
    "path", ["", "hello", "./result", "/nix/store/hello", PATH + "/bin/hello", PATH + "\n", "--option", PATH + ".drv"]
)
def test_what_is_no_output_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        check_store_paths([path])


def test_no_paths_at_all_is_wrong_use_and_no_silent_success() -> None:
    with pytest.raises(UsageError, match="no store paths"):
        check_store_paths([])


# --- the handoff's record


def test_a_missing_handoff_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no handoff") as raised:
        read_work(tmp_path)
    assert str(tmp_path) in (raised.value.where or "")
    assert "generate" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "torn", id="empty"),
        pytest.param(Work(flake=".").model_dump_json()[:-3], "torn", id="cut off"),
        pytest.param("[]", "torn", id="something else"),
        pytest.param("\x00\xff", "torn", id="no text"),
        pytest.param(Work(flake=".", format_version="2.0").model_dump_json(), "reads 1.x", id="another version"),
        pytest.param('{"format_version": "7.1", "new": 1}', "format version '7.1'", id="another version and shape"),
    ],
)
def test_an_unreadable_handoff_is_explained(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "work.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="cannot be read") as raised:
        read_work(tmp_path)
    assert why in (raised.value.why or "")


def test_a_newer_minor_version_of_the_same_shape_is_read(tmp_path: Path) -> None:
    (tmp_path / "work.json").write_text(Work(flake=".", format_version="1.9").model_dump_json())
    assert read_work(tmp_path).flake == "."


# --- outputs that failed to evaluate


def test_an_evaluation_failure_prints_its_message_and_fails() -> None:
    stream = io.StringIO()
    message = "\x1b[31merror:\x1b[0m\n  … while calling\n  error: the package is \x1b[2Jbroken"
    work = Work(flake=".", failures=(Failure(attr="packages.x", message=message),))
    result = run_failures([find_failure(work, "packages.x")], console=Console(stream))
    assert not result.ok
    assert result.why == "error: the package is broken"
    assert "\x1b" not in stream.getvalue()
    with pytest.raises(UsageError):
        find_failure(work, "other")


# --- ssh


def test_ssh_asks_nothing_and_believes_only_known_keys() -> None:
    command = Target("web1", key_file=Path("/k"), known_hosts=Path("/h")).command()
    options = [command[index + 1] for index, part in enumerate(command) if part == "-o"]
    assert {
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ControlMaster=no",
        "ControlPath=none",
        "UserKnownHostsFile=/h",
        "IdentityFile=/k",
        "IdentitiesOnly=yes",
    } <= set(options)
    assert command[-4:] == ["--", "root@web1", "sh", "-s"]


def test_root_is_reached_through_sudo_without_a_password() -> None:
    target = Target("web1", user="deploy")
    assert target.command(root=True)[-7:] == ["--", "deploy@web1", "sudo", "-n", "--", "sh", "-s"]
    assert "sudo" not in target.command()
    assert "sudo" not in Target("web1").command(root=True)


def test_nix_uses_the_same_options() -> None:
    target = Target("web1", port=2222, key_file=Path("/k"))
    assert target.nix_environment["NIX_SSHOPTS"].split() == list(target.options)
    assert "-p 2222" in target.nix_environment["NIX_SSHOPTS"]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("web1.example.org", "ssh-ng://root@web1.example.org"),
        ("10.0.0.1", "ssh-ng://root@10.0.0.1"),
        ("::1", "ssh-ng://root@[::1]"),
    ],
)
def test_the_hosts_store_has_a_url(address: str, url: str) -> None:
    assert Target(address).store_url == url
    assert Target(address, user="me").store_url.startswith(url.replace("root@", "me@") + "?remote-program=sudo")


@pytest.mark.parametrize(
    "address", ["-oProxyCommand=x", "a b", "a;b", "host/path", "a?b", "$(x)", "user@host", "a]b", "a[b"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    def connect() -> None:
        host = HostConfig(address=address, ssh_key_file=None, known_hosts_file=None)
        with connection(host, where="hosts.x"):
            pass

    with pytest.raises((ConfigError, ValidationError)):
        connect()


def test_an_address_in_brackets_is_one_for_ssh_too() -> None:
    host = HostConfig(address="[::1]", ssh_key_file=None, known_hosts_file=None)
    with connection(host, where="hosts.x") as target:
        assert target.address == "::1"
        assert target.store_url == "ssh-ng://root@[::1]"


def test_a_missing_key_is_a_matter_of_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEPLOY_SSH_KEY", raising=False)
    with pytest.raises(CredentialsError), connection(HostConfig(address="web1"), where="hosts.web1"):
        pass


# --- deployments


@pytest.mark.parametrize(
    ("running", "profile", "answer"),
    [("/a", "/a", True), ("/a", "/b", False), ("/b", "/a", False), (None, None, False)],
)
def test_a_host_runs_a_system_when_it_runs_and_boots_it(running: str | None, profile: str | None, answer: bool) -> None:
    assert HostState(running=running, profile=profile).runs("/a") is answer


def test_a_report_becomes_the_error_with_its_outcome() -> None:
    report = DeployReport(host="web1", address="a", system=PATH, result="rolled-back", message="m", exit_code=20)
    with pytest.raises(DeployError) as raised:
        report.raise_if_failed()
    assert raised.value.outcome is DeployOutcome.ROLLED_BACK
    assert raised.value.exit_code == 20


# --- heartbeats


def test_lines_are_cleaned_and_silence_is_broken() -> None:
    stream = io.StringIO()
    now = [0.0]
    lines = LineLog(Console(stream, clock=lambda: now[0]), "copying to web1")
    lines.line("a\x1b[2Kb")
    now[0] = 31.0
    lines.idle()
    lines.idle()
    assert stream.getvalue() == "  ab\n… still copying to web1 (31 s)\n"
