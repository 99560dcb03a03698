"""Jobs that build, hand over, fetch and push through an Attic server, with all their tokens: nothing shows them.

Once with tokens in variables and a file, and once with references to 1Password in their place.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelinegen.plan.model import Realise, Stage, Unit, Work
from pipelinegen.run.handoff import write_handoff
from tests import fake_op
from tests.attic_server import AtticServer, attic_server
from tests.integration.run.conftest import NIX_CONFIG, Store
from tests.lab.process_watch import ProcessWatch

pytestmark = pytest.mark.nix

CONFIG = """\
handoff = {{ mode = "cache", protected = "ci", visible_timeout = 10 }}

[caches.ci]
url = "{url}ci"
backend = "attic"
writers = "protected"
public_key = "{ci}"
token_env = "CI_READ"
push_token_env = "CI_PUSH"

[caches.public]
url = "{url}public"
backend = "attic"
writers = "protected"
publish = true
priority = 30
public_key = "{public}"
token_file = "tokens/public-read"
push_token_env = "PUBLIC_PUSH"

[[tests]]
name = "smoke"
command = "nix-store --realise $WANTED > realised"
"""


@dataclass
class Scene:
    """A repository, a server, and jobs as GitLab runs them: each a process of its own, on an empty store."""

    store: Store
    server: AtticServer
    folder: Path
    tokens: dict[str, str]
    environment: dict[str, str]
    output: list[bytes] = field(default_factory=list)

    def run(self, *words: str, fresh: bool = True) -> str:
        if fresh:
            self.store.empty()
        argv = [sys.executable, "-m", "pipelinegen", "--verbose", "-C", str(self.folder), "run", *words]
        ended = subprocess.run(
            argv, env={**os.environ, **self.environment}, cwd=Path.cwd(), capture_output=True, check=False
        )
        self.output.append(ended.stdout + ended.stderr)
        said = (ended.stdout + ended.stderr).decode()
        assert ended.returncode == 0, said
        return said

    def sent(self) -> set[str]:
        """The names of the tokens that the server was given so far."""
        names = set()
        for request in self.server.requests:
            scheme, _, rest = request.headers.get("authorization", "").partition(" ")
            secret = base64.b64decode(rest).decode().partition(":")[2] if scheme.lower() == "basic" else rest
            names |= {name for name, token in self.tokens.items() if token == secret}
        return names


@pytest.fixture(params=["tokens", "references"])
def scene(
    request: pytest.FixtureRequest,
    store: Store,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    folder, scratch = tmp_path / "project", tmp_path / "scratch"
    (folder / "tokens").mkdir(parents=True)
    (folder / ".git").mkdir()
    scratch.mkdir()
    with attic_server(tmp_path / "attic") as server:
        store_dir = str(store.root / "store")
        keys = {name: server.create_cache(name, store_dir=store_dir) for name in ("ci", "public")}
        tokens = {
            "CI_READ": server.token({"ci": "r"}),
            "CI_PUSH": server.token({"ci": "r w"}),
            "PUBLIC_READ": server.token({"ci": "r", "public": "r"}),
            "PUBLIC_PUSH": server.token({"public": "r w"}),
        }
        assert len(set(tokens.values())) == len(tokens)
        # The settings of the machine must not decide what commands fetch from.
        monkeypatch.setenv("NIX_CONFIG", NIX_CONFIG.replace("substituters =\n", ""))
        for name in ("NIX_USER_CONF_FILES", "CI"):
            monkeypatch.delenv(name, raising=False)
        (folder / "pipelinegen.toml").write_text(CONFIG.format(url=server.url, **keys))
        given, more = tokens, {}
        if request.param == "references":
            vault = tmp_path_factory.mktemp("1password") / "op"
            given = {name: f"op://ci/Attic tokens/{name}" for name in tokens}
            fake_op.install(vault).write({given[name]: token for name, token in tokens.items()})
            tokens["OP_SERVICE_ACCOUNT_TOKEN"] = more["OP_SERVICE_ACCOUNT_TOKEN"] = "ops_c2VydmljZSBhY2NvdW50"
            more |= {"FAKE_OP": str(vault), "PATH": f"{vault / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        # The file is what it is in a job: beside the repository's files, and nowhere else.
        (folder / "tokens" / "public-read").write_text(given["PUBLIC_READ"] + "\n")
        environment = {name: text for name, text in given.items() if name != "PUBLIC_READ"}
        yield Scene(store, server, folder, tokens, {**environment, **more, "TMPDIR": str(scratch)})
    assert not server.troubles


def unit(name: str, drv: str, fetch: tuple[str, ...] = ()) -> Unit:
    builds = (Realise(drv_path=drv, outputs=("out",)),)
    return Unit(job=f"build {name}", stage=Stage.BUILD, targets=(name,), builds=builds, fetch=fetch)


def test_no_artifact_no_log_and_no_process_list_holds_a_token(scene: Scene, tmp_path: Path) -> None:
    drvs = scene.store.instantiate("lib", "app")
    lib, app = (scene.store.output(drvs[name]) for name in ("lib", "app"))
    units = (unit("lib", drvs["lib"]), unit("app", drvs["app"], fetch=(lib,)))
    write_handoff(scene.folder / ".pipelinegen", Work(flake=".", units=units), tuple(drvs.values()))
    ours = ("--class", "protected")
    with ProcessWatch(scene.tokens, f"TMPDIR={tmp_path}") as processes:
        scene.run("build", *ours, "--junit", "junit-lib.xml", "--report", "lib.json", "lib")
        said = scene.run("build", *ours, "--junit", "junit-app.xml", "--report", "app.json", "app")
        assert "fetching 1 of 1 paths" in said
        assert "build app: 1 built" in said, "the second job has what the first one made from the cache"
        scene.environment["WANTED"] = app
        scene.run("test", *ours, "--command", "smoke", "--report", "smoke.json")
        assert (scene.folder / "realised").read_text().strip() == app, "a command of others fetches, too"
        built_with = scene.sent()
        scene.run("push", *ours, "--to", "public", "--report", "push.json", "--junit", "push.xml", lib, app)
    assert scene.server.objects("public") == {lib, app}

    assert "CI_PUSH" in built_with
    assert "PUBLIC_PUSH" not in built_with, "a job that builds has no use for what publishing takes"
    assert "PUBLIC_PUSH" in scene.sent()
    assert "PUBLIC_READ" in built_with, "of two tokens for one host the one that may pull from both caches"

    assert any("nix-store" in line and "netrc" in line for line in processes.commands), "the list was looked at"
    assert not processes.exposed
    secrets = [token.encode() for token in scene.tokens.values()]
    shown = b"".join(scene.output)
    assert b"nix-store" in shown, "commands are shown"
    assert not [name for name, token in scene.tokens.items() if token.encode() in shown]
    files = [file for file in tmp_path.rglob("*") if file.is_file() and not file.is_symlink()]
    assert {"lib.json", "junit-app.xml", "push.xml", "work.json"} <= {file.name for file in files}
    leaks = [str(file) for file in files if any(secret in file.read_bytes() for secret in secrets)]
    put = [] if "FAKE_OP" in scene.environment else [str(scene.folder / "tokens" / "public-read")]
    assert leaks == put, "nowhere but where it was put"
    assert list((tmp_path / "scratch").iterdir()) == [], "the private files are gone"


def test_the_process_list_shows_a_token_that_is_an_argument() -> None:
    with ProcessWatch({"TOKEN": "0.34567"}, "PATH=") as processes:
        subprocess.run(["sleep", "0.34567"], check=True)
    assert ("TOKEN", "sleep 0.34567") in processes.exposed
