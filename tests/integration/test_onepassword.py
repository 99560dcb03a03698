"""Secrets from 1Password by a command `op` that follows its documented protocol, and by one that does not."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pipelinegen import config_file, onepassword, secret_files
from pipelinegen.cache.access import trusted_sources
from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.cache.provisioning.survey import survey
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.ci_env import CiEnv
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig
from pipelinegen.config_hosts import HostConfig
from pipelinegen.deploy.keys import key_files
from pipelinegen.errors import CredentialsError, PipelinegenError, ToolError, TransientError
from pipelinegen.gitlab_api import connect
from tests import fake_op
from tests.fake_op import FakeOp
from tests.integration.conftest import ONE_NIX

TOKEN = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"
REFERENCE = "op://pantherOS/Attic/ci-token"
ACCOUNT = "ops_c2VydmljZS1hY2NvdW50"


@pytest.fixture
def op(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeOp:
    """`op` on PATH, with one secret, signed in by a service account; nothing is remembered from other tests."""
    fake = fake_op.install(tmp_path / "op")
    fake.write({REFERENCE: TOKEN})
    monkeypatch.setenv("PATH", str(fake.folder / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_OP", str(fake.folder))
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", ACCOUNT)
    monkeypatch.setenv("CI", "true")
    for name in ("OP_CONNECT_HOST", "OP_CONNECT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(onepassword, "_KNOWN", {})
    return fake


def read(reference: str = REFERENCE) -> str:
    return onepassword.read(reference, purpose="token of cache ci", where="caches.ci.token_file")


def failing(kind: type[PipelinegenError]) -> Any:
    with pytest.raises(kind) as raised:
        read()
    error = raised.value
    shown = "\n".join(filter(None, [error.message, error.where, error.why, error.hint, repr(error)]))
    assert TOKEN not in shown
    assert ACCOUNT not in shown
    assert "leaked" not in shown
    assert "\x1b" not in shown
    return error


@pytest.mark.parametrize("mode", ["", "newline"])
def test_a_secret_is_what_op_prints(op: FakeOp, mode: str) -> None:
    op.behave(mode)
    assert read().strip() == TOKEN


def test_op_is_given_the_reference_alone_and_leaves_nothing_behind(
    op: FakeOp, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        read()
    (call,) = op.calls
    assert call["argv"] == ["read", "--no-newline", REFERENCE]
    assert call["settings"]["OP_CACHE"] == "false"
    assert call["settings"]["OP_FORMAT"] == "human-readable"
    assert TOKEN not in caplog.text
    assert ACCOUNT not in caplog.text


def test_a_reference_is_asked_for_once_and_so_is_one_that_is_refused(op: FakeOp) -> None:
    assert read() == read() == TOKEN
    assert len(op.calls) == 1
    for purpose in ("token of cache a", "token of cache b"):
        with pytest.raises(CredentialsError, match=purpose):
            onepassword.read("op://pantherOS/Attic/none", purpose=purpose, where="x")
    assert len(op.calls) == 2


def test_a_wrong_reference_never_reaches_op(op: FakeOp) -> None:
    with pytest.raises(CredentialsError) as raised:
        onepassword.read("op://vault", purpose="token", where="variable CI_ATTIC_TOKEN")
    assert raised.value.where == "variable CI_ATTIC_TOKEN"
    assert not op.calls


@pytest.mark.parametrize("mode", ["hourly limit", "daily limit", "no network", "server away", "deadline"])
def test_what_passes_is_worth_a_retry(op: FakeOp, mode: str) -> None:
    op.behave(mode)
    error = failing(TransientError)
    assert error.exit_code == 75
    assert error.where == REFERENCE
    assert ("ratelimit" in (error.hint or "")) == ("limit" in mode)


@pytest.mark.parametrize("mode", ["signed out", "no accounts", "bad token"])
def test_a_token_that_is_none_names_the_variable(op: FakeOp, mode: str) -> None:
    op.behave(mode)
    error = failing(CredentialsError)
    assert "nobody is signed in" in error.message
    assert "OP_SERVICE_ACCOUNT_TOKEN" in error.hint


def test_an_op_that_says_the_secret_itself_does_not_have_it_shown(op: FakeOp) -> None:
    op.behave("echoes the secret")
    assert failing(CredentialsError).why.endswith("cannot write [masked] to the clipboard")
    assert TOKEN not in repr(onepassword._KNOWN)


@pytest.mark.parametrize("mode", ["forbidden", "new words", "echoes its token"])
def test_what_is_refused_is_told_in_the_words_of_op_without_its_stamp(op: FakeOp, mode: str) -> None:
    op.behave(mode)
    error = failing(CredentialsError)
    assert error.why.startswith(f"could not read secret '{REFERENCE}': ")
    assert "right to read items of that vault" in error.hint


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("op://pantherOS/None/token", "isn't an item"),
        ("op://pantherOS/Attic/none", "does not have a field"),
        ("op://pantherOS/no such host, timed out/session", "isn't an item"),
    ],
    ids=["item", "field", "a name that reads like a failure"],
)
def test_what_is_not_there_is_no_passing_trouble(op: FakeOp, reference: str, said: str) -> None:
    with pytest.raises(CredentialsError) as raised:
        read(reference)
    assert said in (raised.value.why or "")
    assert "does not give" in raised.value.message
    assert op.calls


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("prints nothing", "is empty"),
        ("huge", "is not in 1Password at this place"),
        ("not utf-8", "is no text"),
    ],
)
def test_output_that_is_no_secret_is_refused(op: FakeOp, mode: str, message: str) -> None:
    op.behave(mode)
    assert message in failing(CredentialsError).message


def test_an_old_op_that_fails_with_exit_code_0_is_understood_by_what_it_says(op: FakeOp) -> None:
    op.behave("old server error")
    assert failing(TransientError).why == "(520) unknown answer of the server"


def test_a_hanging_op_is_ended(op: FakeOp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onepassword, "TIMEOUT", 1.0)
    op.behave("hang")
    began = time.monotonic()
    assert failing(TransientError).where == REFERENCE
    assert time.monotonic() - began < 15


def test_an_op_that_dies_is_a_broken_tool(op: FakeOp) -> None:
    op.behave("killed")
    assert failing(ToolError).exit_code == 5


def test_without_op_the_hint_says_what_to_install(op: FakeOp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(op.folder))
    error = failing(ToolError)
    assert error.exit_code == 5
    assert "1password-cli" in error.hint


def test_in_ci_without_a_service_account_op_is_not_started(op: FakeOp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OP_SERVICE_ACCOUNT_TOKEN")
    assert "neither OP_SERVICE_ACCOUNT_TOKEN nor" in failing(CredentialsError).why
    assert not op.calls


def test_a_connect_server_serves_as_well(op: FakeOp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OP_SERVICE_ACCOUNT_TOKEN")
    monkeypatch.setenv("OP_CONNECT_HOST", "https://connect.invalid")
    monkeypatch.setenv("OP_CONNECT_TOKEN", "t")
    assert read() == TOKEN
    assert op.calls


@pytest.mark.parametrize("way", ["setting", "variable", "file variable", "file"])
def test_a_token_comes_from_1password_wherever_a_reference_stands_for_it(
    op: FakeOp, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reference").write_text(f"{REFERENCE}\n")
    monkeypatch.setenv("CI_ATTIC_TOKEN", str(tmp_path / "reference") if way == "file variable" else f" {REFERENCE}\n")
    settings: dict[str, dict[str, Any]] = {
        "setting": {"token_file": REFERENCE},
        "variable": {"token_env": "CI_ATTIC_TOKEN"},
        "file variable": {"token_file": "$CI_ATTIC_TOKEN"},
        "file": {"token_file": str(tmp_path / "reference")},
    }
    cache = CacheConfig(url="https://cache.invalid/ci", backend="attic", **settings[way])
    op.behave("newline")
    for push in (False, True):
        secret = secret_files.cache_token("ci", cache, push=push)
        assert secret is not None
        assert secret.get_secret_value() == TOKEN
    assert len(op.calls) == 1


def test_a_text_of_several_lines_is_no_token_and_is_not_shown(op: FakeOp) -> None:
    op.write({REFERENCE: "geheim\ngeheim"})
    with pytest.raises(CredentialsError) as raised:
        secret_files.read_secret(REFERENCE, None, purpose="token")
    assert "geheim" not in f"{raised.value.message}{raised.value.why}{raised.value.where}"


@pytest.fixture
def private_key(tmp_path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    return (tmp_path / "id").read_text()


@pytest.mark.parametrize("way", ["setting", "file setting of a variable", "variable", "the key itself"])
def test_an_ssh_key_of_1password_is_a_private_file_for_as_long_as_it_is_needed(
    op: FakeOp, way: str, private_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = "op://pantherOS/SSH/private key?ssh-format=openssh"
    hosts = "op://pantherOS/SSH/known hosts"
    op.write({reference: private_key.replace("\n", "\r\n"), hosts: "web1 ssh-ed25519 AAAA"})
    monkeypatch.setenv("DEPLOY_SSH_KEY", private_key if way == "the key itself" else reference)
    monkeypatch.setenv("DEPLOY_KNOWN_HOSTS", hosts)
    settings = {"setting": {"ssh_key_file": reference}, "variable": {"ssh_key_env": "DEPLOY_SSH_KEY"}}.get(way, {})
    with key_files(HostConfig(address="web1", **settings)) as files:
        assert files.key is not None
        assert files.key.read_text() == private_key
        assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
        assert files.known_hosts is not None
        assert files.known_hosts.read_text() == "web1 ssh-ed25519 AAAA\n"
    assert not files.key.exists()


def test_a_key_whose_line_breaks_1password_dropped_says_how_to_keep_it(op: FakeOp, private_key: str) -> None:
    op.write({REFERENCE: private_key.replace("\n", " ")})
    host = HostConfig(address="a", ssh_key_file=REFERENCE, known_hosts_file=None)
    with pytest.raises(CredentialsError) as raised, key_files(host):
        pass
    assert "its line breaks are gone" in (raised.value.hint or "")
    assert private_key.split("\n")[1][:20] not in f"{raised.value.why}"


def test_gitlabs_token_may_be_a_reference_and_is_optional(op: FakeOp, monkeypatch: pytest.MonkeyPatch) -> None:
    env = CiEnv(gitlab=True, api_url="https://gitlab.invalid/api/v4", project_id="1")
    monkeypatch.setenv("CI_JOB_TOKEN", "job")
    monkeypatch.setenv("PIPELINEGEN_TOKEN", REFERENCE)
    api = connect(env)
    assert api is not None
    assert api.has_project_token
    assert not api.troubles
    monkeypatch.setenv("PIPELINEGEN_TOKEN", "op://pantherOS/none/x")
    api = connect(env)
    assert api is not None
    assert not api.has_project_token
    assert api.troubles == ["1Password does not give the GitLab token"]
    assert len(op.calls) == 2


@ONE_NIX
@pytest.mark.nix
@pytest.mark.usefixtures("nix_bin")
def test_a_store_is_signed_with_a_key_from_1password_and_asked_with_a_netrc_from_there(
    op: FakeOp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "private"))
    subprocess.run(["nix-store", "--generate-binary-cache-key", "ours", tmp_path / "sec", tmp_path / "pub"], check=True)
    op.write({"op://v/Cache/key": (tmp_path / "sec").read_text(), "op://v/Cache/netrc": "machine x password y"})
    (tmp_path / "hello").write_text("hello")
    path = subprocess.run(
        ["nix-store", "--add", tmp_path / "hello"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    (tmp_path / "cache").mkdir()
    config = CacheConfig(
        url=f"file://{tmp_path / 'cache'}",
        writers="protected",
        public_key=(tmp_path / "pub").read_text().strip(),
        secret_key_file="op://v/Cache/key",
        netrc_file="op://v/Cache/netrc",
    )
    cache = NixStoreCache("ours", config)
    cache.push([path])
    (narinfo,) = (tmp_path / "cache").glob("*.narinfo")
    assert "Sig: ours:" in narinfo.read_text()
    assert cache.query([path]) == ({path: True}, None)
    assert len(op.calls) == 2
    assert not list((tmp_path / "private").iterdir())


def test_a_wrong_netrc_reference_makes_a_cache_unknown_rather_than_empty(op: FakeOp, tmp_path: Path) -> None:
    config = CacheConfig(url=f"file://{tmp_path}", netrc_file="op://v/Cache/none")
    path = f"/nix/store/{'0' * 32}-x"
    answers, trouble = NixStoreCache("ours", config).query([path])
    assert answers == {path: None}
    assert trouble == "1Password does not give the netrc file of cache ours"
    assert op.calls


def test_a_cache_whose_netrc_file_cannot_be_had_now_is_a_finding_among_others(op: FakeOp, tmp_path: Path) -> None:
    op.behave("no network")
    config = CacheConfig(url=f"file://{tmp_path}", public_key="a-1:AAAA", netrc_file=REFERENCE)
    (finding,) = survey("ours", config, time.time).findings
    assert finding.exit_code == 1
    assert "1Password does not give the netrc file of cache ours now" in finding.message


def test_a_cache_to_read_from_is_left_out_while_1password_cannot_be_asked(op: FakeOp) -> None:
    settings = {"url": "https://cache.example.org/ci", "backend": "attic", "writers": "protected", "public_key": "ci:k"}
    config = Config(caches={"ci": CacheConfig.model_validate(settings | {"token_file": REFERENCE})})
    op.behave("hourly limit")
    said: list[str] = []
    assert trusted_sources(config, PipelineClass.PROTECTED, say=said.append) == []
    assert said[0].startswith("cache ci is not fetched from: ")


def test_the_first_users_three_variables_work_as_they_are(op: FakeOp, private_key: str, tmp_path: Path) -> None:
    (tmp_path / "pipelinegen.toml").write_text(
        '[caches.ci-cache]\nbackend = "attic"\nurl = "https://cache.example.org/ci-cache"\nwriters = "protected"\n'
        'token_env = "CI_ATTIC_TOKEN"\n[hosts.hetzner-vps]\naddress = "hetzner-vps.example.org"\n'
    )
    ssh = "op://pantherOS/SSH/deploy-key"
    op.write({REFERENCE: TOKEN, ssh: private_key, "op://pantherOS/SSH/hosts": "hetzner-vps ssh-ed25519 AAAA"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CI_ATTIC_TOKEN", REFERENCE)
        patch.setenv("DEPLOY_SSH_KEY", ssh)
        patch.setenv("DEPLOY_KNOWN_HOSTS", "op://pantherOS/SSH/hosts")
        patch.setenv("ATTIC_SERVER_URL", "https://cache.example.org")
        config = config_file.load(tmp_path).config
        secret = secret_files.cache_token("ci-cache", config.caches["ci-cache"], push=True)
        assert secret is not None
        assert secret.get_secret_value() == TOKEN
        with key_files(config.hosts["hetzner-vps"]) as files:
            assert files.key is not None
            assert files.key.read_text() == private_key
