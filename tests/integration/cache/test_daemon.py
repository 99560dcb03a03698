"""A real Nix daemon and a user whom it does not trust: what is missing is named, and naming it is enough."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelinegen import nix, nix_daemon, process
from pipelinegen.cache.access import access
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.errors import ToolError
from tests.attic_server import AtticServer, attic_server
from tests.integration.conftest import _name, _nix_folders

pytestmark = [
    pytest.mark.nix,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a daemon for somebody else"),
]

NOBODY = 65534
BASE = "build-users-group =\nsandbox = false\nsubstituters =\nnarinfo-cache-negative-ttl = 0\n"


def as_nobody(function: Callable[[], Any]) -> Any:
    """What `function` returns or raises in a process of an unprivileged user."""
    receiving, sending = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of the server do no harm to the child
        child = os.fork()
    if child == 0:
        try:
            os.close(receiving)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                answer = (True, function())
            except ToolError as error:
                answer = (False, (error.message, error.why, error.hint))
            with open(sending, "wb") as pipe:  # noqa: PTH123
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(sending)
    with open(receiving, "rb") as pipe:  # noqa: PTH123
        data = pipe.read()
    os.waitpid(child, 0)
    ok, value = pickle.loads(data)  # noqa: S301  # our own child
    if ok:
        return value
    raise ToolError(value[0], why=value[1], hint=value[2])


@dataclass
class Daemon:
    """A store of its own that belongs to root, and the daemon before it."""

    root: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self, settings: str, netrc: str = "") -> None:
        """With these lines in its nix.conf and netrc."""
        self.stop()
        (self.root / "etc" / "nix.conf").write_text(BASE + settings)
        file = self.root / "etc" / "netrc"
        file.unlink(missing_ok=True)
        if netrc:
            file.touch(0o600)
            file.write_text(netrc)
        shutil.rmtree(self.root / "cache", ignore_errors=True)
        with (self.root / "log").open("ab") as log:
            self.running = subprocess.Popen(
                ["nix-daemon"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        socket = Path(os.environ["NIX_DAEMON_SOCKET_PATH"])
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert time.monotonic() < deadline, (self.root / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        if self.running is not None:
            self.running.terminate()
            self.running.wait(20)
            Path(os.environ["NIX_DAEMON_SOCKET_PATH"]).unlink(missing_ok=True)
            self.running = None


@pytest.fixture(params=_nix_folders(), ids=_name)
def daemon(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    if request.param is None:
        pytest.skip("there is no Nix here")
    # pytest's folders are root's alone; others must be able to see this one.
    root = Path(tempfile.mkdtemp(prefix="pipelinegen-daemon-"))
    root.chmod(0o755)
    for name in ("etc", "state", "home", "home/tmp"):
        (root / name).mkdir()
    for name in ("home", "home/tmp"):
        os.chown(root / name, NOBODY, NOBODY)
    monkeypatch.setenv("PATH", str(request.param), prepend=os.pathsep)
    for name, value in {
        "NIX_STORE_DIR": "store",
        "NIX_STATE_DIR": "state",
        "NIX_LOG_DIR": "state/log",
        "NIX_CONF_DIR": "etc",
        "NIX_DAEMON_SOCKET_PATH": "state/daemon-socket/socket",
        "HOME": "home",
        "XDG_CACHE_HOME": "cache",
        "TMPDIR": "home/tmp",
    }.items():
        monkeypatch.setenv(name, str(root / value))
    for name in ("NIX_REMOTE", "NIX_CONFIG", "NIX_USER_CONF_FILES"):
        monkeypatch.delenv(name, raising=False)
    made = Daemon(root)
    yield made
    made.stop()
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o700)
    shutil.rmtree(root)


@dataclass(frozen=True)
class Scene:
    config: Config
    path: str
    token: str


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AtticServer]:
    with attic_server(tmp_path / "attic") as running:
        yield running


@pytest.fixture
def scene(daemon: Daemon, server: AtticServer, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A private cache that has a path which the store lacks."""
    key = server.create_cache("main", store_dir=os.environ["NIX_STORE_DIR"])
    file = daemon.root / "file"
    file.write_text("content\n")
    path = process.run(["nix-store", "--add", file]).text.strip()
    server.put("main", path, process.run(["nix-store", "--dump", path]).stdout)
    process.run(["nix-store", "--delete", path])
    token = server.token({"main": "r"})
    monkeypatch.setenv("READ_MAIN", token)
    cache = CacheConfig(
        url=f"{server.url}main",
        backend="attic",
        writers=WriterClass.PROTECTED,
        public_key=key,
        token_env="READ_MAIN",
        priority=30,
    )
    return Scene(Config(caches={"main": cache}), path, token)


def missing_after_fetching(scene: Scene) -> list[str]:
    """What could not be fetched the way a job fetches."""
    with access(scene.config, PipelineClass.PROTECTED, near=Path("/nowhere"), say=print) as way:
        return nix.substitute([scene.path], way.substitution)


def test_the_lines_that_the_hint_names_are_what_was_missing(daemon: Daemon, scene: Scene) -> None:
    daemon.start("trusted-users = root\n")
    assert as_nobody(nix_daemon.listens_to_us) is False
    with pytest.raises(ToolError) as raised:
        as_nobody(lambda: missing_after_fetching(scene))
    error = raised.value
    hint = error.hint or ""
    assert error.exit_code == 5
    assert "trusted-users" not in f"{error.message}{error.why}{hint}"
    assert scene.token not in f"{error.message}{error.why}{hint}"

    lines = [line.strip() for line in hint.splitlines() if line.startswith("  ")]
    settings = [line for line in lines if line.startswith("extra-")]
    (machine,) = [line for line in lines if line.startswith("machine ")]
    assert len(settings) == 2
    daemon.start("\n".join(settings) + "\n", machine.partition("<")[0] + scene.token + "\n")
    assert as_nobody(lambda: missing_after_fetching(scene)) == []


def test_what_a_job_gives_to_such_a_daemon_does_not_count(daemon: Daemon, scene: Scene) -> None:
    """Without the comparison it would be built again, or not be found, and nobody would know why."""
    daemon.start("")

    def insist() -> list[str]:
        cache = scene.config.caches["main"]
        netrc = daemon.root / "home" / "netrc"
        netrc.write_text(f"machine 127.0.0.1 password {scene.token}\n")
        given = nix.Substitution(substituters=(cache.url,), public_keys=(cache.public_key or "",), netrc_file=netrc)
        return nix.substitute([scene.path], given)

    assert as_nobody(insist) == [scene.path]


@pytest.mark.parametrize(
    ("settings", "netrc", "told"),
    [
        ("trusted-public-keys = {key}\n", "machine 127.0.0.1 password {token}\n", "extra-trusted-substituters = "),
        ("trusted-substituters = {url}\n", "machine 127.0.0.1 password {token}\n", "extra-trusted-public-keys = "),
        ("trusted-substituters = {url}\ntrusted-public-keys = {key}\n", "", "machine 127.0.0.1 login "),
    ],
    ids=["substituter", "key", "password"],
)
def test_one_thing_that_is_missing_is_named_alone(
    settings: str, netrc: str, told: str, daemon: Daemon, scene: Scene
) -> None:
    cache = scene.config.caches["main"]
    facts = {"key": cache.public_key, "url": cache.url, "token": scene.token}
    daemon.start(settings.format(**facts), netrc.format(**facts))
    with pytest.raises(ToolError) as raised:
        as_nobody(lambda: missing_after_fetching(scene))
    lines = [line.strip() for line in (raised.value.hint or "").splitlines() if line.startswith("  ")]
    assert len(lines) == 1
    assert lines[0].startswith(told)


def test_a_user_whom_the_daemon_trusts_brings_everything_along(daemon: Daemon, scene: Scene) -> None:
    daemon.start("trusted-users = root nobody\n")
    assert as_nobody(nix_daemon.listens_to_us) is True
    assert as_nobody(lambda: missing_after_fetching(scene)) == []


def test_commands_of_others_keep_what_the_daemon_allows(daemon: Daemon, scene: Scene) -> None:
    """Where a list of substituters is not accepted, none is given: the daemon's own would be gone."""
    cache = scene.config.caches["main"]
    allowed = f"trusted-public-keys = {cache.public_key}\ntrusted-substituters = {cache.url}\n"

    def fetched() -> bool:
        with access(scene.config, PipelineClass.PROTECTED, near=Path("/nowhere"), say=print, strict=False) as way:
            environment = process.environment(extra=way.environment)
            argv = ["nix-store", "--realise", scene.path]
            return process.run(argv, env=environment, allowed="any").returncode == 0

    daemon.start("")
    assert as_nobody(fetched) is False
    daemon.start(allowed, f"machine 127.0.0.1 password {scene.token}\n")
    assert as_nobody(fetched) is True


def test_what_lies_in_job_artifacts_cannot_pass_such_a_daemon(daemon: Daemon, scene: Scene) -> None:
    daemon.start("")

    def take() -> None:
        with access(scene.config, PipelineClass.PROTECTED, first=daemon.root, near=Path("/nowhere"), say=print):
            pass

    with pytest.raises(ToolError, match="takes nothing from job artifacts"):
        as_nobody(take)


def test_root_without_a_daemon_between_needs_no_question(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.start("trusted-users =\n")
    monkeypatch.setattr(process, "run", lambda *_, **__: pytest.fail("a process was started"))
    assert nix_daemon.listens_to_us() is True
