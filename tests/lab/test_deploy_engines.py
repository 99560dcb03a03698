"""The engine `nixos-rebuild` on a real machine, with a stand-in that does what nixos-rebuild is documented to do.

It has no way back: what counts is that what runs and what boots afterwards is named as it is.
"""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest

from pipelinegen.errors import DeployOutcome
from tests.lab.deployer import Deployer, allow_sudo, look, until
from tests.lab.host import PROFILE
from tests.lab.machine import Result

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("deploy-engines")]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


@pytest.fixture
def rebuilder(deployer: Deployer, tools: Path) -> Deployer:
    """A deployer with the engine, and a nixos-rebuild."""
    shutil.copy(Path(__file__).with_name("nixos-rebuild.sh"), tools / "nixos-rebuild")
    (tools / "nixos-rebuild").chmod(0o755)
    deployer.configure(engine="nixos-rebuild")
    return deployer


def names_what_there_is(deployer: Deployer, result: Result, system: str, *, runs: str, boots: str) -> None:
    """The machine runs and boots this, and both the log and the report say so."""
    paths = {"new": system, "old": deployer.host.initial_system}
    words = {"new": "(the new system)", "old": "(as before)"}
    found = look(deployer.host)
    assert (found.runs, found.profile) == (paths[runs], paths[boots]), result.output
    report = deployer.report()
    assert (report["after"]["running"], report["after"]["profile"]) == (found.runs, found.profile)
    said = f"runs {found.runs} {words[runs]}, and its next boot takes {found.profile} {words[boots]}"
    assert said in report["message"]
    assert said in result.stderr


def test_a_system_is_switched_to_by_nixos_rebuild_and_read_back(rebuilder: Deployer) -> None:
    good = rebuilder.build("good")
    result = rebuilder.deploy(good)
    assert result.returncode == 0, result.output
    found = look(rebuilder.host)
    assert (found.runs, found.profile, found.boots, found.ours) == (good, good, good, ())
    report = rebuilder.report()
    assert (report["result"], report["engine"], report["switch_exit_code"]) == ("deployed", "nixos-rebuild", 0)
    assert report["units"]["started"] == ["worker.service"]
    assert "--store-path" in result.stderr
    # Nothing secret is among what it was told.
    assert str(rebuilder.host.ssh_key) not in result.stderr


@pytest.mark.parametrize("kind", ["ng-without-man", "shell"])
def test_it_is_found_out_what_a_nixos_rebuild_can_do(
    rebuilder: Deployer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("NIXOS_REBUILD", kind)
    good = rebuilder.build("good")
    result = rebuilder.deploy(good)
    if kind == "shell":
        # There is no flake here that would make the system: then it is not touched.
        assert result.returncode == DeployOutcome.FAILED, result.output
        assert "knows no --store-path" in result.stderr
        assert rebuilder.unchanged()
        return
    assert result.returncode == 0, result.output
    assert look(rebuilder.host).runs == good


def test_an_older_nixos_rebuild_deploys_the_flake_where_that_is_the_same_system(
    rebuilder: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIXOS_REBUILD", "shell")
    good, better = rebuilder.build("good"), rebuilder.build("better")
    outputs = f"""
      {{
        outputs = _: {{
          nixosConfigurations.{rebuilder.host.name}.config.system.build.toplevel.outPath = "{good}";
        }};
      }}
    """
    (rebuilder.folder / "flake.nix").write_text(outputs)
    result = rebuilder.deploy(better)
    assert result.returncode == DeployOutcome.FAILED, result.output
    assert "makes another system" in result.stderr
    assert rebuilder.unchanged()

    result = rebuilder.deploy(good)
    assert result.returncode == 0, result.output
    assert f"--flake '.#{rebuilder.host.name}'" in result.stderr or f"--flake .#{rebuilder.host.name}" in result.stderr
    assert look(rebuilder.host).runs == good


@pytest.mark.parametrize(
    ("system", "code", "runs", "boots", "why"),
    [
        pytest.param("broken-activation", 2, "old", "new", "the activation script failed", id="the activation fails"),
        pytest.param("half-activated", 2, "new", "new", "the activation script failed", id="half of it is there"),
        pytest.param("broken-service", 4, "new", "new", "newly failed: worker.service", id="a unit fails"),
        pytest.param("failing-service", 0, "new", "new", "newly failed: worker.service", id="a unit fails later"),
    ],
)
def test_what_went_wrong_stays_and_is_named(
    rebuilder: Deployer, system: str, code: int, runs: str, boots: str, why: str
) -> None:
    path = rebuilder.build(system)
    result = rebuilder.deploy(path)
    assert result.returncode == DeployOutcome.FAILED, result.output
    names_what_there_is(rebuilder, result, path, runs=runs, boots=boots)
    report = rebuilder.report()
    assert report["switch_exit_code"] == code
    assert why in report["why"]
    # The way back that is told leads back.
    rebuilder.host.inside(report["hint"].partition("as root: ")[2])
    found = look(rebuilder.host)
    assert (found.runs, found.profile) == (rebuilder.host.initial_system, rebuilder.host.initial_system)


def test_a_system_that_needs_a_reboot_is_what_the_next_boot_takes(rebuilder: Deployer) -> None:
    path = rebuilder.build("needs-reboot-to-switch")
    result = rebuilder.deploy(path)
    assert result.returncode == DeployOutcome.REBOOT_REQUIRED, result.output
    names_what_there_is(rebuilder, result, path, runs="old", boots="new")


@pytest.mark.parametrize(("action", "runs", "boots"), [("boot", "old", "new"), ("test", "new", "old")])
def test_actions_are_passed_through(rebuilder: Deployer, action: str, runs: str, boots: str) -> None:
    good = rebuilder.build("good")
    paths = {"new": good, "old": rebuilder.host.initial_system}
    result = rebuilder.deploy(good, "--action", action)
    assert result.returncode == 0, result.output
    found = look(rebuilder.host)
    assert (found.runs, found.profile) == (paths[runs], paths[boots])


def test_units_that_may_fail_and_a_bad_health_probe_are_judged_as_with_our_own_engine(rebuilder: Deployer) -> None:
    rebuilder.configure(engine="nixos-rebuild", ignore_units=["worker.*"])
    path = rebuilder.build("broken-service")
    result = rebuilder.deploy(path)
    assert result.returncode == 0, result.output
    assert rebuilder.report()["tolerated"] == ["worker.service failed, which may"]

    health = [{"command": "echo 'the site is down'; exit 1", "within": "1 second"}]
    rebuilder.configure(engine="nixos-rebuild", health=health)
    good = rebuilder.build("good")
    result = rebuilder.deploy(good)
    assert result.returncode == DeployOutcome.FAILED, result.output
    assert "the site is down" in rebuilder.report()["why"]
    assert look(rebuilder.host).runs == good


def test_a_host_that_does_not_answer_afterwards_is_said_to_be_unknown(rebuilder: Deployer) -> None:
    silent, initial = rebuilder.build("silent"), rebuilder.host.initial_system
    code = (
        "import sys; from pipelinegen.cli import main; from pipelinegen.deploy import nixos_rebuild; "
        "nixos_rebuild.REACH_TIMEOUT = 5; sys.argv[0] = 'pipelinegen'; main()"
    )
    arguments = [sys.executable, "-c", code, *rebuilder.arguments(silent)]
    result = rebuilder.store.run(*arguments, cwd=rebuilder.folder, check=False)
    # A boot would lead to the same again.
    rebuilder.host.inside(
        f"umount /usr/sbin/sshd; nix-env -p {PROFILE} --set {initial}"
        f" && {initial}/bin/switch-to-configuration switch && systemctl restart ssh"
    )
    assert result.returncode == DeployOutcome.STATE_UNKNOWN, result.output
    assert "the next boot may take the new system" in result.stderr
    assert rebuilder.report()["after"] is None


def test_a_user_who_is_not_root_switches_by_sudo_without_a_question(rebuilder: Deployer) -> None:
    allow_sudo(rebuilder.host)
    # As on NixOS, users other than root ask a daemon.
    rebuilder.host.inside("systemd-run --quiet --unit=nix-daemon nix-daemon --daemon")
    rebuilder.configure(engine="nixos-rebuild", user="deploy")
    good = rebuilder.build("good")
    result = rebuilder.deploy(good)
    rebuilder.host.inside("rm -r /usr/local/bin/sudo /nix/var/nix/daemon-socket; systemctl stop nix-daemon")
    assert result.returncode == 0, result.output
    assert "--sudo" in result.stderr
    assert look(rebuilder.host).runs == good


def test_an_interrupted_job_says_that_the_host_is_on_its_own(rebuilder: Deployer) -> None:
    with rebuilder.started(rebuilder.build("slow")) as job:
        job.until_said("slow begins")
        job.kill(signal.SIGTERM)
        result = job.wait()
    assert result.returncode == 128 + signal.SIGTERM, result.output
    assert "interrupted: nixos-rebuild was ended, and what it began" in result.stderr
    assert rebuilder.report()["result"] == "interrupted"
    unit = "systemctl list-units --plain --no-legend 'nixos-rebuild-*'"
    until(lambda: not rebuilder.host.read(unit), "the end of what it began")


def test_a_home_is_no_host(deployer: Deployer) -> None:
    result = deployer.deploy(deployer.build("home-generation"))
    assert result.returncode == DeployOutcome.REFUSED, result.output
    assert "is a home-manager generation" in result.stderr
    assert deployer.unchanged()


def test_without_a_nixos_rebuild_nothing_is_changed_and_the_hint_names_the_other_engine(deployer: Deployer) -> None:
    if shutil.which("nixos-rebuild"):
        pytest.skip("there is a nixos-rebuild here")
    deployer.configure(engine="nixos-rebuild")
    result = deployer.deploy(deployer.build("good"))
    assert result.returncode == 5, result.output
    assert "nixos-rebuild is not installed" in result.stderr
    assert 'engine = "supervised"' in result.stderr
    assert deployer.unchanged()
