"""`cache provision` against both servers: what it creates, changes, leaves, refuses and prints."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from pipelinegen.cache.provisioning import administer
from pipelinegen.cache.provisioning.provision import Action
from pipelinegen.cli import run_command_line
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.errors import CredentialsError, StepFailedError
from tests.attic_server import AtticServer, Endpoint, Fault, Reply, Reset, attic_server
from tests.attic_server.real import Settings
from tests.integration.attic.client import Attic, Client
from tests.integration.attic.conftest import Start, clients

ADMIN = "r cc cr cq"
DAY = 86400


def write_config(folder: Path, url: str, name: str, **settings: object) -> None:
    lines = [f"[caches.{name}]", f'url = "{url}{name}"', 'backend = "attic"', 'writers = "protected"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    (folder / "pipelinegen.toml").write_text("\n".join(lines) + "\n")


@pytest.fixture
def provision(attic: Attic, cache_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs it for one cache with these settings, with a token that may do everything it needs."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, bits: str = ADMIN, **settings: object) -> int:
        write_config(tmp_path, attic.url, cache_name, **settings)
        monkeypatch.setenv("ADMIN", attic.token({cache_name: bits}))
        given = () if "token_env" in settings else ("--token-env", "ADMIN")
        return run_command_line(["--color", "never", "cache", "provision", *given, *arguments])

    return run


def told(attic: Attic, name: str) -> dict[str, Any]:
    settings: dict[str, Any] = Client(attic, name, attic.token({name: "r"})).config().json()
    return settings


def test_a_cache_is_created_as_configured_and_the_lines_to_paste_hold_its_key(
    attic: Attic, cache_name: str, provision: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision("--yes", priority=30, public=True, retention="90 days", upstream_keys=["a-1"]) == 0
    settings = told(attic, cache_name)
    assert settings["priority"] == 30
    assert settings["is_public"] is True
    assert settings["retention_period"] == {"Period": 90 * DAY}
    assert settings["upstream_cache_key_names"] == ["a-1"]
    assert settings["store_dir"] == administer.store_dir()
    said = capsys.readouterr()
    assert f"extra-substituters = {attic.url}{cache_name}\n" in said.out
    assert f"extra-trusted-public-keys = {settings['public_key']}\n" in said.out
    _, toml = said.out.split("# pipelinegen.toml\n")
    assert tomllib.loads(toml) == {"caches": {cache_name: {"public_key": settings["public_key"]}}}
    assert f"+ {cache_name}" in said.err
    assert "1 to create, 0 to change, 0 as configured" in said.err


def test_a_second_run_changes_nothing_and_says_so(
    attic: Attic, cache_name: str, provision: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision("--yes", priority=30, retention="90 days") == 0
    first = told(attic, cache_name)
    out = capsys.readouterr().out
    if isinstance(attic, AtticServer):
        attic.forget_requests()
    assert provision(priority=30, retention="90 days") == 0, "there is nothing to say yes to"
    said = capsys.readouterr()
    assert "nothing to change" in said.err
    assert said.out == out
    assert told(attic, cache_name) == first
    if isinstance(attic, AtticServer):
        assert not attic.asked(Endpoint.CREATE)
        assert not attic.asked(Endpoint.CONFIGURE)


def test_a_new_priority_leaves_retention_key_and_everything_else(
    attic: Attic, cache_name: str, provision: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    attic.create_cache(cache_name, public=True, upstream=["a-1"], retention=30 * DAY)
    before = told(attic, cache_name)
    # Attic's own client would ask for the right to change the retention here, and reset it.
    assert provision("--yes", bits="r cr", priority=12) == 0
    assert told(attic, cache_name) == {**before, "priority": 12}
    said = capsys.readouterr().err
    assert "priority  41 -> 12" in said
    assert "not configured, so left: public yes, upstream_keys a-1, retention 30 days" in said


@pytest.mark.parametrize(
    ("retention", "period", "words"),
    [
        ("server", "Global", "as the server is set"),
        ("forever", {"Period": 0}, "turns collecting by age off"),
        ("1 day", {"Period": DAY}, "deleted at the next collection"),
    ],
)
def test_a_retention_is_changed_and_what_that_means_is_said(
    retention: str,
    period: object,
    words: str,
    attic: Attic,
    cache_name: str,
    provision: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    attic.create_cache(cache_name, retention=30 * DAY)
    before = told(attic, cache_name)
    assert provision("--yes", retention=retention) == 0
    assert told(attic, cache_name) == {**before, "retention_period": period}
    assert words in capsys.readouterr().err


def test_a_dry_run_shows_the_difference_on_stdout_and_changes_nothing(
    attic: Attic, cache_name: str, provision: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    attic.create_cache(cache_name)
    before = told(attic, cache_name)
    assert provision("--dry-run", priority=1, bits="r") == 0
    said = capsys.readouterr()
    assert "~ priority  41 -> 1" in said.out
    assert "public_key" not in said.out
    assert told(attic, cache_name) == before


def test_where_nobody_can_be_asked_nothing_is_changed_without_yes(
    attic: Attic, cache_name: str, provision: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    attic.create_cache(cache_name)
    assert provision(priority=1) == 2
    said = capsys.readouterr()
    assert "priority  41 -> 1" in said.err
    assert "--yes" in said.err
    assert not said.out
    assert told(attic, cache_name)["priority"] == 41


@pytest.mark.parametrize(("answer", "code", "priority"), [(b"y\n", 0, 1), (b"n\n", 1, 41), (b"\n", 1, 41)])
def test_on_a_terminal_the_person_decides(
    answer: bytes, code: int, priority: int, attic: Attic, cache_name: str, tmp_path: Path
) -> None:
    attic.create_cache(cache_name)
    write_config(tmp_path, attic.url, cache_name, priority=1)
    (tmp_path / "token").write_text(attic.token({cache_name: ADMIN}))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pipelinegen", "cache", "provision", "--token-file", "token"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, cwd=tmp_path, env=environment
    ) as child:
        os.close(theirs)
        os.write(ours, answer)
        said = b""
        while b"changes?" not in said:
            said += os.read(ours, 1000)
        assert child.wait(30) == code
    os.close(ours)
    assert told(attic, cache_name)["priority"] == priority


def test_json_is_one_record_with_what_was_done(
    attic: Attic, cache_name: str, provision: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision("--yes", "--json", retention="1 day") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["format_version"] == "1.0"
    assert record["applied"] is True
    (cache,) = record["caches"]
    assert (cache["name"], cache["action"]) == (cache_name, "create")
    assert cache["public_key"] == told(attic, cache_name)["public_key"]
    assert {"field": "retention", "before": None, "after": DAY, "configured": True} in cache["changes"]


@pytest.mark.parametrize(
    ("bits", "settings", "lacking"),
    [
        ("r", {}, "not create-cache"),
        ("r cc", {"retention": "1 day"}, "not configure-cache"),
        ("r cc cr", {"retention": "1 day"}, "not configure-cache-retention"),
    ],
    ids=["creating", "changing", "retention"],
)
def test_a_token_that_is_too_narrow_is_told_before_anything_is_done(
    bits: str,
    settings: dict[str, object],
    lacking: str,
    attic: Attic,
    cache_name: str,
    provision: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert provision("--yes", bits=bits, **settings) == 4
    assert lacking in capsys.readouterr().err
    assert Client(attic, cache_name, attic.token({cache_name: "r"})).config().status_code == 404


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
def test_an_expired_token_is_told_with_its_end(
    public: bool,
    attic: Attic,
    cache_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attic.create_cache(cache_name, public=public)
    write_config(tmp_path, attic.url, cache_name, priority=1, token_env="OLD")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLD", attic.token({cache_name: ADMIN}, seconds=-100))
    assert run_command_line(["cache", "provision", "--yes"]) == 4
    said = capsys.readouterr().err
    assert "expired at 20" in said
    assert os.environ["OLD"] not in said
    assert Client(attic, cache_name, attic.token({cache_name: "r"})).config().json()["priority"] == 41


def managed(attic: Attic, name: str, bits: str = ADMIN, **settings: Any) -> administer.Managed:
    config = CacheConfig(url=f"{attic.url}{name}", backend="attic", writers=WriterClass.PROTECTED, **settings)
    return administer.Managed(name, config, SecretStr(attic.token({name: bits})))


def test_a_cache_that_somebody_creates_in_between_is_changed_instead(attic: Attic, cache_name: str) -> None:
    one = managed(attic, cache_name, priority=7, retention="2 days")
    assert administer.look(one) is None
    key = attic.create_cache(cache_name, retention=5)
    notices: list[str] = []
    after = administer.apply(one, None, notices.append)
    assert after.public_key == key, "the key pair of others stays"
    assert (after.priority, after.retention) == (7, 2 * DAY)
    assert any("somebody else" in notice for notice in notices)


def test_what_was_done_before_a_refusal_is_told(attic: Attic, cache_name: str) -> None:
    one = managed(attic, cache_name, "r cc", retention="1 day")
    with pytest.raises(CredentialsError, match="it was created"):
        administer.apply(one, None, lambda _: None)
    assert administer.look(one) is not None


def test_a_name_that_a_deleted_cache_keeps_is_told(start: Start) -> None:
    attic = start(Settings(soft_delete=True))
    owner = clients(attic, "gone", "r cc cd")
    owner.config("DELETE").raise_for_status()
    one = managed(attic, "gone")
    assert administer.look(one) is None
    with pytest.raises(StepFailedError) as caught:
        administer.apply(one, None, lambda _: None)
    assert "deleted" in (caught.value.why or "")


@pytest.mark.parametrize("moment", ["head", "stored"])
def test_an_answer_that_is_lost_is_no_reason_to_stop(moment: Any, tmp_path: Path) -> None:
    with attic_server(tmp_path / "server") as server:
        server.faults.add(Fault(Reset(moment), endpoint=Endpoint.CREATE, nth=[1]))
        server.faults.add(Fault(Reply(503), endpoint=Endpoint.CONFIGURE, nth=[1]))
        one = managed(server, "ci", retention="1 day")
        after = administer.apply(one, administer.look(one), lambda _: None)
        assert after.retention == DAY


def test_a_server_that_takes_settings_and_keeps_others_is_told(tmp_path: Path) -> None:
    with attic_server(tmp_path / "server") as server:
        server.create_cache("ci")
        server.faults.add(Fault(Reply(200, form="text", text=""), endpoint=Endpoint.CONFIGURE))
        one = managed(server, "ci", priority=1)
        with pytest.raises(Exception, match="not as configured") as caught:
            administer.apply(one, administer.look(one), lambda _: None)
        assert "says something else" in str(getattr(caught.value, "why", ""))


@settings(max_examples=10, deadline=None)
@given(
    steps=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "public": st.booleans(),
                "priority": st.integers(0, 2**31 - 1),
                "upstream_keys": st.lists(st.sampled_from(["a-1", "b-1"])).map(tuple),
                "retention": st.sampled_from(["server", "forever", "1 day", "2 weeks"]),
            },
        ),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_is_configured_in_turn_a_second_run_finds_nothing_and_what_is_not_named_stays(
    steps: list[dict[str, Any]],
) -> None:
    with attic_server() as server:
        key = None
        expected: dict[str, Any] = {}
        for step in steps:
            one = managed(server, "ci", **step)
            after = administer.apply(one, administer.look(one), pytest.fail)
            expected |= step
            key = key or after.public_key
            assert after.public_key == key
            server.forget_requests()
            again = administer.apply(one, administer.look(one), pytest.fail)
            assert again == after
            assert not server.asked(Endpoint.CREATE) + server.asked(Endpoint.CONFIGURE)
            everything = managed(server, "ci", **expected)
            assert everything.plan(after).action is Action.NONE, "what earlier steps set is still there"


def test_the_token_of_one_server_is_not_sent_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with attic_server(tmp_path / "a") as one, attic_server(tmp_path / "b") as two:
        text = ""
        for name, server in (("one", one), ("two", two)):
            write_config(tmp_path, server.url, name)
            text += (tmp_path / "pipelinegen.toml").read_text()
        (tmp_path / "pipelinegen.toml").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ADMIN", one.token({"*": ADMIN}))
        assert run_command_line(["cache", "provision", "--yes", "--token-env", "ADMIN"]) == 2
        assert "several" in capsys.readouterr().err
        assert not one.requests
        assert not two.requests
        assert run_command_line(["cache", "provision", "--yes", "--token-env", "ADMIN", "one"]) == 0


def test_equal_names_on_two_servers_are_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with attic_server(tmp_path / "a") as one, attic_server(tmp_path / "b") as two:
        lines = []
        for name, server in (("one", one), ("two", two)):
            server.create_cache("ci", public=True)
            lines += [f"[caches.{name}]", f'url = "{server.url}ci"', 'backend = "attic"', 'writers = "protected"']
        (tmp_path / "pipelinegen.toml").write_text("\n".join(lines))
        monkeypatch.chdir(tmp_path)
        assert run_command_line(["cache", "provision"]) == 0
        assert "one, two have different keys of one name, ci" in capsys.readouterr().err


def test_a_token_file_is_looked_for_where_the_configuration_is(
    attic: Attic, cache_name: str, provision: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provision("--dry-run")
    (tmp_path / "admin").write_text(attic.token({cache_name: ADMIN}))
    monkeypatch.chdir("/")
    words = ["-C", str(tmp_path), "cache", "provision", "--token-file", "admin", "--yes"]
    assert run_command_line(words) == 0
    monkeypatch.setenv("FILE", str(tmp_path / "admin"))
    assert run_command_line([*words[:-2], "$FILE"]) == 0
