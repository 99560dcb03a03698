"""The settings of caches: what both servers answer to reading, creating, changing and destroying them."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from tests.attic_server.keys import Keypair
from tests.attic_server.process import NO_TLS
from tests.attic_server.real import Settings
from tests.integration.attic.client import ALL, Attic, Client, error
from tests.integration.attic.conftest import Start, clients

NEW = {
    "keypair": "Generate",
    "is_public": True,
    "store_dir": "/nix/store",
    "priority": 41,
    "upstream_cache_key_names": ["cache.nixos.org-1"],
}


@pytest.fixture
def nobody(attic: Attic, cache_name: str) -> Client:
    """Who may do everything with a cache that does not exist."""
    return Client(attic, cache_name, attic.token({cache_name: ALL}))


def test_a_cache_is_created_with_an_empty_answer_and_then_has_the_settings_asked_for(nobody: Client) -> None:
    answer = nobody.config("POST", json=NEW)
    assert (answer.status_code, answer.content) == (200, b"")
    settings = nobody.config().json()
    key = settings.pop("public_key")
    assert key.startswith(f"{nobody.cache}:")
    assert settings == {
        "substituter_endpoint": f"{nobody.attic.url}{nobody.cache}",
        "api_endpoint": nobody.attic.url,
        "is_public": True,
        "store_dir": "/nix/store",
        "priority": 41,
        "upstream_cache_key_names": ["cache.nixos.org-1"],
        "retention_period": "Global",
    }


def test_the_settings_are_the_same_at_both_addresses(owner: Client) -> None:
    assert owner.config().json() == owner.ask("GET", "{cache}/attic-cache-info").json()


def test_a_name_that_is_taken_is_refused_with_a_code_of_its_own(owner: Client) -> None:
    assert error(owner.config("POST", json=NEW)) == (400, "CacheAlreadyExists")


def test_retention_is_ignored_when_a_cache_is_created(nobody: Client) -> None:
    assert nobody.config("POST", json=NEW | {"retention_period": {"Period": 5}}).status_code == 200
    assert nobody.config().json()["retention_period"] == "Global"


@pytest.mark.parametrize("field", sorted(NEW))
def test_creating_needs_every_setting(nobody: Client, field: str) -> None:
    answer = nobody.config("POST", json={name: value for name, value in NEW.items() if name != field})
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/plain")
    assert f"missing field `{field}`" in answer.text


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"priority": "high"}, 422, id="priority-text"),
        pytest.param({"priority": 2**31}, 422, id="priority-beyond-32-bits"),
        pytest.param({"priority": 2**31 - 1}, 200, id="largest-priority"),
        pytest.param({"priority": -1}, 200, id="negative-priority"),
        pytest.param({"is_public": 1}, 422, id="public-number"),
        pytest.param({"keypair": {"Keypair": "no colon"}}, 422, id="no-key"),
        pytest.param({"upstream_cache_key_names": "one"}, 422, id="one-upstream-name"),
        pytest.param({"unknown": 1}, 200, id="unknown-field"),
    ],
)
def test_a_setting_of_a_wrong_kind_is_refused_by_the_framework(
    nobody: Client, changes: dict[str, object], status: int
) -> None:
    assert nobody.config("POST", json=NEW | changes).status_code == status


def test_a_given_key_is_taken_with_its_own_name(nobody: Client) -> None:
    key = Keypair.generate("another-name-1")
    assert nobody.config("POST", json=NEW | {"keypair": {"Keypair": key.secret()}}).status_code == 200
    assert nobody.config().json()["public_key"] == key.public()


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        pytest.param(b"{", "application/json", 400, id="no-json"),
        pytest.param(b"{}", "text/plain", 415, id="another-type"),
        pytest.param(b"{}", None, 415, id="no-type"),
        pytest.param(b"{}", "application/json; charset=utf-8", 422, id="type-with-charset"),
        pytest.param(b'{"a":"' + b"a" * 2_100_000 + b'"}', "application/json", 413, id="too-large"),
    ],
)
def test_bodies_that_are_no_json_are_refused_in_plain_text_before_anybody_is_asked_who_he_is(
    nobody: Client, content: bytes, kind: str | None, status: int
) -> None:
    stranger = replace(nobody, token=None)
    answer = stranger.config("POST", content=content, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("name", ["-a", "_a", "a.b", "a" * 51, "a*", "%C3%A9"])
@pytest.mark.parametrize("path", ["_api/v1/cache-config/{}", "{}/nix-cache-info", "{}/nar/x.nar"])
def test_a_name_that_no_cache_can_have_is_refused_in_plain_text(attic: Attic, name: str, path: str) -> None:
    answer = httpx.get(attic.url + path.format(name), verify=NO_TLS)
    assert answer.status_code == 400
    assert answer.text.startswith("Invalid URL: Invalid cache name")


@pytest.mark.parametrize("name", ["a", "A9", "a-_+b", "a" * 50])
def test_a_name_that_a_cache_can_have_is_not_refused(attic: Attic, name: str) -> None:
    assert error(httpx.get(f"{attic.url}{name}/nix-cache-info", verify=NO_TLS)) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("is_public", True),
        ("priority", 7),
        ("store_dir", "/other/store"),
        ("upstream_cache_key_names", []),
        ("retention_period", {"Period": 2592000}),
        ("retention_period", {"Period": 0}),
        ("retention_period", "Global"),
    ],
)
def test_changing_one_setting_keeps_the_others(owner: Client, name: str, value: object) -> None:
    owner.config("PATCH", json={"retention_period": {"Period": 99}})
    before = owner.config().json()
    answer = owner.config("PATCH", json={name: value})
    assert (answer.status_code, answer.content) == (200, b"")
    assert owner.config().json() == before | {name: value}


def test_a_new_key_replaces_the_old_one(owner: Client) -> None:
    before = owner.config().json()["public_key"]
    assert owner.config("PATCH", json={"keypair": "Generate"}).status_code == 200
    after = owner.config().json()["public_key"]
    assert after != before
    assert after.startswith(f"{owner.cache}:")


@pytest.mark.parametrize(
    "content", [{}, {"is_public": None}, {"unknown": 1}, {"public_key": "a:b"}, {"api_endpoint": "http://x/"}], ids=str
)
def test_changing_nothing_is_an_error(owner: Client, content: object) -> None:
    answer = owner.config("PATCH", json=content)
    assert error(answer) == (400, "RequestError")
    assert answer.json()["message"] == "General request error: No modifiable fields were set."


@pytest.mark.parametrize(
    ("period", "status"),
    [
        pytest.param({"Period": 2**31 - 1}, 200, id="31-bits"),
        pytest.param({"Period": 2**31}, 400, id="32-bits"),
        pytest.param({"Period": 2**32}, 422, id="more"),
        pytest.param({"Period": -1}, 422, id="negative"),
        pytest.param({"Days": 1}, 422, id="another-unit"),
        pytest.param("Never", 422, id="another-word"),
        pytest.param(30, 400, id="number"),
    ],
)
def test_retention_has_two_forms_and_a_limit(owner: Client, period: object, status: int) -> None:
    assert owner.config("PATCH", json={"retention_period": period}).status_code == status


def test_retention_needs_a_permission_of_its_own(owner: Client) -> None:
    plain = replace(owner, token=owner.attic.token({owner.cache: "cr"}))
    assert plain.config("PATCH", json={"priority": 3}).status_code == 200
    assert error(plain.config("PATCH", json={"retention_period": "Global"})) == (403, "AccessError")
    assert error(plain.config("PATCH", json={"priority": 4, "retention_period": "Global"})) == (403, "AccessError")
    assert owner.config().json()["priority"] == 3


def test_a_destroyed_cache_is_gone_and_its_name_free(owner: Client) -> None:
    path_hash = owner.store()
    answer = owner.config("DELETE")
    assert (answer.status_code, answer.content) == (200, b"")
    assert error(owner.config()) == (404, "NoSuchCache")
    assert error(owner.config("DELETE")) == (404, "NoSuchCache")
    assert error(owner.narinfo(path_hash)) == (404, "NoSuchObject")
    assert owner.config("POST", json=NEW).status_code == 200
    assert owner.missing(path_hash).json() == {"missing_paths": [path_hash]}


def test_a_softly_destroyed_cache_is_gone_and_its_name_taken(start: Start) -> None:
    owner = clients(start(Settings(soft_delete=True)), "ci")
    path_hash = owner.store()
    assert owner.config("DELETE").status_code == 200
    assert error(owner.config()) == (404, "NoSuchCache")
    assert error(owner.config("DELETE")) == (404, "NoSuchCache")
    assert error(owner.narinfo(path_hash)) == (404, "NoSuchObject")
    assert error(owner.missing(path_hash)) == (404, "NoSuchCache")
    assert error(owner.config("POST", json=NEW)) == (400, "CacheAlreadyExists")


@pytest.mark.parametrize(
    ("settings", "api", "substituter"),
    [
        pytest.param(Settings(api_endpoint="http://a/b/"), "http://a/b/", "http://a/b/ci", id="with-slash"),
        pytest.param(Settings(api_endpoint="http://a/b"), "http://a/b", "http://a/bci", id="without-slash"),
        pytest.param(
            Settings(api_endpoint="http://a/", substituter_endpoint="http://s/"), "http://a/", "http://s/ci", id="both"
        ),
    ],
)
def test_configured_endpoints_are_told_as_they_are(
    start: Start, settings: Settings, api: str, substituter: str
) -> None:
    owner = clients(start(settings), "ci")
    told = owner.config().json()
    assert (told["api_endpoint"], told["substituter_endpoint"]) == (api, substituter)


@pytest.mark.parametrize(("proto", "scheme"), [(None, "http"), ("https", "https"), ("http", "http")])
def test_other_endpoints_come_from_the_host_header(owner: Client, proto: str | None, scheme: str) -> None:
    forwarded = {"X-Forwarded-Proto": proto} if proto else {}
    told = owner.config(headers={"Host": "cache.example:81", **forwarded}).json()
    assert told["api_endpoint"] == f"{scheme}://cache.example:81/"
    assert told["substituter_endpoint"] == f"{scheme}://cache.example:81/{owner.cache}"


@pytest.mark.parametrize("host", ["127.0.0.1", "ci.example.com:443", "CI.example.com"])
def test_a_host_that_is_not_allowed_is_refused_everywhere(start: Start, host: str) -> None:
    attic = start(Settings(allowed_hosts=("ci.example.com",)))
    attic.create_cache("ci", public=True)
    for path in ("", "ci/nix-cache-info", "_api/v1/cache-config/ci", "nowhere/at/all/x"):
        answer = httpx.get(attic.url + path, headers={"Host": host}, verify=NO_TLS)
        assert error(answer) == (400, "RequestError")
        assert answer.json()["message"] == "General request error: Bad Host"
    assert httpx.get(attic.url, headers={"Host": "ci.example.com"}, verify=NO_TLS).status_code == 200
