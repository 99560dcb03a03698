"""The lab does what its users rely on, shown with real parts and without the product."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.lab.conftest import MakeHost, time_limit
from tests.lab.deployer import Deployer
from tests.lab.host import Host
from tests.lab.machine import OTHER_NIX, REPOSITORY, Lab
from tests.lab.repo import new_project
from tests.lab.runner import PipelineResult, Runner, push_variables
from tests.lab.store import JobStores, PrivateStore, SigningKey, names, write_job_nix

pytestmark = [pytest.mark.lab, pytest.mark.nix]

TOPLEVEL = ".#nixosConfigurations.web1.config.system.build.toplevel"


def run_child(
    runner: Runner,
    folder: Path,
    child: Mapping[str, object],
    *,
    manual: tuple[str, ...] = (),
    more: Mapping[str, str] | None = None,
) -> PipelineResult:
    """Run a pipeline, given as data, on a clone of the fleet; `more` variables besides those of a push."""
    project = new_project(folder / "project")
    (folder / "child.yml").write_text(yaml.safe_dump(dict(child), sort_keys=False))
    variables = {**push_variables(branch="main", commit=project.head), **(more or {})}
    checkout = project.clone(folder / "checkout")
    return runner.run_pipeline(folder / "child.yml", checkout, variables=variables, manual=manual)


def job_nix_for(folder: Path, command: str) -> Path:
    """`job-nix`, running a shell command line in place of pipelinegen."""
    text = write_job_nix(folder / "job-nix").read_text()
    launcher, end = text.rsplit(" -m pipelinegen", 1)
    launcher = launcher.rsplit(" ", 1)[0]
    (folder / "job-nix").write_text(f"{launcher} sh -euc {command!r} sh{end}")
    return folder / "job-nix"


def test_a_test_that_hangs_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match="not done within 1 s"), time_limit(1):
        time.sleep(30)
    assert time.monotonic() - started < 10


# --- stores


def test_two_jobs_have_a_store_each_and_what_each_builds_is_counted(runner: Runner, tmp_path: Path) -> None:
    # The first job builds the library, the second does not see it and builds it once more.
    job_nix = job_nix_for(tmp_path, 'ls /nix/store 2>/dev/null || echo empty; nix build --no-link "$1"')
    child = {
        "stages": ["build", "test"],
        "first": {"stage": "build", "script": [f"{job_nix} .#libhttp"]},
        "second job": {
            "stage": "test",
            "needs": ["first", {"pipeline": "$PARENT_PIPELINE_ID", "job": "inspect"}],
            "script": [f"{job_nix} .#website"],
        },
    }
    stores = JobStores(tmp_path / "stores")
    result = run_child(runner, tmp_path, child, more=stores.variables)
    assert result.passed, result.describe()
    assert stores.jobs() == ("first", "second job")
    assert "empty" in result.jobs["first"].log
    assert "empty" in result.jobs["second job"].log
    built = {job: names(drvs) for job, drvs in stores.built_by_job().items()}
    assert built == {
        "first": ["libhttp-1.0", "libtext-1.0"],
        "second job": ["libhttp-1.0", "libtext-1.0", "website-1.0"],
    }
    assert sorted(stores.builds().values()) == [1, 2, 2]


def test_a_private_store_leaves_the_computer_s_own_alone(store: PrivateStore) -> None:
    made = store.run("nix-store", "--add", __file__).stdout.strip()
    assert made in store.paths()
    assert not Path(made).exists()
    assert not os.path.ismount("/nix/store")


def test_a_failed_build_counts_and_a_fetched_path_does_not(
    store: PrivateStore, signing_key: SigningKey, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    project.edit("pkgs/api.nix", "answer '{", "exit 3 # '{")
    project.commit("break the api")
    check = ".#checks.x86_64-linux.api-answers"
    broken = store.run("nix", "build", "--no-link", check, cwd=project.folder, check=False)
    assert broken.returncode != 0
    assert names(store.built()) == ["api-1.0", "api-answers", "libhttp-1.0", "libtext-1.0"]

    built = store.run("nix", "eval", "--raw", ".#libhttp.outPath", cwd=project.folder).stdout
    cache = f"file://{tmp_path}/cache"
    store.run("nix", "store", "sign", "--recursive", "--key-file", signing_key.secret_file, built)
    store.run("nix", "copy", "--to", cache, built)
    other = PrivateStore(tmp_path / "other")
    refused = other.run("nix-store", "-r", built, "--option", "substituters", cache, check=False)
    assert refused.returncode != 0  # its key is not trusted
    trust = ("--option", "trusted-public-keys", signing_key.public)
    other.run("nix-store", "-r", built, "--option", "substituters", cache, *trust)
    assert built in other.paths()
    assert other.built() == ()


@pytest.mark.parametrize("nix_bin", OTHER_NIX, ids=str)
def test_a_store_can_be_used_with_another_nix(private_stores: None, tmp_path: Path, nix_bin: Path) -> None:
    if not nix_bin.is_dir():
        pytest.skip(f"there is no Nix in {nix_bin}")
    project = new_project(tmp_path / "project")
    store = PrivateStore(tmp_path / "store", nix_bin=nix_bin)
    own = PrivateStore(tmp_path / "own").run("nix", "--version").stdout
    assert store.run("nix", "--version").stdout != own
    store.run("nix", "build", "--no-link", ".#cli", cwd=project.folder)
    assert names(store.built()) == ["fleet-1.0", "libtext-1.0", "render-1.0"]


# --- runner


def test_each_job_s_fate_log_and_artifacts_are_told(runner: Runner, tmp_path: Path) -> None:
    child = {
        "stages": ["build", "deploy"],
        "good: a/b \u00fc": {
            "stage": "build",
            "script": ["echo ' FAIL  nested' && mkdir out && echo made > out/file"],
            "artifacts": {"paths": ["out"]},
        },
        "bad": {"stage": "build", "script": ["echo spoken; exit 3"]},
        "tolerated": {"stage": "build", "script": ["exit 4"], "allow_failure": True},
        "nested": {"stage": "deploy", "needs": ["good: a/b \u00fc"], "script": ["cat out/file"]},
        "after bad": {"stage": "deploy", "needs": ["bad"], "script": ["echo never"]},
        "approve": {"stage": "deploy", "needs": [], "when": "manual", "script": ["echo yes"]},
        "after approve": {"stage": "deploy", "needs": ["approve"], "script": ["echo never"]},
    }
    result = run_child(runner, tmp_path, child)
    assert not result.passed
    assert {name: job.status for name, job in result.jobs.items()} == {
        "good: a/b \u00fc": "passed",
        "bad": "failed",
        "tolerated": "warning",
        "nested": "passed",
        "after bad": "not run",
        "approve": "not run",
        "after approve": "not run",
    }
    assert result.jobs["bad"].stage == "build"
    assert "spoken" in result.jobs["bad"].log
    assert "made" in result.jobs["nested"].log
    assert (result.jobs["good: a/b \u00fc"].artifacts / "out/file").read_text() == "made\n"
    assert "spoken" in result.describe()


def test_a_manual_job_runs_when_somebody_starts_it(runner: Runner, tmp_path: Path) -> None:
    child = {
        "stages": ["deploy"],
        "approve": {"stage": "deploy", "when": "manual", "script": ["echo yes"]},
        "after": {"stage": "deploy", "needs": ["approve"], "script": ["echo deployed"]},
    }
    result = run_child(runner, tmp_path, child, manual=("approve",))
    assert result.names("passed") == {"approve", "after"}


def test_jobs_that_failed_can_be_run_again_without_those_that_passed(runner: Runner, tmp_path: Path) -> None:
    told = tmp_path / "told"
    child = {
        "stages": ["build", "deploy"],
        "good": {"stage": "build", "script": [f"echo good >> {told}"]},
        "bad": {"stage": "deploy", "needs": ["good"], "script": [f"echo bad >> {told}; test -e {tmp_path}/mended"]},
        "after": {"stage": "deploy", "needs": ["bad"], "script": [f"echo after >> {told}"]},
    }
    project = new_project(tmp_path / "project")
    (tmp_path / "child.yml").write_text(yaml.safe_dump(child, sort_keys=False))
    variables = push_variables(branch="main", commit=project.head)
    first = runner.run_pipeline(tmp_path / "child.yml", project.folder, variables=variables)
    assert first.names("failed", "not run") == {"bad", "after"}
    (tmp_path / "mended").touch()
    again = ("bad", "after")
    second = runner.run_pipeline(tmp_path / "child.yml", project.folder, variables=variables, only=again)
    assert second.passed, second.describe()
    assert (second.names("passed"), second.names("not run")) == ({"bad", "after"}, {"good"})
    assert told.read_text().split() == ["good", "bad", "bad", "after"]


def test_variables_reach_the_jobs_as_they_are(runner: Runner, tmp_path: Path) -> None:
    child = {"job": {"script": ['printf "<%s>\\n" "$WORD" "$CI_COMMIT_REF_PROTECTED" "$CI_COMMIT_BRANCH"']}}
    result = run_child(runner, tmp_path, child, more={"WORD": "a $HOME $$ 'b' \"c\"; d"})
    log = result.jobs["job"].log
    assert "<a $HOME $$ 'b' \"c\"; d>" in log
    assert "<true>" in log
    assert "<main>" in log


def test_a_pipeline_that_hangs_is_ended(runner: Runner, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    (tmp_path / "child.yml").write_text("job:\n  script: ['echo $$ > pid; exec sleep 1000']\n")
    started = time.monotonic()
    with pytest.raises(AssertionError, match="did not end within 5 s"):
        runner.run_pipeline(tmp_path / "child.yml", project.folder, variables={}, timeout=5)
    assert time.monotonic() - started < 20
    pid = int(next(project.folder.glob(".gitlab-ci-local/builds/*/pid")).read_text())
    assert not Path(f"/proc/{pid}").exists()


# --- machines


def test_a_machine_boots_into_a_healthy_initial_system(host: Host) -> None:
    assert host.state() == "running"
    assert host.failed_units() == []
    assert host.read("hostname") == "web1"
    assert host.current_system() == host.profile() == host.initial_system
    assert host.read("nix-store -q --roots /run/current-system/") != ""
    assert host.read(f"cat {host.initial_system}/nixos-version") == "1.0"


def test_systemd_runs_services_on_a_machine(host: Host) -> None:
    told = host.ssh("systemd-run --quiet --wait --pipe --collect sh -c 'echo from a unit; exit 3'", check=False)
    assert (told.returncode, told.stdout) == (3, "from a unit\n")
    host.ssh("systemd-run --quiet --unit=sleeper sleep 1000; systemctl stop sleeper")
    assert "sleeper" in host.read("journalctl --no-pager --unit sleeper")


def test_only_signed_paths_are_copied_to_a_machine(
    host: Host, store: PrivateStore, signing_key: SigningKey, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    store.run("nix", "build", "--no-link", TOPLEVEL, cwd=project.folder)
    system = store.run("nix", "eval", "--raw", f"{TOPLEVEL}.outPath", cwd=project.folder).stdout
    copy = ("nix", "copy", "--to", host.store_url, system)
    refused = store.run(*copy, env=host.nix_ssh_environment, check=False)
    assert refused.returncode != 0
    assert "signature" in refused.stderr
    store.run("nix", "store", "sign", "--recursive", "--key-file", signing_key.secret_file, system)
    store.run(*copy, env=host.nix_ssh_environment)
    assert host.read(f"{system}/sw/bin/website") == "HTTP/1.1 200 OK: welcome"


def test_an_unplugged_machine_comes_back_with_its_connections(host: Host) -> None:
    with host.network_cut():
        assert host.ssh("true", check=False).returncode == 255
    assert host.ssh("true").returncode == 0
    # A short cut is survived by a connection that is open.
    waiting = subprocess.Popen(
        ["ssh", *host.ssh_options, f"root@{host.address}", "sleep 2; echo still here"], stdout=subprocess.PIPE
    )
    time.sleep(0.5)
    with host.network_cut():
        time.sleep(0.5)
    assert waiting.communicate(timeout=30)[0] == b"still here\n"


def test_a_machine_that_reboots_or_loses_its_power_has_its_files_and_nothing_of_run(make_host: MakeHost) -> None:
    machine = make_host("web1")
    for restart in (lambda: machine.inside("systemctl --no-block reboot"), machine.reboot_hard):
        before = machine.boot_id()
        machine.inside("touch /run/file /root/file")
        restart()
        assert machine.wait_up(after=before) == "running"
        assert machine.read("ls /run/file /root/file 2> /dev/null || true") == "/root/file"
        assert machine.booted_system() == machine.current_system() == machine.initial_system
        assert machine.ssh("cat /proc/sys/kernel/random/boot_id").stdout.strip() == machine.boot_id() != before


def test_a_boot_takes_what_the_boot_loader_names_and_not_the_profile(
    make_host: MakeHost, store: PrivateStore, tmp_path: Path
) -> None:
    deployer = Deployer(store, make_host("web1"), tmp_path)
    machine, good, better = deployer.host, deployer.build("good"), deployer.build("better")
    deployer.by_hand(good, action="boot")
    deployer.copy(better)
    machine.inside(f"nix-env -p /nix/var/nix/profiles/system --set {better}")
    assert (machine.current_system(), machine.profile(), machine.boot_default()) == (
        machine.initial_system,
        better,
        good,
    )
    machine.restart()
    assert machine.booted_system() == machine.current_system() == good
    assert machine.read("systemctl is-active worker") == "active"


def test_a_machine_with_a_small_disk_cannot_write_more(make_host: MakeHost) -> None:
    machine = make_host("web1", disk="32m")
    assert machine.inside("cat /dev/zero > /var/filler", check=False).returncode != 0
    assert machine.state() == "running"
    assert machine.inside("echo more > /root/file", check=False).returncode != 0


def test_two_machines_do_not_share_anything(host: Host, make_host: MakeHost) -> None:
    second = make_host("db1")
    second.ssh("systemd-run --quiet --unit=alone sleep 1000; echo 1 > /root/file")
    assert second.number != host.number
    assert second.read("hostname") == "db1"
    assert host.ssh("systemctl is-active alone", check=False).stdout.strip() == "inactive"
    assert host.ssh("cat /root/file", check=False).returncode != 0
    assert (host.state(), second.state()) == ("running", "running")


def test_nothing_is_left_of_a_machine_when_the_test_run_is_killed(lab: Lab, tmp_path: Path) -> None:
    if problem := lab.host_problem():
        pytest.skip(f"lab: {problem}")
    script = f"""
        import time
        from pathlib import Path
        from tests.lab.host import running_host
        with running_host(Path({str(lab.base_image)!r}), "lost", Path({str(tmp_path / "lost")!r})) as host:
            print(host.number, flush=True)
            time.sleep(1000)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        number = int(child.stdout.readline())
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    link = Path(f"/sys/class/net/ve-lab-{number}")
    end = time.monotonic() + 20
    while link.exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not link.exists()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
