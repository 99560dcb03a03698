"""`run deploy` against real machines: success, nothing to do, and every way back."""

from __future__ import annotations

import functools
import http.server
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelinegen.console import Console
from pipelinegen.deploy import activate
from pipelinegen.deploy.activate import Applied, SimpleActivation
from pipelinegen.deploy.ssh import Target
from pipelinegen.deploy.state import read_state
from pipelinegen.errors import DeployOutcome
from tests.lab.conftest import MakeHost
from tests.lab.host import Host
from tests.lab.machine import FLEET, OTHER_NIX, Result, run
from tests.lab.store import PrivateStore, SigningKey

pytestmark = [pytest.mark.lab, pytest.mark.nix]

SYSTEMS = Path(__file__).with_name("systems.nix")


@dataclass
class Deployer:
    """A job's store, a machine, and a configuration that names it `web1`."""

    store: PrivateStore
    host: Host
    folder: Path

    def build(self, system: str) -> str:
        """Store path of a system of `systems.nix`, built in the job's store."""
        arguments = ("--argstr", "name", self.host.name, "--arg", "fleet", str(FLEET))
        return self.store.run("nix-build", "--no-out-link", SYSTEMS, "-A", system, *arguments).stdout.strip()

    def configure(self, **more: object) -> None:
        """Write the configuration; `more` are keys of the host."""
        keys = {
            "address": self.host.address,
            "ssh_key_file": str(self.host.ssh_key),
            "known_hosts_file": str(self.host.known_hosts),
            "min_free_mb": 1,
            **more,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        (self.folder / "pipelinegen.toml").write_text("\n".join(["[hosts.web1]", *lines]) + "\n")

    def arguments(self, path: str, *options: str) -> tuple[str, ...]:
        return ("run", "deploy", "web1", "--system", path, "--report", str(self.folder / "report.json"), *options)

    def deploy(self, path: str, *options: str) -> Result:
        """Deploy with the command that a job runs."""
        return self.store.pipelinegen(*self.arguments(path, *options), cwd=self.folder, timeout=110, check=False)

    def report(self) -> dict[str, object]:
        report: dict[str, object] = json.loads((self.folder / "report.json").read_text())
        return report

    def copy(self, path: str) -> None:
        """Copy a closure to the machine with plain Nix."""
        to = ("--no-check-sigs", "--to", self.host.store_url)
        self.store.run("nix", "copy", *to, path, env=self.host.nix_ssh_environment)

    def unchanged(self) -> bool:
        """Whether the machine runs and boots what it did in the beginning."""
        return self.host.current_system() == self.host.profile() == self.host.initial_system


@pytest.fixture
def deployer(make_host: MakeHost, store: PrivateStore, tmp_path: Path) -> Deployer:
    one = Deployer(store, make_host("web1"), tmp_path)
    one.configure()
    return one


def test_a_system_is_brought_there_switched_to_and_found_running(deployer: Deployer) -> None:
    good = deployer.build("good")
    result = deployer.deploy(good)
    assert result.returncode == 0, result.output
    assert deployer.host.current_system() == deployer.host.profile() == good
    assert deployer.host.read("systemctl is-active worker") == "active"
    report = deployer.report()
    assert (report["result"], report["switch_exit_code"], report["newly_failed"]) == ("deployed", 0, [])
    assert report["before"]["running"] == deployer.host.initial_system  # type: ignore[index]
    # Nothing of ours stays behind.
    assert deployer.host.read("ls /run/pipelinegen") == "lock"
    assert "pipelinegen" not in deployer.host.read("ls /nix/var/nix/gcroots")

    again = deployer.deploy(good)
    assert again.returncode == 0
    assert deployer.report()["result"] == "unchanged"
    assert "nothing to do" in again.stderr


@pytest.mark.parametrize(
    ("system", "why"),
    [
        pytest.param("broken-activation", "switch-to-configuration ended with 2", id="its activation script fails"),
        pytest.param("broken-service", "newly failed: worker.service", id="a service cannot start"),
        pytest.param("failing-service", "newly failed: worker.service", id="a service fails a moment later"),
    ],
)
def test_a_bad_system_is_undone_to_exactly_what_ran_before(deployer: Deployer, system: str, why: str) -> None:
    # A generation in between: one step down from the new profile is not what ran.
    in_between = deployer.build("better")
    deployer.copy(in_between)
    deployer.host.ssh(f"nix-env -p /nix/var/nix/profiles/system --set {in_between}")
    deployer.host.ssh(f"nix-env -p /nix/var/nix/profiles/system --set {deployer.host.initial_system}")

    result = deployer.deploy(deployer.build(system))
    assert result.returncode == DeployOutcome.ROLLED_BACK, result.output
    assert why in result.stderr
    assert deployer.unchanged()
    assert deployer.report()["result"] == "rolled-back"
    assert deployer.host.failed_units() == []


def test_where_the_next_boot_differs_from_what_runs_both_come_back(deployer: Deployer) -> None:
    good = deployer.build("good")
    deployer.copy(good)
    deployer.host.ssh(f"nix-env -p /nix/var/nix/profiles/system --set {good}")
    result = deployer.deploy(deployer.build("broken-activation"))
    assert result.returncode == DeployOutcome.ROLLED_BACK, result.output
    assert deployer.host.current_system() == deployer.host.initial_system
    assert deployer.host.profile() == good


def test_a_unit_that_had_failed_before_does_not_count(deployer: Deployer) -> None:
    deployer.host.ssh("systemd-run --unit=old-sorrow --service-type=oneshot /bin/false", check=False)
    assert deployer.host.failed_units() == ["old-sorrow.service"]
    assert deployer.deploy(deployer.build("good")).returncode == 0


@pytest.mark.parametrize(
    ("system", "outcome", "runs", "boots"),
    [
        pytest.param("needs-reboot", DeployOutcome.REBOOT_REQUIRED, "initial", "new", id="it needs a reboot"),
        pytest.param("old-sorrow", DeployOutcome.WARNINGS, "new", "new", id="a unit failed that had failed before"),
        pytest.param("locked", DeployOutcome.LOCKED, "initial", "initial", id="another switch begins just before"),
        pytest.param("half-lost", DeployOutcome.ROLLED_BACK_UNHEALTHY, "initial", "initial", id="the way back fails"),
        pytest.param("lost", DeployOutcome.ROLLBACK_FAILED, "new", "initial", id="there is no way back"),
    ],
)
def test_every_outcome_has_its_exit_code(
    deployer: Deployer, system: str, outcome: DeployOutcome, runs: str, boots: str
) -> None:
    deployer.host.ssh("systemd-run --unit=old-sorrow --service-type=oneshot /bin/false", check=False)
    new = deployer.build(system)
    result = deployer.deploy(new)
    assert result.returncode == outcome, result.output
    paths = {"initial": deployer.host.initial_system, "new": new}
    assert (deployer.host.current_system(), deployer.host.profile()) == (paths[runs], paths[boots])


@dataclass
class Patience:
    """`SimpleActivation` with less patience than in earnest, driven from this process."""

    deployer: Deployer
    log: io.StringIO = field(default_factory=io.StringIO)

    def apply(self, system: str, *, timeout: float) -> Applied:
        path = self.deployer.build(system)
        self.deployer.copy(path)
        host = self.deployer.host
        target = Target(host.address, key_file=host.ssh_key, known_hosts=host.known_hosts)
        return SimpleActivation(target, Console(self.log), timeout=timeout).apply(path, read_state(target))


def test_a_switch_without_end_is_stopped_and_undone(deployer: Deployer) -> None:
    patience = Patience(deployer)
    applied = patience.apply("endless", timeout=3)
    assert applied.outcome is DeployOutcome.ROLLED_BACK, applied
    assert "did not end within 3.0 s" in (applied.why or "")
    assert "endless begins" in applied.log
    assert deployer.unchanged()
    assert deployer.host.read("systemctl list-units 'pipelinegen-*' --no-legend --plain") == ""


def test_a_host_that_never_comes_back_is_not_called_a_success(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activate, "REACH_TIMEOUT", 3.0)
    applied = Patience(deployer).apply("silent", timeout=10)
    assert applied.outcome is DeployOutcome.STATE_UNKNOWN, applied
    assert applied.state is None


def test_a_user_who_is_not_root_deploys_with_sudo(deployer: Deployer) -> None:
    # What the image lacks: sudo, here without any question of whether.
    deployer.host.ssh(
        """
        useradd --create-home deploy
        mkdir -p /home/deploy/.ssh && cp /root/.ssh/authorized_keys /home/deploy/.ssh/ && chown -R deploy /home/deploy
        cp /usr/bin/setpriv /usr/local/bin/become && chmod 4755 /usr/local/bin/become
        printf '%s\\n' '#!/bin/sh' '[ "$1" = -n ] || exit 1; shift; [ "$1" != -- ] || shift' \
          'exec /usr/local/bin/become --reuid 0 --regid 0 --clear-groups "$@"' > /usr/local/bin/sudo
        chmod 755 /usr/local/bin/sudo
        """
    )
    deployer.configure(user="deploy")
    good = deployer.build("good")
    result = deployer.deploy(good)
    assert result.returncode == 0, result.output
    assert deployer.host.current_system() == good


def test_a_user_without_sudo_is_refused_with_the_remedy(deployer: Deployer) -> None:
    deployer.host.ssh(
        """
        useradd --create-home deploy
        mkdir -p /home/deploy/.ssh && cp /root/.ssh/authorized_keys /home/deploy/.ssh/ && chown -R deploy /home/deploy
        """
    )
    deployer.configure(user="deploy")
    refused(deployer, deployer.build("good"), "may not use sudo without a password", "NOPASSWD")


def test_what_the_hosts_own_cache_has_does_not_travel_through_the_job(
    deployer: Deployer, signing_key: SigningKey, tmp_path: Path
) -> None:
    good = deployer.build("good")
    (tmp_path / "served").mkdir()
    to = f"file://{tmp_path}/served?secret-key={signing_key.secret_file}"
    deployer.store.run("nix", "copy", "--to", to, good)
    server = http.server.ThreadingHTTPServer(
        (deployer.host.gateway, 0),
        functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served")),
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        urls = f"http://{deployer.host.gateway}:{server.server_port} http://{deployer.host.gateway}:1"
        deployer.host.ssh(
            f"printf '%s\\n' 'substituters = {urls}' 'trusted-public-keys = {signing_key.public}'"
            " >> /etc/nix/nix.conf; systemctl restart nix-daemon || true"
        )
        result = deployer.deploy(good)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert result.returncode == 0, result.output
    assert "copying" not in result.stderr
    assert f"cannot reach its cache http://{deployer.host.gateway}:1" in result.stderr


@pytest.mark.parametrize("nix_bin", OTHER_NIX, ids=str)
def test_a_newer_nix_in_the_job_deploys_to_an_older_one(deployer: Deployer, nix_bin: Path, tmp_path: Path) -> None:
    if not (nix_bin / "nix").exists():
        pytest.skip(f"there is no Nix in {nix_bin}")
    newer = Deployer(PrivateStore(tmp_path / "newer", nix_bin), deployer.host, deployer.folder)
    good = newer.build("good")
    result = newer.deploy(good)
    assert result.returncode == 0, result.output
    assert deployer.host.current_system() == good


def test_a_dry_run_changes_nothing(deployer: Deployer) -> None:
    good = deployer.build("good")
    result = deployer.deploy(good, "--dry-run")
    assert result.returncode == 0, result.output
    assert deployer.unchanged()
    assert deployer.host.ssh(f"nix-store --check-validity {good}", check=False).returncode != 0


def test_a_system_that_the_job_does_not_have_is_fetched_from_the_cache(
    deployer: Deployer, signing_key: SigningKey, tmp_path: Path
) -> None:
    good = deployer.build("good")
    cache = f"file://{tmp_path}/cache"
    deployer.store.run("nix", "copy", "--to", f"{cache}?secret-key={signing_key.secret_file}", good)
    with (deployer.folder / "pipelinegen.toml").open("a") as file:
        file.write(f'[caches.ours]\nurl = "{cache}"\nwriters = "protected"\npublic_key = "{signing_key.public}"\n')
    empty = Deployer(PrivateStore(tmp_path / "another"), deployer.host, deployer.folder)
    result = empty.deploy(good, "--class", "protected")
    assert result.returncode == 0, result.output
    assert deployer.host.current_system() == good
    assert empty.store.built() == ()


def refused(deployer: Deployer, path: str, *sentences: str) -> Result:
    result = deployer.deploy(path)
    assert result.returncode == DeployOutcome.REFUSED, result.output
    for sentence in sentences:
        assert sentence in result.stderr
    return result


def test_every_reason_against_it_is_told_at_once(deployer: Deployer) -> None:
    deployer.configure(min_free_mb=1_000_000_000)
    refused(
        deployer,
        deployer.build("no-system"),
        "has no bin/switch-to-configuration",
        "1000000000 MiB are to be left free",
    )
    assert deployer.unchanged()


def test_a_full_disk_is_seen_before_anything_is_copied(deployer: Deployer) -> None:
    # The store on a file system of its own, with less room than the system needs.
    deployer.host.ssh(
        "mkdir /tmp/small && mount -t tmpfs -o size=2m tmpfs /tmp/small && cp -a /nix/store/. /tmp/small/ "
        "&& mount --bind /tmp/small /nix/store"
    )
    refused(deployer, deployer.build("large"), "MiB are to be copied")


def test_a_host_that_does_not_answer_is_refused(deployer: Deployer) -> None:
    path = deployer.build("good")
    deployer.host.ssh("systemctl stop ssh.socket ssh.service", check=False)
    refused(deployer, path, "cannot be reached")


def test_a_host_with_another_key_is_refused(deployer: Deployer, tmp_path: Path) -> None:
    other = tmp_path / "other_hosts"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"])
    other.write_text(f"{deployer.host.address} {(tmp_path / 'other.pub').read_text()}")
    deployer.configure(known_hosts_file=str(other))
    refused(deployer, deployer.build("good"), "known_hosts")
    assert deployer.unchanged()


def test_a_switch_that_is_going_on_is_not_disturbed(deployer: Deployer) -> None:
    lock = "/run/nixos/switch-to-configuration.lock"
    deployer.host.ssh(f"mkdir -p /run/nixos; systemd-run --service-type=exec flock {lock} sleep 60")
    time.sleep(0.5)
    result = deployer.deploy(deployer.build("good"))
    assert result.returncode == DeployOutcome.LOCKED, result.output


def test_a_connection_that_is_lost_meanwhile_does_no_harm(deployer: Deployer) -> None:
    path = deployer.build("cutting")
    result = deployer.deploy(path)
    assert result.returncode == 0, result.output
    assert "no connection to" in result.stderr
    assert "cutting ends" in result.stderr
    assert deployer.host.current_system() == path


def test_an_interrupted_deployment_goes_on_by_itself_and_says_so(deployer: Deployer) -> None:
    path = deployer.build("slow")
    argv = deployer.store.command([sys.executable, "-m", "pipelinegen", *deployer.arguments(path)])
    with subprocess.Popen(
        argv, cwd=deployer.folder, env=deployer.store.environment(), stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stderr is not None
        said = _until("slow begins", job.stderr.readline)
        job.send_signal(signal.SIGTERM)
        said += job.stderr.read()
        assert job.wait() == 143, said
    assert "goes on by itself" in said
    end = time.monotonic() + 30
    while deployer.host.current_system() != path:
        assert time.monotonic() < end
        time.sleep(0.5)


def _until(words: str, readline: Callable[[], str]) -> str:
    lines = iter(readline, "")
    said = ""
    for line in lines:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended without {words!r}:\n{said}")
