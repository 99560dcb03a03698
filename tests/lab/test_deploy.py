"""`run deploy` against real machines: success, nothing to do, refusals, and every way back.

Each test of a `Scenario` is a row of the table in the documentation. What came of it is asked of the machine itself.
"""

from __future__ import annotations

import functools
import http.server
import re
import threading
from pathlib import Path

import pytest

from pipelinegen.errors import DeployOutcome
from tests.lab.conftest import MakeHost
from tests.lab.deployer import Deployer, allow_sudo, last_record, look, record
from tests.lab.machine import OTHER_NIX, Result, run
from tests.lab.scenarios import Scenario, shown
from tests.lab.store import PrivateStore, SigningKey

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("deploy-scenarios")]


def shows(scenario: Scenario, deployer: Deployer, system: str, *words: str, failed: tuple[str, ...] = ()) -> Result:
    """Deploy a system and find what the scenario says, with these words in the log."""
    path = deployer.build(system)
    result = deployer.deploy(path)
    assert all(word in result.stderr for word in words), result.output
    scenario.holds(deployer, path, failed=failed)
    scenario.told(deployer, result.returncode)
    return result


def test_a_system_is_brought_there_switched_to_and_found_running(deployer: Deployer) -> None:
    good = deployer.build("good")
    shows(shown("a system that works"), deployer, "good")
    assert deployer.host.read("systemctl is-active worker") == "active"
    report = deployer.report()
    assert (report["switch_exit_code"], report["newly_failed"]) == (0, [])
    assert report["before"]["running"] == deployer.host.initial_system
    kept = record(deployer.host, "/var/lib/pipelinegen/deployed")
    assert (kept["system"], kept["previous"], kept["result"]) == (good, deployer.host.initial_system, "confirmed")
    assert last_record(deployer.host)["result"] == "confirmed"

    shows(shown("the system that runs already"), deployer, "good", "already; nothing to do")

    # What the next boot takes is more than a word.
    deployer.host.restart()
    assert deployer.host.booted_system() == deployer.host.current_system() == good
    assert deployer.host.read("systemctl is-active worker") == "active"


@pytest.mark.parametrize(
    ("scenario", "system", "why"),
    [
        (shown("the activation script fails"), "broken-activation", "switch-to-configuration ended with 2"),
        (
            shown("the activation script fails when half of it is there"),
            "half-activated",
            "switch-to-configuration ended with 2",
        ),
        (shown("a unit cannot start"), "broken-service", "newly failed: worker.service"),
        (shown("a unit fails a moment later"), "failing-service", "newly failed: worker.service"),
        (shown("a unit file is no good"), "bad-unit", "newly failed: worker.service"),
        (shown("the activation does not end"), "endless", "did not end within 8 s"),
    ],
    ids=str,
)
def test_a_bad_system_is_undone(deployer: Deployer, scenario: Scenario, system: str, why: str) -> None:
    shows(scenario, deployer, system, why)
    assert last_record(deployer.host)["result"] == "restored"


def test_what_ran_comes_back_and_not_the_generation_below(deployer: Deployer) -> None:
    better = deployer.build("better")
    deployer.copy(better)
    initial = deployer.host.initial_system
    for system in (better, initial):
        deployer.host.inside(f"nix-env -p /nix/var/nix/profiles/system --set {system}")
    result = deployer.deploy(deployer.build("broken-activation"))
    assert result.returncode == DeployOutcome.ROLLED_BACK, result.output
    assert deployer.unchanged()


def test_where_the_next_boot_differs_from_what_runs_both_stay(deployer: Deployer) -> None:
    good = deployer.build("good")
    deployer.by_hand(good, action="boot")
    result = deployer.deploy(deployer.build("broken-activation"))
    assert result.returncode == DeployOutcome.ROLLED_BACK, result.output
    found = look(deployer.host)
    assert (found.runs, found.profile, found.boots) == (deployer.host.initial_system, good, good)


@pytest.mark.parametrize("scenario", [shown("a health probe fails")], ids=str)
def test_what_does_not_answer_well_is_undone(deployer: Deployer, scenario: Scenario) -> None:
    deployer.configure(health=[{"command": "echo 'the site is down'; exit 1", "within": "2 seconds"}])
    shows(scenario, deployer, "good", "not healthy", "the site is down")


@pytest.mark.parametrize("scenario", [shown("a health probe fails that is to undo nothing")], ids=str)
def test_what_is_not_to_undo_anything_fails_the_job_alone(deployer: Deployer, scenario: Scenario) -> None:
    health = [{"command": "exit 1", "on": "host", "within": "2 seconds"}]
    deployer.configure(health=health, rollback_on=["units"])
    shows(scenario, deployer, "good", "not healthy")


@pytest.mark.parametrize("scenario", [shown("a smoke test fails")], ids=str)
def test_a_smoke_test_brings_back_what_ran_although_it_was_confirmed(deployer: Deployer, scenario: Scenario) -> None:
    deployer.configure(smoke=[{"command": "exit 1", "within": "2 seconds"}])
    shows(scenario, deployer, "good")


@pytest.mark.parametrize("scenario", [shown("a unit that may fail fails")], ids=str)
def test_a_unit_that_may_fail_is_a_warning(deployer: Deployer, scenario: Scenario) -> None:
    deployer.configure(ignore_units=["work*.service"])
    shows(scenario, deployer, "broken-service", failed=("worker.service",))
    assert deployer.report()["tolerated"]


@pytest.mark.parametrize("scenario", [shown("a unit fails that had failed before")], ids=str)
def test_what_had_failed_before_is_not_held_against_it(deployer: Deployer, scenario: Scenario) -> None:
    unit = "old-sorrow.service"
    deployer.host.inside(
        "systemctl reset-failed; systemd-run --quiet --unit=old-sorrow --service-type=oneshot false || true"
    )
    assert deployer.host.failed_units() == [unit]
    shows(scenario, deployer, "old-sorrow", failed=(unit,))


@pytest.mark.parametrize("scenario", [shown("very much output")], ids=str)
def test_no_amount_of_output_stops_it(deployer: Deployer, scenario: Scenario) -> None:
    shows(scenario, deployer, "talkative", "line 0 of very many")
    log = deployer.report()["log_file"]
    assert int(deployer.host.read(f"grep -c 'of very many' {log}")) > 3_900


@pytest.mark.parametrize("scenario", [shown("the system can only be booted")], ids=str)
def test_a_system_that_can_only_be_booted_waits_for_that(deployer: Deployer, scenario: Scenario) -> None:
    shows(scenario, deployer, "needs-reboot", "needs a reboot")
    deployer.host.restart()
    assert deployer.host.current_system() == deployer.build("needs-reboot")


@pytest.mark.parametrize("scenario", [shown("the boot loader cannot be written")], ids=str)
def test_a_boot_loader_that_cannot_be_written_is_a_verdict_of_its_own(deployer: Deployer, scenario: Scenario) -> None:
    shows(scenario, deployer, "unbootable", "could not be made the one to boot")
    deployer.host.restart()
    assert deployer.host.current_system() == deployer.host.initial_system


@pytest.mark.parametrize(
    ("scenario", "system"),
    [
        (shown("the way back is cut off"), "half-lost"),
        (shown("the way back is cut off when half of it is there"), "lost"),
    ],
    ids=str,
)
def test_a_way_back_that_is_cut_off_is_told(deployer: Deployer, scenario: Scenario, system: str) -> None:
    result = shows(scenario, deployer, system)
    runs = {"old": deployer.host.initial_system, "new": deployer.build(system)}[scenario.runs]
    assert re.search(rf"runs {runs}\b", result.stderr), result.stderr


# --- refusals


def refused(deployer: Deployer, path: str, *sentences: str) -> Result:
    result = deployer.deploy(path)
    assert result.returncode == DeployOutcome.REFUSED, result.output
    for sentence in sentences:
        assert sentence in result.stderr
    return result


@pytest.mark.parametrize("scenario", [shown("no answer")], ids=str)
def test_a_host_that_does_not_answer_is_refused(deployer: Deployer, scenario: Scenario) -> None:
    deployer.host.inside("systemctl stop ssh.socket ssh.service")
    shows(scenario, deployer, "good", "cannot be reached")


@pytest.mark.parametrize("scenario", [shown("another host key")], ids=str)
def test_a_host_with_another_key_is_refused(deployer: Deployer, scenario: Scenario, tmp_path: Path) -> None:
    other = tmp_path / "other_hosts"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"])
    other.write_text(f"{deployer.host.address} {(tmp_path / 'other.pub').read_text()}")
    deployer.configure(known_hosts_file=str(other))
    shows(scenario, deployer, "good", "known_hosts")


@pytest.mark.parametrize(
    ("scenario", "lock"),
    [
        (shown("another deployment is going on"), "/run/pipelinegen/lock"),
        (shown("another switch is going on"), "/run/nixos/switch-to-configuration.lock"),
    ],
    ids=str,
)
def test_a_switch_that_is_going_on_is_not_disturbed(deployer: Deployer, scenario: Scenario, lock: str) -> None:
    unit = "systemd-run --quiet --unit=holder --service-type=exec"
    deployer.host.inside(f"mkdir -p /run/pipelinegen /run/nixos; {unit} flock {lock} sleep 60; sleep 0.3")
    path = deployer.build("good")
    try:
        result = deployer.deploy(path)
    finally:
        deployer.host.inside("systemctl stop holder")
    scenario.holds(deployer, path)
    scenario.told(deployer, result.returncode)


@pytest.mark.parametrize("scenario", [shown("another switch began just before")], ids=str)
def test_a_switch_that_began_just_before_is_not_disturbed(deployer: Deployer, scenario: Scenario) -> None:
    shows(scenario, deployer, "locked")


def test_of_two_deployments_at_once_one_is_told_to_wait(deployer: Deployer, tmp_path: Path) -> None:
    first, second = shown("of two deployments at once, the first"), shown("of two deployments at once, the second")
    slow, better = deployer.build("slow"), deployer.build("better")
    (tmp_path / "other").mkdir()
    other = Deployer(deployer.store, deployer.host, tmp_path / "other")
    other.configure()
    with deployer.started(slow) as job:
        deployer.phase("activating")
        late = other.deploy(better)
        result = job.wait()
    first.holds(deployer, slow)
    first.told(deployer, result.returncode)
    second.told(other, late.returncode)

    # Neither knows of the other when it begins.
    with deployer.started(better) as one, other.started(slow) as two:
        codes = {better: one.wait().returncode, slow: two.wait().returncode}
    assert codes[better] in {0, 20, 31}, codes
    done = [path for path, code in codes.items() if code == 0]
    found = look(deployer.host)
    assert {found.runs} == {found.boots} == {found.profile}
    assert found.runs in (done or [slow])
    assert found.ours == ()


def test_every_reason_against_it_is_told_at_once(deployer: Deployer) -> None:
    deployer.configure(min_free_mb=1_000_000_000)
    refused(
        deployer,
        deployer.build("no-system"),
        "has no bin/switch-to-configuration",
        "1000000000 MiB are to be left free",
    )
    assert deployer.unchanged()


def test_a_dry_run_changes_nothing(deployer: Deployer) -> None:
    good = deployer.build("good")
    result = deployer.deploy(good, "--dry-run")
    assert result.returncode == 0, result.output
    assert deployer.unchanged()
    assert deployer.host.inside(f"nix-store --check-validity {good}", check=False).returncode != 0


# --- the disk


@pytest.mark.parametrize("scenario", [shown("the disk is full before anything is copied")], ids=str)
def test_a_full_disk_is_seen_before_anything_is_copied(deployer: Deployer, scenario: Scenario) -> None:
    # The store on a file system of its own, with less room than the system needs.
    deployer.host.inside(
        "mkdir -p /tmp/small && mount -t tmpfs -o size=2m tmpfs /tmp/small && cp -a /nix/store/. /tmp/small/ "
        "&& mount --bind /tmp/small /nix/store"
    )
    shows(scenario, deployer, "large", "MiB are to be copied")


@pytest.mark.parametrize("scenario", [shown("the disk becomes full while copying")], ids=str)
def test_a_disk_that_becomes_full_while_copying_changes_nothing(deployer: Deployer, scenario: Scenario) -> None:
    # Room in bytes, but not for as many files, which nobody looks at before.
    deployer.host.inside(
        "files=$(find /nix/store | wc -l); mkdir -p /tmp/small "
        "&& mount -t tmpfs -o size=50m,nr_inodes=$((files + 3)) tmpfs /tmp/small "
        "&& cp -a /nix/store/. /tmp/small/ && mount --bind /tmp/small /nix/store"
    )
    shows(scenario, deployer, "good", "No space left")


@pytest.mark.parametrize(
    ("scenario", "system"),
    [
        (shown("the activation fills the disk"), "filling"),
        (shown("the disk is full when the system is to become the one to boot"), "quietly-filling"),
    ],
    ids=str,
)
def test_a_full_disk_neither_hides_nor_stops_the_way_back(
    make_host: MakeHost,
    systems: tuple[PrivateStore, dict[str, str]],
    tmp_path: Path,
    scenario: Scenario,
    system: str,
) -> None:
    one = Deployer(systems[0], make_host("web1", disk="48m"), tmp_path, built=systems[1])
    one.configure()
    shows(scenario, one, system)
    assert int(one.host.read("df --output=avail /var | tail -n 1")) < 64
    assert last_record(one.host)["result"] == {"old": "restored", "new": "boot-failed"}[scenario.runs]
    one.host.inside("rm -f /var/filler /nix/var/filler")
    one.host.restart()
    assert one.host.current_system() == one.host.initial_system


# --- users, keys, caches


def test_a_user_who_is_not_root_deploys_with_sudo(deployer: Deployer) -> None:
    allow_sudo(deployer.host)
    deployer.configure(user="deploy")
    good = deployer.build("good")
    result = deployer.deploy(good)
    deployer.host.inside("rm /usr/local/bin/sudo")
    assert result.returncode == 0, result.output
    assert deployer.host.current_system() == good


def test_a_user_without_sudo_is_refused_with_the_remedy(deployer: Deployer) -> None:
    deployer.host.inside(
        """
        id deploy 2> /dev/null || useradd --create-home deploy
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
    deployer.host.inside("cp /etc/nix/nix.conf /etc/nix/nix.conf.before")
    try:
        urls = f"http://{deployer.host.gateway}:{server.server_port} http://{deployer.host.gateway}:1"
        deployer.host.inside(
            f"printf '%s\\n' 'substituters = {urls}' 'trusted-public-keys = {signing_key.public}'"
            " >> /etc/nix/nix.conf; systemctl restart nix-daemon || true"
        )
        result = deployer.deploy(good)
    finally:
        deployer.host.inside("mv /etc/nix/nix.conf.before /etc/nix/nix.conf; systemctl restart nix-daemon || true")
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


def test_a_timeout_of_the_whole_undoes_what_is_not_confirmed(deployer: Deployer) -> None:
    deployer.configure(timeout="8 seconds", health=[{"command": "exit 1", "within": "20 seconds"}])
    result = deployer.deploy(deployer.build("good"))
    assert result.returncode == DeployOutcome.ROLLED_BACK, result.output
    assert "it was not confirmed within" in deployer.report()["why"]
    assert deployer.unchanged()
