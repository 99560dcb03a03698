"""A job's private way to the caches: what lies where meanwhile, what is left afterwards, and that real Nix takes it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelinegen import nix, process
from pipelinegen.cache.access import access
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, Handoff, WriterClass
from pipelinegen.errors import ConfigError, CredentialsError, ToolError
from pipelinegen.private_files import private_folder
from tests.attic_server import AtticServer, attic_server

pytestmark = pytest.mark.nix

OURS = PipelineClass.PROTECTED


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where private files are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AtticServer]:
    with attic_server(tmp_path / "attic") as running:
        yield running


class Said(list[str]):
    """What people were told."""

    def __call__(self, line: str) -> None:
        self.append(line)


def attic(server: AtticServer, name: str, **settings: object) -> CacheConfig:
    """A private cache that a job may read with the token in READ_<NAME>."""
    key = server.create_cache(name, store_dir=os.environ.get("NIX_STORE_DIR", "/nix/store"))
    given: dict[str, object] = {
        "url": f"{server.url}{name}",
        "backend": "attic",
        "writers": WriterClass.PROTECTED,
        "public_key": key,
        "token_env": f"READ_{name.upper()}",
        **settings,
    }
    return CacheConfig.model_validate({key: value for key, value in given.items() if value is not None})


def put(server: AtticServer, cache: str, text: str) -> str:
    """A store path that only this cache has."""
    file = Path(os.environ["NIX_STORE_DIR"]).parent / "file"
    file.write_text(text)
    path = process.run(["nix-store", "--add", file]).text.strip()
    server.put(cache, path, process.run(["nix-store", "--dump", path]).stdout)
    process.run(["nix-store", "--delete", path])
    return path


def test_private_files_are_private_lie_outside_and_are_removed(
    server: AtticServer, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = server.token({"main": "r"})
    monkeypatch.setenv("READ_MAIN", token)
    config = Config(caches={"main": attic(server, "main", priority=30)})
    with access(config, OURS, near=tmp_path / "work", say=Said()) as way:
        (folder,) = scratch.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {(file.name, stat.S_IMODE(file.stat().st_mode)) for file in folder.iterdir()} == {
            ("netrc", 0o600),
            ("nix.conf", 0o600),
        }
        assert (folder / "netrc").read_text() == f"machine 127.0.0.1 login pipelinegen password {token}\n"
        lines = (folder / "nix.conf").read_text().splitlines()
        assert f"substituters = {server.url}main?priority=30" in lines
        assert f"netrc-file = {folder / 'netrc'}" in lines
        assert way.substitution is not None
        assert token not in " ".join(way.substitution.options())
    assert list(scratch.iterdir()) == []


def test_they_are_removed_when_the_job_fails(scratch: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError), private_folder(tmp_path / "work"):
        raise ToolError("something else")
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_they_are_removed_when_a_signal_ends_the_job(number: int, scratch: Path, tmp_path: Path) -> None:
    code = (
        "import signal, time, pathlib\n"
        "from pipelinegen.private_files import private_folder\n"
        "from pipelinegen.process import interruptible\n"
        # Whoever started the tests with nohup has us ignore it.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "with interruptible(), private_folder(pathlib.Path('/nowhere')):\n"
        "    print('ready', flush=True)\n"
        # A signal that comes right before a pause does not end that pause.
        "    for _ in range(600): time.sleep(0.1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert len(list(scratch.iterdir())) == 1
        child.send_signal(number)
        assert child.wait(20) != 0
    assert list(scratch.iterdir()) == []


def test_a_folder_for_temporary_files_inside_of_the_repository_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    for name in (".git", "tmp", "deep/er"):
        (repository / name).mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(repository / "tmp"))
    with private_folder(repository / "deep" / "er") as folder:
        assert not folder.is_relative_to(repository)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "with space"))
    (tmp_path / "with space").mkdir()
    with private_folder(repository) as folder:
        assert " " not in str(folder)


def test_commands_of_others_fetch_from_all_trusted_caches(
    nix_bin: Path, server: AtticServer, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = {"main": attic(server, "main"), "second": attic(server, "second")}
    theirs = attic(server, "theirs", writers=WriterClass.UNPROTECTED)
    config = Config(caches={**caches, "theirs": theirs})
    monkeypatch.setenv("READ_MAIN", server.token({"main": "r"}))
    monkeypatch.setenv("READ_SECOND", server.token({"*": "r"}))
    monkeypatch.setenv("READ_THEIRS", server.token({"theirs": "r"}))
    paths = {name: put(server, name, name) for name in config.caches}
    home = tmp_path / "home"
    (home / "nix").mkdir(parents=True)
    (home / "nix" / "nix.conf").write_text("max-silent-time = 4321\nsubstituters = http://127.0.0.1:1\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    own = os.environ["NIX_CONFIG"]
    monkeypatch.setenv("NIX_CONFIG", own.replace("substituters =\n", ""))

    def fetched(path: str, environment: dict[str, str]) -> bool:
        argv = ["nix-store", "--realise", path]
        return process.run(argv, env=process.environment(extra=environment), allowed="any").returncode == 0

    with access(config, OURS, near=tmp_path, say=Said()) as way:
        environment = dict(way.environment)
        assert nix.settings(env=process.environment(extra=environment))["max-silent-time"] == "4321"
        assert fetched(paths["main"], environment)
        assert fetched(paths["second"], environment)
        assert not fetched(paths["theirs"], environment), "a merge request wrote that"
        assert not fetched(paths["theirs"], {}), "nothing of it comes from elsewhere"
        # Ours are told the same as options, whatever the settings say.
        process.run(["nix-store", "--delete", paths["main"]])
        monkeypatch.setenv("NIX_CONFIG", own)
        assert nix.substitute([paths["main"]], way.substitution) == []
    with access(config, PipelineClass.UNPROTECTED, near=tmp_path, say=Said()) as way:
        assert nix.substitute([paths["theirs"]], way.substitution) == []


def test_a_forged_path_is_not_taken_from_an_attic_server(
    nix_bin: Path, server: AtticServer, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that answers has not the key of the configuration."""
    monkeypatch.setenv("READ_MAIN", server.token({"main": "r"}))
    cache = attic(server, "main", public_key="main:" + "A" * 43 + "=")
    path = put(server, "main", "forged")
    with access(Config(caches={"main": cache}), OURS, near=tmp_path, say=Said()) as way:
        assert nix.substitute([path], way.substitution) == [path]


def test_the_machines_own_passwords_stay(
    nix_bin: Path, server: AtticServer, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READ_MAIN", server.token({"main": "r"}))
    (tmp_path / "machines").write_text("machine 127.0.0.1 password wrong\nmachine inputs.invalid password theirs\n")
    monkeypatch.setenv("NIX_CONFIG", f"{os.environ['NIX_CONFIG']}\nnetrc-file = {tmp_path / 'machines'}\n")
    with access(Config(caches={"main": attic(server, "main")}), OURS, near=tmp_path, say=Said()) as way:
        assert way.substitution is not None
        assert way.substitution.netrc_file is not None
        lines = way.substitution.netrc_file.read_text().splitlines()
    assert lines[0].startswith("machine 127.0.0.1 login pipelinegen")
    assert "machine inputs.invalid password theirs" in lines


def test_netrc_files_of_several_caches_all_count(scratch: Path, tmp_path: Path) -> None:
    caches = {}
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"machine {name}.invalid login me password of-{name}\n")
        caches[name] = CacheConfig(url=f"https://{name}.invalid", netrc_file=str(tmp_path / name), public_key="k:x")
    with access(Config(caches=caches), OURS, near=tmp_path, say=Said()) as way:
        assert way.substitution is not None
        assert way.substitution.netrc_file is not None
        text = way.substitution.netrc_file.read_text()
    assert "of-one" in text
    assert "of-two" in text


def test_a_cache_whose_token_is_missing_is_left_out_unless_it_is_the_handoff_cache(
    server: AtticServer, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READ_MAIN", server.token({"main": "r"}))
    for name in ("READ_OTHER", "READ_OPEN"):
        monkeypatch.delenv(name, raising=False)
    caches = {
        "main": attic(server, "main"),
        "other": attic(server, "other"),
        "open": attic(server, "open", public=True),
    }
    config = Config(caches=caches, handoff=Handoff(mode="cache", protected="main"))
    said = Said()
    with access(config, OURS, near=tmp_path, say=said) as way:
        assert way.substitution is not None
        assert way.substitution.substituters == (f"{server.url}main", f"{server.url}open")
    assert ["READ_OTHER" in line or "cache other" in line for line in said] == [True]
    reversed_ = config.model_copy(update={"handoff": Handoff(mode="cache", protected="other")})
    with pytest.raises(CredentialsError), access(reversed_, OURS, near=tmp_path, say=Said()):
        pass
    with access(reversed_, OURS, near=tmp_path, say=Said(), strict=False) as way:
        assert way.substitution is not None
    assert list(scratch.iterdir()) == []


def test_an_attic_cache_without_a_key_is_never_believed(
    server: AtticServer, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READ_MAIN", server.token({"main": "r"}))
    cache = attic(server, "main", public_key=None)
    said = Said()
    with access(Config(caches={"main": cache}), OURS, near=tmp_path, say=said) as way:
        assert way.substitution == nix.Substitution()
    assert "cache info" in said[0]
    config = Config(caches={"main": cache}, handoff=Handoff(mode="cache", protected="main"))
    with pytest.raises(ConfigError, match="cannot be fetched from"), access(config, OURS, near=tmp_path, say=said):
        pass


def test_a_cache_that_hangs_does_not_hold_a_job_up(
    nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nix.PATIENCE == {"connect-timeout": "15", "stalled-download-timeout": "60", "download-attempts": "3"}
    monkeypatch.setattr(nix, "PATIENCE", {**nix.PATIENCE, "stalled-download-timeout": "1", "download-attempts": "2"})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_: list[socket.socket] = []

        def swallow() -> None:
            while True:
                try:
                    open_.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=swallow, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        path = f"{os.environ['NIX_STORE_DIR']}/{'a' * 32}-x"
        started = time.monotonic()
        assert nix.substitute([path], nix.Substitution(substituters=(url,))) == [path]
        assert time.monotonic() - started < 30
        listener.shutdown(socket.SHUT_RDWR)
        for one in open_:
            one.close()
