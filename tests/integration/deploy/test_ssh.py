"""ssh against a real sshd on this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipelinegen.config_hosts import HostConfig
from pipelinegen.deploy.ssh import Target, UnreachableError, connection
from pipelinegen.errors import CommandError, CredentialsError

pytestmark = pytest.mark.processes


@dataclass(frozen=True)
class Sshd:
    """A server of our own; `process` is the one that listens."""

    process: subprocess.Popen[bytes]
    host: HostConfig
    folder: Path


def _keygen(file: Path) -> str:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return file.with_suffix(".pub").read_text()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if server is None or shutil.which("ssh-keygen") is None:
        pytest.skip("there is no sshd here")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # its privilege separation asks for it
    folder = tmp_path_factory.mktemp("sshd")
    host_key = _keygen(folder / "host_key")
    (folder / "authorized_keys").write_text(_keygen(folder / "user key"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "sshd_config").write_text(
        f"""
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
"""
    )
    with subprocess.Popen([server, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)
        host = HostConfig(
            address="127.0.0.1",
            user=getpass.getuser(),
            port=port,
            ssh_key_file=str(folder / "user key"),
            known_hosts_file=str(folder / "known_hosts"),
        )
        yield Sshd(process, host, folder)
        process.terminate()


@pytest.fixture
def target(sshd: Sshd) -> Iterator[Target]:
    with connection(sshd.host, where="hosts.here") as target:
        yield target


def test_a_script_gets_its_arguments_whatever_they_are(target: Target) -> None:
    hostile = ["", "a b", "it's", '"', "$HOME", "`id`", "\\", "a\nb", "-n", "ü☃", ";exit 3", "*"]
    done = target.run('for one in "$@"; do printf "%s\\0" "$one"; done', *hostile)
    assert done.stdout.decode().split("\0")[:-1] == hostile


def test_a_command_of_the_script_cannot_eat_the_rest_of_it(target: Target) -> None:
    assert target.run("cat\necho after").text == "after\n"


def test_a_failing_line_ends_the_script_with_its_code_and_words(target: Target) -> None:
    with pytest.raises(CommandError) as raised:
        target.run("echo out; echo what went wrong >&2; (exit 7); echo never >&2")
    assert raised.value.returncode == 7
    assert raised.value.stderr_tail == ("what went wrong",)


def test_an_allowed_code_is_no_error(target: Target) -> None:
    assert target.run("exit 3", allowed=(3,)).returncode == 3


def test_lines_come_as_they_are_printed(target: Target) -> None:
    lines: list[str] = []
    target.run("echo one >&2; echo two >&2", on_line=lines.append)
    assert lines == ["one", "two"]


def test_an_unknown_host_key_is_not_accepted_and_the_hint_says_what_to_do(target: Target, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    with pytest.raises(UnreachableError) as raised:
        replace(target, known_hosts=tmp_path / "none").run("true")
    assert "known_hosts_file" in (raised.value.hint or "")


def test_a_changed_host_key_is_not_accepted(target: Target, sshd: Sshd, tmp_path: Path) -> None:
    other = _keygen(tmp_path / "other")
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.host.port} {other}")
    with pytest.raises(UnreachableError) as raised:
        replace(target, known_hosts=tmp_path / "known").run("true")
    assert "known_hosts_file" in (raised.value.hint or "")


def test_a_key_that_the_host_does_not_know_is_told(target: Target, tmp_path: Path) -> None:
    _keygen(tmp_path / "stranger")
    with pytest.raises(UnreachableError) as raised:
        replace(target, key_file=tmp_path / "stranger").run("true")
    assert "Permission denied" in (raised.value.why or "")
    assert "ssh_key_file" in (raised.value.hint or "")


def test_a_port_where_nobody_listens_is_unreachable(target: Target) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match="cannot be reached") as raised:
            replace(target, port=taken.getsockname()[1]).run("true")
    assert "Connection refused" in (raised.value.why or "")


def test_a_script_beyond_its_time_is_as_good_as_unreachable(target: Target) -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        target.run("sleep 60", timeout=1)


def test_a_connection_that_breaks_is_no_answer_of_the_script(target: Target) -> None:
    started = time.monotonic()
    with pytest.raises(UnreachableError):
        # The server's process for this connection: the first above the script that is no shell.
        target.run(
            """
            pid=$PPID
            while case $(cat "/proc/$pid/comm") in sshd*) false ;; esac; do
              while read -r key value; do [ "$key" != PPid: ] || pid=$value; done < "/proc/$pid/status"
            done
            kill -9 "$pid"
            sleep 60
            """,
            timeout=30,
        )
    assert time.monotonic() - started < 25


def test_every_script_has_a_connection_of_its_own(target: Target) -> None:
    ports = [target.run("echo $SSH_CONNECTION").text.split()[1] for _ in range(2)]
    assert ports[0] != ports[1]


def test_a_server_that_hangs_is_noticed(target: Target, sshd: Sshd) -> None:
    sshd.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(UnreachableError):
            target.run("true", timeout=3)
    finally:
        sshd.process.send_signal(signal.SIGCONT)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where private files are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.parametrize("source", ["file", "file variable", "variable"])
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda text: text, id="as it is"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="with CRLF"),
        pytest.param(lambda text: text.rstrip("\n"), id="without a last newline"),
        pytest.param(lambda text: f"\n{text}\n\n", id="with empty lines around it"),
    ],
)
def test_a_key_and_known_hosts_work_wherever_they_are_and_nothing_stays_behind(
    sshd: Sshd,
    scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    changed: Callable[[str], str],
) -> None:
    settings: dict[str, str | None] = {}
    for key, file in (("ssh_key", sshd.folder / "user key"), ("known_hosts", sshd.folder / "known_hosts")):
        copy = tmp_path / key
        copy.write_bytes(changed(file.read_text()).encode())
        copy.chmod(0o666)  # as GitLab's runners write them
        monkeypatch.setenv(key.upper(), copy.read_bytes().decode() if source == "variable" else str(copy))
        settings[f"{key}_file"] = str(copy) if source == "file" else f"${key.upper()}"
    if source == "variable":
        settings |= {"ssh_key_env": "SSH_KEY", "ssh_key_file": "$NOT_SET"}
    with connection(sshd.host.model_copy(update=settings), where="hosts.here") as target:
        assert target.run("echo here").text == "here\n"
        (folder,) = scratch.iterdir()
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
        secret = (sshd.folder / "user key").read_text().splitlines()[1]
        assert secret not in " ".join(target.command())
    assert list(scratch.iterdir()) == []


def _protected(folder: Path) -> str:
    _keygen(folder / "key")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "geheim", "-f", folder / "key"], check=True, capture_output=True)
    return (folder / "key").read_text()


def _old_protected(folder: Path) -> str:
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "geheim", "-f", str(folder / "key")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return (folder / "key").read_text()


def _half(folder: Path) -> str:
    _keygen(folder / "key")
    return "".join((folder / "key").read_text().splitlines(keepends=True)[:3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(_protected, "protected by a passphrase", id="with a passphrase"),
        pytest.param(_old_protected, "protected by a passphrase", id="in PEM with a passphrase"),
        pytest.param(lambda folder: _keygen(folder / "key"), "only the public half", id="the public half"),
        pytest.param(_half, "none that ssh reads", id="cut off"),
        pytest.param(lambda _: "geheim\n", "none that ssh reads", id="no key at all"),
        pytest.param(lambda _: " \n", "is empty", id="nothing"),
    ],
)
def test_a_key_that_cannot_log_in_is_told_before_anything_is_asked_of_the_host(
    sshd: Sshd,
    scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], str],
    message: str,
) -> None:
    text = make(tmp_path)
    monkeypatch.setenv("THE_KEY", text)
    host = sshd.host.model_copy(update={"ssh_key_env": "THE_KEY"})
    with pytest.raises(CredentialsError, match=message) as raised, connection(host, where="hosts.here"):
        pass
    error = raised.value
    assert error.where == "variable THE_KEY"
    said = f"{error.message} {error.why} {error.hint}"
    assert "geheim" not in said
    assert all(line not in said for line in text.splitlines() if len(line) > 20 and "-----" not in line)
    assert list(scratch.iterdir()) == []


def test_a_key_variable_of_type_file_is_told(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", str(sshd.folder / "user key"))
    host = sshd.host.model_copy(update={"ssh_key_env": "THE_KEY"})
    with pytest.raises(CredentialsError, match="missing") as raised, connection(host, where="hosts.here"):
        pass
    assert "$THE_KEY" in (raised.value.hint or "")


@pytest.mark.parametrize("ending", ["failure", "SIGTERM"])
def test_keys_are_gone_however_a_deployment_ends(sshd: Sshd, scratch: Path, ending: str) -> None:
    end = "raise SystemExit(3)" if ending == "failure" else "target.run('sleep 60')"
    code = (
        "import sys\n"
        "from pipelinegen.config_hosts import HostConfig\n"
        "from pipelinegen.deploy.ssh import connection\n"
        "from pipelinegen.process import interruptible\n"
        "host = HostConfig.model_validate_json(sys.argv[1])\n"
        "with interruptible(), connection(host, where='') as target:\n"
        "    print(target.run('echo ready').text, flush=True)\n"
        f"    {end}\n"
    )
    command = [sys.executable, "-c", code, sshd.host.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGTERM if ending == "SIGTERM" else 0)
        assert child.wait(30) != 0
    assert list(scratch.iterdir()) == []
