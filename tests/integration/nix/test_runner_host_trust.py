"""What the shared store of the runner host rests on: a daemon that trusts nobody, not even root of a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.nix,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a daemon for somebody else"),
]

TRUSTING_NOBODY = "trusted-users ="
"""NIX_CONFIG of the daemon for containers, as in store.nix."""


@dataclass(frozen=True)
class Forgery:
    """A path that no daemon has built, as an unsigned export, and a way to the daemon."""

    path: Path
    export: bytes
    environment: dict[str, str]

    def plant(self) -> subprocess.CompletedProcess[bytes]:
        """As root, which is what a job is in its container."""
        return subprocess.run(
            ["nix-store", "--import"],
            input=self.export,
            capture_output=True,
            check=False,
            timeout=60,
            env=self.environment,
        )


@pytest.fixture
def forgery(nix_bin: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Forgery]:
    # pytest's folders are root's alone; others must be able to see this one.
    root = Path(tempfile.mkdtemp(prefix="pipelinegen-trust-"))
    root.chmod(0o755)
    for name, folder in {"NIX_STORE_DIR": "store", "NIX_STATE_DIR": "state", "NIX_LOG_DIR": "log"}.items():
        monkeypatch.setenv(name, str(root / folder))
    socket = root / "state/daemon-socket/socket"
    monkeypatch.setenv("NIX_DAEMON_SOCKET_PATH", str(socket))

    built = subprocess.run(
        [
            "nix-build",
            "--no-out-link",
            "-E",
            (
                'derivation { name = "forged"; system = builtins.currentSystem; builder = "/bin/sh";'
                ' args = [ "-c" "echo forged > $out" ]; }'
            ),
        ],
        capture_output=True,
        check=True,
    ).stdout
    path = built.decode().strip()
    export = subprocess.run(["nix-store", "--export", path], capture_output=True, check=True).stdout
    subprocess.run(["nix-store", "--delete", path], capture_output=True, check=True)

    settings = os.environ["NIX_CONFIG"]
    running = subprocess.Popen(
        ["nix-daemon"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NIX_CONFIG": f"{settings}trusted-users = root\n{request.param}"},
    )
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Forgery(Path(path), export, {**os.environ, "NIX_REMOTE": "daemon", "HOME": "/nonexistent"})
    finally:
        running.terminate()
        running.wait(20)
        for folder, _, _ in os.walk(root):
            Path(folder).chmod(0o700)
        shutil.rmtree(root)


@pytest.mark.parametrize("forgery", [""], ids=["the machine's daemon"], indirect=True)
def test_root_of_a_container_could_plant_what_it_likes_by_the_daemon_of_the_machine(forgery: Forgery) -> None:
    done = forgery.plant()

    assert done.returncode == 0, done.stderr
    assert forgery.path.exists()


@pytest.mark.parametrize("forgery", [TRUSTING_NOBODY], ids=["the daemon for containers"], indirect=True)
def test_root_of_a_container_can_not_by_a_daemon_that_trusts_nobody(forgery: Forgery) -> None:
    done = forgery.plant()

    assert done.returncode != 0
    assert b"lacks a" in done.stderr, done.stderr
    assert b"signature" in done.stderr
    assert not forgery.path.exists()
