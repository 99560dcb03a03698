"""Tokens from files and variables: read whole or refused, and never shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelinegen import config_file
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import CredentialsError
from pipelinegen.secret_files import TOKEN_BYTES, cache_token, read_secret

Put = Callable[[str], tuple[str | None, str | None]]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"


@pytest.fixture(params=["file", "file variable", "variable"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Puts a text where a setting finds it; the setting as (file, variable)."""

    def put(text: str) -> tuple[str | None, str | None]:
        file = tmp_path / "token"
        file.write_bytes(text.encode())
        if request.param == "variable":
            monkeypatch.setenv("THE_TOKEN", text)
            return None, "THE_TOKEN"
        monkeypatch.setenv("THE_TOKEN", str(file))
        return (str(file) if request.param == "file" else "$THE_TOKEN"), None

    return put


@pytest.mark.parametrize("text", [TOKEN, f"{TOKEN}\n", f" \t{TOKEN}\r\n\n"], ids=["bare", "line", "padded"])
def test_a_token_is_read_without_the_white_space_around_it(place: Put, text: str) -> None:
    file, variable = place(text)
    secret = read_secret(file, variable, purpose="token")
    assert secret is not None
    assert secret.get_secret_value() == TOKEN
    assert TOKEN not in repr(secret)


@pytest.mark.parametrize(
    "text",
    [
        "   \n",
        "geheim geheim",
        "geheim\ngeheim",
        "geheim\r\nX-Header: 1",
        "geheim\x07geheim",
        "geheim\x1b[0m",
        "gehéim",
    ],
    ids=["blank", "space", "two lines", "header", "bell", "escape", "not ascii"],
)
def test_what_no_token_looks_like_is_refused_and_not_shown(place: Put, text: str) -> None:
    file, variable = place(text)
    with pytest.raises(CredentialsError) as raised:
        read_secret(file, variable, purpose="token of cache main")
    error = raised.value
    shown = "\n".join(filter(None, [error.message, error.where, error.why, error.hint, repr(error)]))
    assert "geh" not in shown
    assert "token of cache main" in shown
    assert error.__cause__ is None


def test_a_variable_that_is_not_set_is_missing_and_the_hint_says_on_which_refs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THE_TOKEN", raising=False)
    for setting in [(None, "THE_TOKEN"), ("$THE_TOKEN", None)]:
        with pytest.raises(CredentialsError, match="missing") as raised:
            read_secret(*setting, purpose="token")
        assert raised.value.where == "variable THE_TOKEN"
        assert "protected refs" in (raised.value.hint or "")


def test_a_variable_of_type_file_says_which_setting_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("THE_TOKEN", str(tmp_path / "token"))
    with pytest.raises(CredentialsError) as raised:
        read_secret(None, "THE_TOKEN", purpose="token")
    assert "_file" in (raised.value.hint or "")
    assert str(tmp_path) not in f"{raised.value.message}{raised.value.why}{raised.value.hint}"


def test_a_variable_that_holds_the_token_where_a_file_is_meant_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    with pytest.raises(CredentialsError) as raised:
        read_secret("$THE_TOKEN", None, purpose="token")
    assert TOKEN not in f"{raised.value.message}{raised.value.where}{raised.value.why}{raised.value.hint}"


def test_a_large_file_is_no_token_and_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"x" * (TOKEN_BYTES + 1))
    with pytest.raises(CredentialsError, match="not in this file"):
        read_secret(str(tmp_path / "token"), None, purpose="token")


def test_without_a_setting_there_is_no_token() -> None:
    assert read_secret(None, None, purpose="token") is None


def test_pushing_takes_the_token_for_pushing_and_else_the_one_for_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READ", "reading")
    monkeypatch.setenv("PUSH", "pushing")

    def token(push: bool, **settings: str) -> str | None:
        cache = CacheConfig(url="https://cache.invalid/main", backend="attic", **settings)
        secret = cache_token("main", cache, push=push)
        return secret.get_secret_value() if secret else None

    assert token(push=True, token_env="READ", push_token_env="PUSH") == "pushing"
    assert token(push=False, token_env="READ", push_token_env="PUSH") == "reading"
    assert token(push=True, token_env="READ") == "reading"
    assert token(push=False, push_token_env="PUSH") is None
    assert token(push=True) is None


def test_relative_files_lie_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "keys").mkdir(parents=True)
    elsewhere.mkdir()
    (project / "keys" / "token").write_text(TOKEN)
    (project / "pipelinegen.toml").write_text(
        '[caches.main]\nurl = "https://cache.invalid/main"\nbackend = "attic"\ntoken_file = "keys/token"\n'
        '[caches.other]\nurl = "https://other.invalid"\nnetrc_file = "$NETRC"\nsecret_key_file = "/run/key"\n'
        '[hosts.web]\naddress = "web"\nknown_hosts_file = "hosts"\n'
    )
    monkeypatch.chdir(elsewhere)
    config = config_file.load(project).config
    assert cache_token("main", config.caches["main"], push=False) is not None
    assert config.caches["other"].netrc_file == "$NETRC"
    assert config.caches["other"].secret_key_file == "/run/key"
    assert config.hosts["web"].known_hosts_file == str(project / "hosts")
    assert config.hosts["web"].ssh_key_file == "$DEPLOY_SSH_KEY"
