"""Probes with real commands and a real server that misbehaves; `on = "host"` without the way there."""

from __future__ import annotations

import io
import itertools
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelinegen import interrupts
from pipelinegen.config_hosts import Probe
from pipelinegen.console import Console
from pipelinegen.deploy import health
from pipelinegen.deploy.report import ProbeResult
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.errors import InterruptedRunError
from pipelinegen.process import Completed

pytestmark = pytest.mark.processes


class Here(Target):
    """A host whose shell is ours."""

    def command(self, *, root: bool = False) -> list[str]:  # noqa: ARG002
        return ["sh", "-s"]


class WithoutCurl(Here):
    """The same, as if it had no curl."""

    def run(self, script: str, *arguments: str, **options: Any) -> Completed:
        return super().run(script.replace("command -v curl", "command -v no-such-tool"), *arguments, **options)


class WithoutAnything(Here):
    """The same with neither."""

    def run(self, script: str, *arguments: str, **options: Any) -> Completed:
        hidden = script.replace("command -v curl", "command -v no-such-tool").replace("wget", "no-such-tool")
        return super().run(hidden, *arguments, **options)


class Unreachable(Target):
    """A host that nobody reaches."""

    def run(self, script: str, *arguments: str, **_: Any) -> Completed:  # noqa: ARG002
        raise UnreachableError("root@web1 cannot be reached", why="No route to host")


@dataclass
class Asked:
    """How a probe ended, what people saw, and when signs of life were given."""

    result: ProbeResult
    log: str
    beats: list[float]


def ask(target: Target | None = None, **probe: Any) -> Asked:
    keys = {"period": "3 seconds", "within": "2 seconds", "timeout": "1 second", **probe}
    log, beats = io.StringIO(), []
    result = health.ask(
        Probe(**keys), target or Here("host"), Console(log), renew=lambda: beats.append(time.monotonic())
    )
    return Asked(result, log.getvalue(), beats)


ANSWERS: dict[str, bytes] = {
    "/good": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall up\n",
    "/empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/moved": b"HTTP/1.1 302 Found\r\nLocation: /good\r\nContent-Length: 5\r\n\r\nmoved",
    "/error": b"HTTP/1.1 500 Oh\r\nContent-Length: 25\r\n\r\nthe database is \x1b[2J away",
    "/lost": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all",
    "/nonsense": b"SSH-2.0-OpenSSH_9.2\r\n",
    "/interim": b"HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
}


@dataclass
class Server:
    """Answers HTTP by hand: what `ANSWERS` holds, and worse.

    Attributes:
        seen: the request lines.
        failures: how many times `/later` still fails.
    """

    port: int = 0
    seen: list[bytes] = field(default_factory=list)
    failures: int = 2
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def serve(self, listener: socket.socket) -> None:
        while not self.over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = connection.recv(65536)
                self.seen.append(request)
                path = request.split(b" ")[1].decode("latin-1") if request.startswith(b"GET ") else "/nonsense"
                worse: dict[str, Callable[[socket.socket], None]] = {
                    "/silent": lambda _: self.wait(),
                    "/slow": self.slow,
                    "/stalls": self.stalls,
                    "/endless": self.endless,
                    "/reset": self.reset,
                    "/closed": lambda _: None,
                    "/later": self.later,
                }
                if path in worse:
                    worse[path](connection)
                else:
                    connection.sendall(ANSWERS[path])
            except OSError:
                return

    def wait(self) -> None:
        self.over.wait(30)

    def slow(self, connection: socket.socket) -> None:
        for byte in ANSWERS["/good"]:
            connection.sendall(bytes([byte]))
            if self.over.wait(0.3):
                return

    def stalls(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegins")
        self.wait()

    def endless(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not self.over.is_set():
            connection.sendall(b"on and on\n" * 1000)

    def reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def later(self, connection: socket.socket) -> None:
        self.failures -= 1
        connection.sendall(ANSWERS["/good" if self.failures < 0 else "/error"])


@pytest.fixture
def server() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = Server(listener.getsockname()[1])
        thread = threading.Thread(target=one.serve, args=(listener,), daemon=True)
        thread.start()
        yield one
        one.over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


ASKERS = {
    "job": {},
    "curl on the host": {"on": "host", "target": Here("host")},
    "wget on the host": {"on": "host", "target": WithoutCurl("host")},
}


@pytest.fixture(params=ASKERS)
def asker(request: pytest.FixtureRequest) -> dict[str, Any]:
    tool = request.param.split(" ")[0]
    if tool != "job" and shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here")
    return ASKERS[request.param]


@pytest.mark.parametrize(
    ("path", "more", "passed", "said"),
    [
        pytest.param("/good", {}, True, "", id="200"),
        pytest.param("/good", {"expect": "all down"}, False, "is not in it: all up", id="another text"),
        pytest.param("/good", {"expect": "all (up|well)"}, True, "", id="the text"),
        pytest.param("/empty", {}, True, "", id="204"),
        pytest.param("/empty", {"expect": "."}, False, "it is empty", id="no text"),
        pytest.param("/moved", {}, True, "", id="a redirection is well"),
        pytest.param("/moved", {"status": (200,)}, False, "status 302", id="a redirection is not followed"),
        pytest.param("/error", {}, False, "status 500: the database is  away", id="500"),
        pytest.param("/lost", {}, False, "status 404", id="404"),
        pytest.param("/lost", {"status": (404, 410)}, True, "", id="404 as it should be"),
        pytest.param("/interim", {"expect": "ok"}, True, "", id="103 first"),
        pytest.param("/endless", {"expect": "on and on"}, True, "", id="a page without end"),
        pytest.param("/silent", {}, False, "no answer within|timed out", id="silence"),
        pytest.param("/slow", {}, False, "no answer within|timed out", id="byte by byte"),
        pytest.param("/stalls", {}, False, "within|timed out|ended with", id="it stalls half-way"),
        pytest.param("/short", {}, False, ".", id="it ends half-way"),
        pytest.param("/closed", {}, False, ".", id="no answer"),
        pytest.param("/reset", {}, False, ".", id="a reset"),
        pytest.param("/nonsense", {}, False, ".", id="no HTTP"),
    ],
)
def test_a_page_is_well_or_it_is_said_why_not(
    server: Server, asker: dict[str, Any], path: str, more: dict[str, Any], passed: bool, said: str
) -> None:
    started = time.monotonic()
    asked = ask(**asker, url=server.url(path), within="1 second", **more)
    assert asked.result.passed is passed, asked.result
    assert time.monotonic() - started < 8
    if not passed:
        assert re.search(said, asked.result.said), asked.result.said
        assert "\x1b" not in asked.result.said + asked.log
        assert "\n" not in asked.result.said
    assert not any(b"GET /good" in request for request in server.seen) or path == "/good"


def test_a_page_that_gets_well_in_time_is_well(server: Server) -> None:
    asked = ask(url=server.url("/later"), period="0")
    assert (asked.result.passed, asked.result.tries) == (True, 3)
    assert asked.result.said.startswith("status 500")
    assert asked.log.count("not well") == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("http://127.0.0.1:1/", "the connection is refused", id="refused"),
        pytest.param("http://no-such-host.invalid/", "its name is not known", id="no such name"),
        pytest.param("https://127.0.0.1:{port}/", "TLS fails", id="no TLS there"),
        pytest.param("http://[::/", "it cannot be asked", id="no URL"),
    ],
)
def test_what_keeps_the_job_from_an_answer_is_said_plainly(server: Server, url: str, said: str) -> None:
    asked = ask(url=url.format(port=server.port), within="1 second")
    assert not asked.result.passed
    assert said in asked.result.said


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    pem = tmp_path / "pem"
    key: list[str | Path] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", pem]
    name: list[str | Path] = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-out",
        tmp_path / "crt",
    ]
    subprocess.run([openssl, "req", "-x509", "-days", "2", *key, *name], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "crt").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def refuse() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{port}/"
        in_job = ask(url=url, within="1 second")
        on_host = ask(url=url, within="1 second", on="host")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "its certificate is not accepted: self-signed certificate" in in_job.result.said
    assert "certificate" in on_host.result.said


@pytest.mark.parametrize(
    ("probe", "passed", "said"),
    [
        pytest.param({"command": "true"}, True, "", id="0"),
        pytest.param({"command": "echo a; echo b; exit 3"}, False, "exit code 3: a | b", id="3"),
        pytest.param({"command": "exit 255"}, False, "exit code 255", id="what ssh says of itself"),
        pytest.param({"command": "false; true"}, False, "exit code 1", id="the first failure counts"),
        pytest.param({"command": "echo $undefined"}, False, "exit code 2", id="an undefined variable"),
        pytest.param({"command": "no-such-tool"}, False, "exit code 127", id="no such tool"),
        pytest.param({"command": "echo up >&2", "expect": "^up$"}, True, "", id="the text"),
        pytest.param({"command": "echo down", "expect": "up"}, False, "'up' is not in it: down", id="another text"),
        pytest.param({"command": "true", "expect": "up"}, False, "'up' is not in it; it is empty", id="no text"),
        pytest.param({"command": "seq 1 100000", "expect": r"\n100000\s*$"}, True, "", id="much text"),
        pytest.param({"command": "sleep 30"}, False, "no answer within 1 s", id="without end"),
        pytest.param({"command": "cat"}, True, "", id="no input"),
        pytest.param(
            {"command": "printf '\\033[2J\\377\\nsection_end:1:x'; exit 1"}, False, "section-end", id="hostile"
        ),
    ],
)
@pytest.mark.parametrize("on", ["job", "host"])
def test_a_command_is_well_or_it_is_said_why_not(on: str, probe: dict[str, Any], passed: bool, said: str) -> None:
    asked = ask(on=on, within="1 second", **probe)
    assert asked.result.passed is passed, asked.result
    if not passed:
        assert said in asked.result.said
        assert "\x1b" not in asked.result.said + asked.log


def test_the_job_gives_a_command_its_environment_and_masks_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_NAME", "the-shop")
    monkeypatch.setenv("DEPLOY_TOKEN", "glpat-verysecret")
    monkeypatch.setenv("SSH_KEY", "-----BEGIN-----\nverysecret-line\n")
    asked = ask(command='echo $SERVICE_NAME $DEPLOY_TOKEN; echo "$SSH_KEY"; exit 1', within="1 second")
    assert asked.result.said == "exit code 1: the-shop [masked] | [masked] | [masked]"
    assert "verysecret" not in asked.log


def test_a_host_with_neither_curl_nor_wget_is_told_so(server: Server) -> None:
    asked = ask(WithoutAnything("host"), url=server.url("/good"), on="host", within="1 second")
    assert not asked.result.passed
    assert "neither curl nor" in asked.result.said


@pytest.mark.parametrize("probe", [{"command": "true"}, {"url": "http://127.0.0.1/"}], ids=["command", "url"])
def test_a_host_that_cannot_be_reached_is_a_failed_try(probe: dict[str, Any]) -> None:
    asked = ask(Unreachable("web1"), on="host", period="0", within="1 second", **probe)
    assert (asked.result.passed, asked.result.tries > 1) == (False, True)
    assert "No route to host" in asked.result.said


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param({"command": "sleep 4"}, id="a silent command"),
        pytest.param({"command": "while :; do echo on; sleep 0.05; done"}, id="a talkative command"),
        pytest.param({"command": "while :; do echo on; sleep 0.05; done", "on": "host"}, id="a command on the host"),
        pytest.param({"url": "/silent"}, id="a silent server"),
        pytest.param({"url": "/slow"}, id="a slow server"),
        pytest.param({"url": "/silent", "on": "host"}, id="a silent server for the host"),
        pytest.param({"command": "false", "period": "3 seconds", "within": "4 seconds"}, id="a long pause"),
    ],
)
def test_signs_of_life_are_given_whatever_is_waited_for(server: Server, probe: dict[str, Any]) -> None:
    if "url" in probe:
        probe = {**probe, "url": server.url(probe["url"])}
    started = time.monotonic()
    beats = ask(**{"timeout": "3 seconds", "within": "3 seconds", **probe}).beats
    moments = [started, *beats, time.monotonic()]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert max(gaps) < 2.5, gaps
    assert len(beats) >= 3


def test_signs_of_life_that_do_not_arrive_are_not_our_matter() -> None:
    def renew() -> None:
        raise UnreachableError("web1 cannot be reached")

    probe = Probe(command="true")
    assert health.ask(probe, Here("host"), Console(io.StringIO()), renew=renew).passed


def test_a_try_never_outlasts_what_is_left_of_the_time() -> None:
    started = time.monotonic()
    asked = ask(command="echo no; exit 1", period="1 second", within="3 seconds", timeout="5 seconds")
    assert not asked.result.passed
    assert asked.result.tries >= 2
    started = time.monotonic()
    asked = ask(command="sleep 20", within="1 second", timeout="10 seconds")
    assert time.monotonic() - started < 5
    assert asked.result.said == "no answer within 1 s"


def test_probes_are_asked_up_to_the_first_that_is_not_well(tmp_path: Path) -> None:
    probes = [
        Probe(name="first", command="true"),
        Probe(name="second", command="false", within="1 second"),
        Probe(name="third", command=f"touch {tmp_path}/asked"),
    ]
    results = health.ask_all(probes, Here("host"), Console(io.StringIO()), renew=lambda: None)
    assert [(one.title, one.passed) for one in results] == [("first", True), ("second", False)]
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("probe", [{"command": "sleep 20"}, {"url": "/silent"}], ids=["command", "url"])
def test_a_signal_ends_the_asking(server: Server, probe: dict[str, Any]) -> None:
    if "url" in probe:
        probe = {"url": server.url(probe["url"])}
    timer = threading.Timer(0.7, signal.raise_signal, [signal.SIGTERM])
    started = time.monotonic()
    timer.start()
    with pytest.raises(InterruptedRunError), interrupts.interruptible():
        ask(timeout="15 seconds", within="20 seconds", **probe)
    timer.join()
    assert time.monotonic() - started < 5
