"""`cache info` against both servers: what it shows, what it finds, and the exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.cli import run_command_line
from tests.attic_server import Endpoint, Fault, Reply, attic_server, redirect, web_page
from tests.attic_server.real import Settings
from tests.integration.attic.client import Attic
from tests.integration.attic.conftest import Start

DAY = 86400
TOKEN = "INFO_TOKEN"


class Shown:
    """What one run said of one cache."""

    def __init__(self, code: int, text: str, record: dict[str, Any]) -> None:
        self.code, self.text, self.record = code, text, record

    @property
    def findings(self) -> str:
        return "\n".join(f"{one['exit_code']} {one['message']}" for one in self.record["findings"])


Info = Callable[..., Shown]


@pytest.fixture
def info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Info:
    """Runs it for one cache, as text and as JSON."""
    monkeypatch.chdir(tmp_path)

    def run(url: str, *, token: str | None = None, **settings: object) -> Shown:
        given = {"url": url, "backend": "attic", "writers": "protected", **settings}
        if token is not None:
            monkeypatch.setenv(TOKEN, token)
            given.setdefault("token_env", TOKEN)
        lines = [f"{key} = {json.dumps(value)}" for key, value in given.items() if value is not None]
        (tmp_path / "pipelinegen.toml").write_text("\n".join(["[caches.it]", *lines]))
        capsys.readouterr()
        code = run_command_line(["--color", "never", "cache", "info"])
        text = capsys.readouterr().out
        assert run_command_line(["cache", "info", "--json", "it"]) == code
        printed = capsys.readouterr().out
        assert printed.isascii(), "what servers say may hold what terminals obey"
        record = json.loads(printed)
        assert record["format_version"] == "1.0"
        assert token is None or token not in text + json.dumps(record)
        return Shown(code, text, record["caches"][0])

    return run


def test_everything_that_the_server_and_the_token_say_is_shown(attic: Attic, cache_name: str, info: Info) -> None:
    key = attic.create_cache(cache_name, priority=30, retention=90 * DAY)
    token = attic.token({cache_name: "r w"}, seconds=30 * DAY, sub="ci")
    shown = info(f"{attic.url}{cache_name}", token=token, public_key=key, publish=True)
    assert shown.code == 0
    for line in (
        "public         no",
        "priority       30",
        "retention      90 days",
        "upstream keys  cache.nixos.org-1",
        f"api endpoint   {attic.url}",
        f"public key     {key} (as configured)",
        "protected: pipelines of protected refs, published to",
    ):
        assert line in shown.text, line
    (held,) = shown.record["tokens"]
    assert (held["permissions"], held["subject"], held["accepted"]) == (["pull", "push"], "ci", True)
    assert f"for reading and pushing, from variable {TOKEN}: pull, push, until 2" in shown.text
    assert shown.findings == ""
    assert "once a week" in shown.text, "advice about the retention"


def test_without_a_configured_key_the_line_to_add_is_printed(attic: Attic, cache_name: str, info: Info) -> None:
    key = attic.create_cache(cache_name, public=True)
    shown = info(f"{attic.url}{cache_name}")
    assert shown.code == 1
    assert f'    public_key = "{key}"\n' in shown.text


def test_another_key_than_the_configured_one_is_an_error(attic: Attic, cache_name: str, info: Info) -> None:
    attic.create_cache(cache_name, public=True)
    shown = info(f"{attic.url}{cache_name}", public_key="old:AAAA")
    assert shown.code == 1
    assert "1 the configured public_key is not the one" in shown.findings
    assert shown.record["key_matches"] is False


@pytest.mark.parametrize("public", [False, True], ids=["private, 401", "public, where reading still works"])
def test_an_expired_token_is_told_with_its_end(public: bool, attic: Attic, cache_name: str, info: Info) -> None:
    key = attic.create_cache(cache_name, public=public)
    token = attic.token({cache_name: "r w"}, seconds=-DAY)
    shown = info(f"{attic.url}{cache_name}", token=token, public_key=key)
    assert shown.code == 4
    assert f"4 the token of variable {TOKEN} expired at 20" in shown.findings
    assert (shown.record["settings"] is not None) == public


@pytest.mark.parametrize("public", [False, True], ids=["private, 401", "public, 403"])
def test_a_token_signed_with_another_key_is_told(public: bool, attic: Attic, cache_name: str, info: Info) -> None:
    key = attic.create_cache(cache_name, public=public)
    token = attic.token({cache_name: "r w"})
    shown = info(f"{attic.url}{cache_name}", token=f"{token[:-4]}AAAA", public_key=key)
    assert shown.code == 4
    assert "it was signed with another key" in shown.findings
    assert shown.record["tokens"][0]["accepted"] is False


def test_a_token_for_another_cache_is_told_with_what_it_is_for(attic: Attic, cache_name: str, info: Info) -> None:
    key = attic.create_cache(cache_name)
    shown = info(f"{attic.url}{cache_name}", token=attic.token({"elsewhere": "r w"}), public_key=key)
    assert shown.code == 4
    assert f"the token is for elsewhere, not for {cache_name}" in shown.findings


@pytest.mark.parametrize(("days", "words"), [(5, "expires in 4 days"), (0.5, "expires today"), (15, None)])
def test_a_token_that_ends_soon_is_warned_about(
    days: float, words: str | None, attic: Attic, cache_name: str, info: Info
) -> None:
    key = attic.create_cache(cache_name)
    token = attic.token({cache_name: "r"}, seconds=days * DAY - 60)
    shown = info(f"{attic.url}{cache_name}", token=token, public_key=key)
    assert shown.code == 0
    assert shown.findings == "" if words is None else words in shown.findings


def test_a_push_token_is_looked_at_for_itself(
    attic: Attic, cache_name: str, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = attic.create_cache(cache_name)
    url = f"{attic.url}{cache_name}"
    monkeypatch.setenv("PUSH", attic.token({cache_name: "r w"}))
    shown = info(url, token=attic.token({cache_name: "r"}), public_key=key, push_token_env="PUSH")
    assert shown.code == 0
    assert [(one["purpose"], one["accepted"]) for one in shown.record["tokens"]] == [
        ("reading", None),
        ("pushing", True),
    ]
    monkeypatch.setenv("PUSH", attic.token({cache_name: "r"}))
    shown = info(url, token=attic.token({cache_name: "r"}), public_key=key, push_token_env="PUSH")
    assert shown.code == 4
    assert "does not allow to push" in shown.findings


def test_a_missing_token_is_only_a_warning_where_anybody_may_read(attic: Attic, cache_name: str, info: Info) -> None:
    key = attic.create_cache(cache_name, public=True)
    shown = info(f"{attic.url}{cache_name}", token_env="NOT_HERE", public_key=key)
    assert shown.code == 0
    assert "0 the token of cache it is missing (variable NOT_HERE)" in shown.findings


def test_a_missing_token_is_the_reason_where_the_cache_is_private(attic: Attic, cache_name: str, info: Info) -> None:
    attic.create_cache(cache_name)
    shown = info(f"{attic.url}{cache_name}", token_env="NOT_HERE")
    assert shown.code == 4
    assert "no token is configured" in shown.findings


def test_what_differs_from_the_configuration_is_shown(attic: Attic, cache_name: str, info: Info) -> None:
    key = attic.create_cache(cache_name, public=True, retention=DAY)
    shown = info(f"{attic.url}{cache_name}", public_key=key, priority=7, retention="2 days")
    assert shown.code == 0
    assert "priority (41, configured: 7), retention (1 day, configured: 2 days)" in shown.findings


def test_an_api_endpoint_without_its_last_slash_is_explained(start: Start, info: Info) -> None:
    attic = start(Settings(api_endpoint="https://elsewhere.example.org/attic"))
    key = attic.create_cache("ci", public=True)
    shown = info(f"{attic.url}ci", public_key=key)
    assert shown.code == 0
    assert "does not end in /" in shown.findings
    assert "pushes go to the server's own api-endpoint" in shown.findings
    fixed = info(f"{attic.url}ci", public_key=key, push_url=f"{attic.url}ci")
    assert "pushes go to the server's own" not in fixed.findings


def test_a_cache_that_is_not_there_is_told_with_what_makes_it(attic: Attic, cache_name: str, info: Info) -> None:
    shown = info(f"{attic.url}{cache_name}", token=attic.token({cache_name: "r w"}))
    assert shown.code == 1
    assert f"1 there is no cache {cache_name}" in shown.findings
    assert "cache provision" in shown.text
    assert shown.record["tokens"][0]["accepted"] is None, "nothing was found out about the token"


def test_an_unreachable_server_is_told(info: Info) -> None:
    shown = info("http://127.0.0.1:1/ci")
    assert shown.code == 1
    assert "cannot be reached" in shown.findings


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Reply(502, form="html"), "not Attic itself"),
        (Reply(500), "answered 500"),
        (redirect("https://elsewhere/"), "redirects (301)"),
        (web_page(), "no Attic server"),
    ],
    ids=["proxy", "server", "redirect", "page"],
)
def test_other_answers_are_explained(fault: Any, words: str, tmp_path: Path, info: Info) -> None:
    with attic_server(tmp_path / "server") as server:
        server.create_cache("ci", public=True)
        server.faults.add(Fault(fault, endpoint=Endpoint.CONFIG))
        shown = info(f"{server.url}ci")
        assert shown.code == 1
        assert words in shown.findings


def test_a_token_over_http_is_warned_about_beyond_this_machine(info: Info) -> None:
    shown = info("http://cache.invalid/ci", token="x.y.z")
    assert "tokens travel unencrypted to http://cache.invalid/ci" in shown.findings


def test_a_hostile_server_cannot_write_on_the_terminal(tmp_path: Path, info: Info) -> None:
    with attic_server(tmp_path / "server") as server:
        server.create_cache("ci", public=True, upstream=["\x1b[2Jforged\n\x9b2J\u202esection_start:0:x"])
        server.api_endpoint = "http://evil\x1b[31m\n/"
        shown = info(f"{server.url}ci", upstream_keys=["x"])
        assert "\x1b" not in shown.text
        assert "section_start:" not in shown.text


@pytest.mark.nix
@pytest.mark.skipif(shutil.which("nix") is None, reason="there is no Nix here")
@pytest.mark.parametrize(
    ("url", "more", "code"),
    [
        ("http://127.0.0.1:40301/x", {}, 1),
        ("http://127.0.0.1:40301/x", {"netrc_file": "$NO_SUCH_VARIABLE"}, 4),
        ("http://127.0.0.1:40301/x", {"netrc_file": "/nonexistent/netrc"}, 4),
    ],
    ids=["a port is no answer", "variable missing", "file missing"],
)
def test_credentials_are_the_reason_only_where_they_are(url: str, more: dict[str, str], code: int, info: Info) -> None:
    shown = info(url, backend="nix", writers="upstream", public_key="k:AAAA", **more)
    assert shown.code == code


@pytest.mark.nix
@pytest.mark.skipif(shutil.which("nix") is None, reason="there is no Nix here")
def test_a_cache_of_another_kind_is_asked_by_nix(tmp_path: Path, info: Info) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "nix-cache-info").write_text("StoreDir: /nix/store\n")
    shown = info(f"file://{tmp_path}/cache", backend="nix")
    assert shown.code == 0
    assert "believed without a signature" in shown.findings
    shown = info("http://127.0.0.1:1/ci", backend="nix", public_key="k:AAAA")
    assert shown.code == 1
    assert "it does not answer" in shown.findings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "itt"], "did you mean 'it'?"),
        (["provision"], "no cache to do this with"),
        (["token"], "no cache to do this with"),
        (["token", "--server-command", ""], "empty"),
        (["provision", "--token-env", "A", "--token-file", "b"], "two ways"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_exit_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "pipelinegen.toml").write_text('[caches.it]\nurl = "https://cache/it"\nbackend = "attic"\n')
    monkeypatch.chdir(tmp_path)
    assert run_command_line(["cache", *arguments]) == 2
    assert words in capsys.readouterr().err
