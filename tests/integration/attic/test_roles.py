"""The printed commands, run by the real atticadm: each token does what its role needs on a real server, no more."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelinegen.cache.provisioning.grants import Role
from pipelinegen.cli import run_command_line
from tests.attic_server.real import RealAttic, real_attic, real_problem
from tests.integration.attic.client import Client

pytestmark = pytest.mark.skipif(real_problem() is not None, reason=str(real_problem()))

CACHES = ("ci-main", "ci-mr", "prod")

CONFIG = """
[caches.prod]
url = "{url}prod"
backend = "attic"
writers = "protected"
publish = true
token_env = "ATTIC_READ"
push_token_env = "ATTIC_PUBLISH"

[caches.ci-main]
url = "{url}ci-main"
backend = "attic"
writers = "protected"
token_env = "ATTIC_MAIN"

[caches.ci-mr]
url = "{url}ci-mr"
backend = "attic"
writers = "unprotected"
token_env = "ATTIC_MR"

[handoff]
mode = "cache"
protected = "ci-main"
unprotected = "ci-mr"
"""


class Servant(NamedTuple):
    server: RealAttic
    script: str
    """What `cache token` printed."""

    def token(self, role: Role) -> str:
        """Made by exactly the printed line."""
        (line,) = (line for line in self.script.splitlines() if f"--sub {role.value} " in line)
        program, command, *words = shlex.split(line)
        assert (program, command) == ("atticadm", "make-token")
        return self.server.token_of_atticadm(*words)


@pytest.fixture(scope="module")
def servant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servant]:
    """A server with the three caches, and the commands for its tokens."""
    folder = tmp_path_factory.mktemp("roles")
    with real_attic(folder / "server") as server, pytest.MonkeyPatch.context() as patch:
        for cache in CACHES:
            server.create_cache(cache)
        (folder / "pipelinegen.toml").write_text(CONFIG.format(url=server.url))
        patch.chdir(folder)
        yield Servant(server, _script(folder))


def _script(folder: Path) -> str:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run_command_line(["-C", str(folder), "cache", "token"]) == 0
    return out.getvalue()


def allowed(server: RealAttic, cache: str, token: str) -> set[str]:
    """What the server lets this token do, found by doing it."""
    client = Client(server, cache, token)
    answers = {
        "pull": client.config(),
        "push": client.missing("0" * 32),
        "configure-cache": client.config("PATCH", json={"priority": 41}),
        "configure-cache-retention": client.config("PATCH", json={"retention_period": "Global"}),
        "create-cache": client.config("POST", json={"keypair": "Generate", "is_public": True, "store_dir": "/nix/store",
                                                    "priority": 1, "upstream_cache_key_names": []}),
        "destroy-cache": client.config("DELETE"),
    }  # fmt: skip
    return {word for word, answer in answers.items() if answer.status_code not in {401, 403}}


ADMIN = {"pull", "create-cache", "configure-cache", "configure-cache-retention"}

MAY: dict[Role, dict[str, set[str]]] = {
    Role.PEOPLE: {"prod": {"pull"}},
    Role.READING: {"ci-main": {"pull"}, "ci-mr": {"pull"}, "prod": {"pull"}},
    Role.UNPROTECTED: {"ci-main": {"pull"}, "ci-mr": {"pull", "push"}, "prod": {"pull"}},
    Role.PROTECTED: {"ci-main": {"pull", "push"}, "prod": {"pull"}},
    Role.PUBLISHING: {"prod": {"pull", "push"}},
    Role.ADMINISTRATION: dict.fromkeys(CACHES, ADMIN),
}


@pytest.mark.parametrize("role", Role, ids=[role.value for role in Role])
def test_a_printed_token_does_what_its_role_needs_and_nothing_else(role: Role, servant: Servant) -> None:
    token = servant.token(role)
    done = {cache: allowed(servant.server, cache, token) for cache in CACHES}
    assert done == {cache: MAY[role].get(cache, set()) for cache in CACHES}
    assert not allowed(servant.server, "another", token), "exact names, no patterns"


def test_what_would_be_two_wildcards_is_two_rights_of_one_name(servant: Servant) -> None:
    """The trap that the lines avoid: rights of two entries are not merged."""
    trap = servant.server.token_of_atticadm(
        *("--sub", "trap", "--validity", "1day", "--pull", "ci-*", "--push", "ci-main")
    )
    assert allowed(servant.server, "ci-main", trap) == {"push"}


def test_the_administration_token_provisions_and_the_others_do_not(
    servant: Servant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIG.format(url=servant.server.url).replace("publish = true", 'publish = true\nretention = "90 days"')
    Path("pipelinegen.toml").write_text(config)
    for role, code in ((Role.PUBLISHING, 4), (Role.PEOPLE, 4), (Role.ADMINISTRATION, 0)):
        monkeypatch.setenv("GIVEN", servant.token(role))
        assert run_command_line(["cache", "provision", "--yes", "--token-env", "GIVEN", "prod"]) == code
    assert "retention" in capsys.readouterr().err
    settings = Client(servant.server, "prod", servant.server.token({"prod": "r"})).config().json()
    assert settings["retention_period"] == {"Period": 90 * 86400}
