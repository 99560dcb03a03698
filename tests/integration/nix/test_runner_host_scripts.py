"""The scripts of the runner host, run for real: on a store on a small disk, and beside a runner's metrics."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.integration.nix.modules import NIX

SCRIPTS = NIX / "runner-host"
DISK_MB = 64
DAY = 86400

pytestmark = pytest.mark.nix


@dataclass(frozen=True)
class Disk:
    """A Nix store on a disk of 64 MiB."""

    folder: Path

    def free(self) -> int:
        """MiB."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize // 2**20

    def add(self, name: str, megabytes: int, *, content: bytes | None = None) -> Path:
        """A path of this size, which nothing keeps."""
        file = self.folder.parent / name
        file.write_bytes(content or os.urandom(megabytes * 2**20))
        added = run("nix-store", "--add", str(file)).stdout.strip()
        file.unlink()
        return Path(added)

    def keep(self, path: Path) -> None:
        """Make a root that leads to it, as a job in a checkout has it."""
        run("nix-store", "--realise", str(path), "--add-root", str(self.folder / f"root-{path.name}"), "--indirect")

    def reserve(self, reserve: int, *, emergency: int = 1, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        return script(
            "reserve.sh",
            STORE_FOLDER=str(self.folder / "store"),
            RESERVE_MB=str(reserve),
            EMERGENCY_MB=str(emergency),
            PROFILE=str(self.folder / "state/profiles/system"),
            **more,
        )


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True)


def script(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPTS / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.fixture
def disk(nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    monkeypatch.setenv("NIX_STORE_DIR", str(folder / "store"))
    monkeypatch.setenv("NIX_STATE_DIR", str(folder / "state"))
    monkeypatch.setenv("NIX_LOG_DIR", str(folder / "log"))
    (folder / "store").mkdir()
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_enough_free_space_is_left_alone(disk: Disk) -> None:
    dead = disk.add("dead", 8)

    done = disk.reserve(disk.free() - 1)

    assert done.returncode == 0
    assert "nothing to do" in done.stderr
    assert dead.exists()


def test_only_what_is_missing_to_the_reserve_goes_and_what_a_root_keeps_stays(disk: Disk) -> None:
    live = [disk.add(f"live-{number}", 4) for number in range(3)]
    for path in live:
        disk.keep(path)
    dead = [disk.add(f"dead-{number}", 4) for number in range(8)]
    before = disk.free()

    done = disk.reserve(before + 10)

    assert done.returncode == 0, done.stderr
    assert disk.free() >= before + 10
    assert all(path.exists() for path in live)
    # Three are enough, or one: Nix gives up 8 MiB that it holds back for a full disk.
    assert 5 <= sum(path.exists() for path in dead) <= 7


def test_what_a_running_build_uses_stays(disk: Disk) -> None:
    used = disk.add("used", 4)
    dead = disk.add("dead", 4)
    pipe = disk.folder / "pipe"
    os.mkfifo(pipe)
    expression = f"""derivation {{
      name = "waits"; system = builtins.currentSystem; builder = "/bin/sh";
      args = [ "-c" "read word < {pipe}; echo $word > $out" ]; input = builtins.storePath {used};
    }}"""
    building = subprocess.Popen(["nix-build", "--no-out-link", "-E", expression], stderr=subprocess.PIPE, text=True)
    try:
        assert building.stderr is not None
        for line in building.stderr:
            if line.startswith("building"):
                break

        done = disk.reserve(DISK_MB)

        assert done.returncode == 1
        assert used.exists()
        assert not dead.exists()
    finally:
        pipe.write_text("built\n")
        building.communicate(timeout=30)
    assert building.returncode == 0


def test_a_root_whose_folder_the_collector_does_not_see_keeps_nothing(disk: Disk) -> None:
    roots = disk.folder.parent / "container"
    roots.mkdir()
    unseen = disk.add("unseen", 4)
    run("nix-store", "--realise", str(unseen), "--add-root", str(roots / "result"), "--indirect")
    hidden = f"mount -t tmpfs tmpfs {roots} && exec nix-store --gc"

    run("unshare", "--mount", "sh", "-c", hidden)

    assert (roots / "result").is_symlink()
    assert not unseen.exists()


def test_the_reserve_holds_where_deleted_paths_share_their_files_with_others(disk: Disk) -> None:
    content = os.urandom(4 * 2**20)
    kept = disk.add("kept", 4, content=content)
    disk.keep(kept)
    linked = [disk.add(f"linked-{number}", 4, content=content) for number in range(5)]
    for number in range(4):
        disk.add(f"dead-{number}", 4)
    run("nix-store", "--optimise")
    before = disk.free()

    done = disk.reserve(before + 12)

    assert done.returncode == 0, done.stderr
    assert disk.free() >= before + 12
    assert kept.exists()
    assert linked


def test_a_reserve_that_roots_stand_in_the_way_of_is_a_failure(disk: Disk) -> None:
    live = disk.add("live", 30)
    disk.keep(live)
    dead = disk.add("dead", 4)

    done = disk.reserve(50)

    assert done.returncode == 1
    assert "nothing more can be deleted" in done.stderr
    assert "--print-roots" in done.stderr
    assert live.exists()
    assert not dead.exists()


def test_jobs_that_run_are_waited_for(disk: Disk) -> None:
    dead = disk.add("dead", 8)

    done = disk.reserve(DISK_MB, BUSY="true")

    assert done.returncode == 0
    assert "waiting until no job runs" in done.stderr
    assert dead.exists()


def test_jobs_are_not_waited_for_where_they_would_fail_anyway(disk: Disk) -> None:
    dead = disk.add("dead", 30)

    done = disk.reserve(50, emergency=40, BUSY="true")

    assert done.returncode == 0, done.stderr
    assert "not waiting for the jobs that run" in done.stderr
    assert not dead.exists()


def test_nobody_is_waited_for_where_no_job_runs(disk: Disk) -> None:
    dead = disk.add("dead", 30)

    assert disk.reserve(50, BUSY="false").returncode == 0
    assert not dead.exists()


@pytest.mark.parametrize(
    ("generations", "gone"),
    [pytest.param("+1", True, id="they may go"), pytest.param("", False, id="they are to stay")],
)
def test_old_systems_go_where_nothing_else_is_left(disk: Disk, generations: str, gone: bool) -> None:
    profile = disk.folder / "state/profiles/system"
    profile.parent.mkdir(parents=True, exist_ok=True)
    systems = [disk.add(f"system-{number}", 15) for number in range(2)]
    for system in systems:
        run("nix-env", "--profile", str(profile), "--set", str(system))

    done = disk.reserve(40, GENERATIONS=generations)

    assert done.returncode == (0 if gone else 1), done.stderr
    assert systems[0].exists() is not gone
    assert systems[1].exists()


@contextmanager
def metrics(text: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


IDLE = """# HELP gitlab_runner_limit The current value of limit setting
# TYPE gitlab_runner_limit gauge
gitlab_runner_limit{runner="a1b2",system_id="s_0"} 2
gitlab_runner_jobs_total{runner="a1b2",system_id="s_0"} 17
"""
JOB = 'gitlab_runner_jobs{executor="docker",runner="a1b2",stage="step_script",state="running"} '


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(IDLE, 1, id="no job runs"),
        pytest.param(f"{IDLE}{JOB}0\n", 1, id="one did"),
        pytest.param(f"{IDLE}{JOB}1\n", 0, id="one runs"),
        pytest.param(f"{JOB}0\n{JOB.replace('docker', 'shell')}2\n", 0, id="others run"),
    ],
)
def test_a_runner_is_busy_while_its_metrics_count_jobs(text: str, code: int) -> None:
    with metrics(text) as url:
        assert script("busy.sh", METRICS_URL=url).returncode == code


def test_a_runner_that_says_nothing_is_busy() -> None:
    with metrics("") as url:
        pass  # its port is closed now

    done = script("busy.sh", METRICS_URL=url)

    assert done.returncode == 0
    assert "does not say" in done.stderr


def checkout(folder: Path, days: float) -> Path:
    """A checkout that was last used so many days ago."""
    folder.mkdir(parents=True)
    run("git", "init", "--quiet", str(folder))
    (folder / "file").write_text("text")
    (folder.with_name(f"{folder.name}.tmp")).mkdir()
    then = time.time() - days * DAY
    for path in (folder / ".git").iterdir():
        os.utime(path, (then, then))
    os.utime(folder / ".git", (then, then))
    return folder


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_checkouts_that_no_job_used_go_whole(tmp_path: Path) -> None:
    builds = tmp_path / "builds"
    old = checkout(builds / "t0ken/0/group/sub group/old", 9)
    new = checkout(builds / "t0ken/0/group/new", 2)
    os.utime(new / "file", (0, 0))

    done = script("builds.sh", BUILDS_FOLDER=str(builds), BUILDS_DAYS="7")

    assert done.returncode == 0, done.stderr
    assert not old.parent.exists()
    assert (new / "file").exists()
    assert run("git", "-C", str(new), "status", "--porcelain").stdout == "?? file\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_no_checkout_goes_while_jobs_run(tmp_path: Path) -> None:
    old = checkout(tmp_path / "builds/t0ken/0/group/old", 9)

    assert script("builds.sh", BUILDS_FOLDER=str(tmp_path / "builds"), BUILDS_DAYS="7", BUSY="true").returncode == 0
    assert old.exists()


def test_a_folder_of_builds_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert script("builds.sh", BUILDS_FOLDER=str(tmp_path / "none"), BUILDS_DAYS="7").returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="there is no shellcheck")
def test_the_scripts_are_sound_for_shellcheck() -> None:
    scripts = sorted(str(path) for path in SCRIPTS.glob("*.sh"))

    assert len(scripts) == 3
    subprocess.run(["shellcheck", *scripts], check=True)
