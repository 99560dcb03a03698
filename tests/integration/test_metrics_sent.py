"""What commands measure reaches a real Pushgateway, also behind Caddy and a token; a broken one fails nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from pipelinegen import pushgateway
from pipelinegen.errors import StepFailedError, TransientError
from pipelinegen.history import BuildTime, Times
from pipelinegen.history_files import write_times

pytestmark = pytest.mark.processes

SYSTEM = "x86_64-linux"
TOKEN = "correct-horse-battery-staple"
CADDYFILE = """\
{
  admin off
}
http://127.0.0.1:%s {
  handle_path /pushgateway/* {
    basicauth {
      pipelinegen %s
    }
    reverse_proxy %s
  }
}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def server(url: str, *command: str) -> Iterator[str]:
    """A server that answers at `url` until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                httpx.get(url, timeout=1)
                break
            except httpx.RequestError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def gateway() -> Iterator[str]:
    program = shutil.which("prometheus-pushgateway")
    if program is None:
        pytest.skip("needs Debian's prometheus-pushgateway")
    port = free_port()
    with server(
        f"http://127.0.0.1:{port}", program, f"--web.listen-address=127.0.0.1:{port}", "--persistence.file="
    ) as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_times(
        tmp_path / ".pipelinegen-times" / "a.json",
        Times(builds=(BuildTime(name="a", system=SYSTEM, seconds=2.0),), fetched=5),
    )
    return tmp_path


RECORD = [sys.executable, "-m", "pipelinegen", "run", "record", "--metrics", "metrics.txt"]


def in_gitlab(**variables: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITLAB"))}
    return environment | {
        "CI_PROJECT_URL": "https://gitlab.example.org/group/fleet",
        "CI_COMMIT_BRANCH": "main",
        **variables,
    }


def record(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = in_gitlab(**variables)
    return subprocess.run(RECORD, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def samples(gateway: str) -> list[str]:
    lines = httpx.get(f"{gateway}/metrics").text.splitlines()
    return [line for line in lines if line.startswith(("pipelinegen_", "# TYPE pipelinegen_"))]


GROUP = 'instance="",job="pipelinegen",kind="build",project="group/fleet",ref="main"'


def test_the_gateway_holds_what_the_latest_job_measured(folder: Path, gateway: str) -> None:
    done = record(folder, PIPELINEGEN_METRICS_URL=gateway)
    assert (done.returncode, "not sent" in done.stderr) == (0, False)
    assert samples(gateway) == [
        "# TYPE pipelinegen_build_derivations gauge",
        f'pipelinegen_build_derivations{{{GROUP},system="{SYSTEM}"}} 1',
        "# TYPE pipelinegen_build_fetched_paths gauge",
        f"pipelinegen_build_fetched_paths{{{GROUP}}} 5",
        "# TYPE pipelinegen_build_jobs gauge",
        f"pipelinegen_build_jobs{{{GROUP}}} 1",
        "# TYPE pipelinegen_build_seconds gauge",
        f'pipelinegen_build_seconds{{{GROUP},system="{SYSTEM}"}} 2',
    ]
    (folder / ".pipelinegen-times" / "a.json").unlink()
    record(folder, PIPELINEGEN_METRICS_URL=gateway)
    assert "pipelinegen_build_seconds" not in "\n".join(samples(gateway))


def test_a_token_opens_a_gateway_behind_caddy(folder: Path, gateway: str, tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("needs Debian's caddy")
    port = free_port()
    hashed = subprocess.run([caddy, "hash-password"], input=f"{TOKEN}\n", capture_output=True, text=True, check=True)
    # The directive is called `basic_auth` from Caddy 2.8 on.
    (tmp_path / "Caddyfile").write_text(CADDYFILE % (port, hashed.stdout.strip(), gateway))
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "wrong").write_text("wrong\n")
    command = (caddy, "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile"))
    with server(f"http://127.0.0.1:{port}", *command) as url:
        way = {"PIPELINEGEN_METRICS_URL": f"{url}/pushgateway"}
        for token in ({}, {"PIPELINEGEN_METRICS_TOKEN": str(tmp_path / "wrong")}):
            refused = record(folder, **way, **token)
            assert refused.returncode == 0
            assert "the metrics were not sent: the Pushgateway refuses the token (it answered 401)" in refused.stderr
        assert samples(gateway) == []
        taken = record(folder, **way, PIPELINEGEN_METRICS_TOKEN=str(tmp_path / "token"))
    assert (taken.returncode, "not sent" in taken.stderr) == (0, False)
    assert TOKEN not in taken.stderr + taken.stdout
    assert len(samples(gateway)) == 8


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:1", "the Pushgateway does not answer"),
        ("gateway", "PIPELINEGEN_METRICS_URL is no address"),
        ("https://[::1", "PIPELINEGEN_METRICS_URL is no address"),
        ("https://gateway.example.org/?secret", "PIPELINEGEN_METRICS_URL is no address"),
        ("https://gateway.example.org:port", "the Pushgateway cannot be asked from this job"),
        ("https://gateway..example.org", "the Pushgateway cannot be asked from this job"),
        ("https://user:secret@gateway.example.org", "PIPELINEGEN_METRICS_URL holds a password"),
        ("http://gateway.example.org", "the token for the Pushgateway would be sent in the clear"),
    ],
    ids=[
        "nobody there",
        "no address",
        "a bracket left open",
        "a question in the address",
        "no port",
        "no name",
        "a password in the address",
        "a token in the clear",
    ],
)
def test_a_gateway_that_cannot_be_used_is_a_warning(folder: Path, tmp_path: Path, url: str, says: str) -> None:
    (tmp_path / "token").write_text(TOKEN)
    done = record(folder, PIPELINEGEN_METRICS_URL=url, PIPELINEGEN_METRICS_TOKEN=str(tmp_path / "token"))
    assert done.returncode == 0
    assert f"the metrics were not sent: {says}" in done.stderr
    assert "secret" not in done.stderr
    assert (folder / "metrics.txt").is_file()


@contextlib.contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """One that takes a single connection, and reads what it is told first."""
    with socket.create_server(("127.0.0.1", 0)) as one:

        def serve() -> None:
            with contextlib.suppress(OSError), one.accept()[0] as connection:
                connection.recv(65536)
                answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{one.getsockname()[1]}"


def test_an_answer_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-Here: I am\r\n")
            time.sleep(0.05)

    monkeypatch.setattr(pushgateway, "SECONDS", 0.5)
    began = time.monotonic()
    with raw_server(drip) as url, pytest.raises(TransientError, match="does not answer"):
        pushgateway.send("a 1\n", url, {})
    assert time.monotonic() - began < 5


def test_a_signal_ends_a_command_that_waits_for_the_gateway(folder: Path) -> None:
    asked, ended = threading.Event(), threading.Event()

    def hesitate(_: socket.socket) -> None:
        asked.set()
        ended.wait(30)

    with raw_server(hesitate) as url:
        command = subprocess.Popen(
            RECORD, cwd=folder, env=in_gitlab(PIPELINEGEN_METRICS_URL=url), stderr=subprocess.PIPE, text=True
        )
        assert asked.wait(30)
        command.terminate()
        said = command.communicate(timeout=9)[1]
        ended.set()
    assert command.returncode == 128 + signal.SIGTERM
    assert "not sent" not in said


def test_the_token_follows_no_redirection_and_goes_to_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 307 Temporary\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with raw_server(elsewhere) as url, pytest.raises(StepFailedError) as caught:
        pushgateway.send("a 1\n", url, {}, SecretStr(TOKEN))
    assert caught.value.why == "it answered 307"


def test_metrics_of_an_earlier_run_are_not_sent(folder: Path, gateway: str) -> None:
    (folder / "metrics.txt").write_text("old 1\n")
    environment = {"PIPELINEGEN_METRICS_URL": gateway, "PATH": os.environ["PATH"]}
    command = [
        sys.executable,
        "-m",
        "pipelinegen",
        "run",
        "push",
        "--to",
        "nowhere",
        "--metrics",
        "metrics.txt",
        "/nix",
    ]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert samples(gateway) == []
