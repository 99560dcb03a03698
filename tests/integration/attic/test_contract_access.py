"""Who may do what: tokens, the discovery rule, and which addresses exist at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace

import httpx
import pytest

from tests.attic_server import AtticServer, make_token
from tests.attic_server.process import NO_TLS
from tests.attic_server.tokens import NAMESPACE, _decode, _encode
from tests.integration.attic.client import ALL, Attic, Client, error, new_nar
from tests.integration.attic.conftest import clients

UNKNOWN = "0" * 32

ACTIONS: dict[str, tuple[str, str, dict[str, object] | None]] = {
    "r": ("GET", "_api/v1/cache-config/{cache}", None),
    "w": ("POST", "_api/v1/get-missing-paths", {"store_path_hashes": []}),
    "cr": ("PATCH", "_api/v1/cache-config/{cache}", {"priority": 5}),
    "cd": ("DELETE", "_api/v1/cache-config/{cache}", None),
}
"""Bit → a request that needs it, of a cache that exists."""


def act(client: Client, bit: str) -> httpx.Response:
    method, path, body = ACTIONS[bit]
    content = body | {"cache": client.cache} if bit == "w" and body else body
    return client.ask(method, path, json=content)


def with_bits(client: Client, bits: str | None) -> Client:
    """The same cache, another token."""
    return replace(client, token=None if bits is None else client.attic.token({client.cache: bits}))


@pytest.mark.parametrize("bit", ACTIONS)
def test_the_right_permission_suffices(owner: Client, bit: str) -> None:
    assert act(with_bits(owner, bit), bit).status_code == 200


@pytest.mark.parametrize("bit", ACTIONS)
@pytest.mark.parametrize("held", ["r", "w", "d", "cc", "cr", "cq", "cd"])
def test_with_another_permission_it_is_forbidden(owner: Client, bit: str, held: str) -> None:
    if held != bit:
        answer = act(with_bits(owner, held), bit)
        assert error(answer) == (403, "AccessError")
        message = "Access error: User does not have permission to complete this action."
        assert answer.json()["message"] == message


@pytest.mark.parametrize("bit", ACTIONS)
@pytest.mark.parametrize("bits", [None, ""], ids=["anonymous", "no-bits"])
def test_without_any_permission_a_private_cache_answers_401_as_if_it_did_not_exist(
    owner: Client, bit: str, bits: str | None
) -> None:
    stranger = with_bits(owner, bits)
    assert error(act(stranger, bit)) == (401, "Unauthorized")
    assert act(stranger, bit).text == act(replace(stranger, cache="nowhere"), bit).text


@pytest.mark.parametrize("bit", sorted(set(ACTIONS) - {"r"}))
def test_on_a_public_cache_a_stranger_is_forbidden_what_he_may_not_do(public: Client, bit: str) -> None:
    assert error(act(with_bits(public, None), bit)) == (403, "AccessError")


def test_anybody_may_read_the_settings_of_a_public_cache(public: Client) -> None:
    assert with_bits(public, None).config().status_code == 200


@pytest.mark.parametrize("bit", ACTIONS)
def test_a_cache_that_does_not_exist_is_404_for_who_might_know_it(attic: Attic, cache_name: str, bit: str) -> None:
    nobody = Client(attic, cache_name, attic.token({cache_name: "d"}))
    assert error(act(nobody, bit)) == (404, "NoSuchCache")


@pytest.mark.parametrize(("bits", "status"), [("cc", 200), ("r w d cr cq cd", 403), ("", 401)])
def test_creating_needs_its_permission_whether_the_cache_exists_or_not(
    attic: Attic, cache_name: str, bits: str, status: int
) -> None:
    settings = {
        "keypair": "Generate",
        "is_public": False,
        "store_dir": "/nix/store",
        "priority": 1,
        "upstream_cache_key_names": [],
    }
    client = Client(attic, cache_name, attic.token({cache_name: bits}))
    assert client.config("POST", json=settings).status_code == status


def upload_status(client: Client) -> tuple[int, str]:
    return error(client.put(new_nar()))


def test_uploads_follow_the_same_rule(owner: Client) -> None:
    assert upload_status(with_bits(owner, "r")) == (403, "AccessError")
    assert upload_status(with_bits(owner, None)) == (401, "Unauthorized")
    assert upload_status(replace(owner, cache="elsewhere")) == (401, "Unauthorized")
    missing = replace(owner, cache="elsewhere", token=owner.attic.token({"*": "w"}))
    assert upload_status(missing) == (404, "NoSuchCache")


@pytest.mark.parametrize(
    "path", ["{cache}/" + UNKNOWN + ".narinfo", "{cache}/nar/" + UNKNOWN + ".nar"], ids=["narinfo", "nar"]
)
def test_an_absent_path_is_404_even_for_strangers_and_in_no_cache(owner: Client, path: str) -> None:
    for client in (owner, with_bits(owner, None), replace(with_bits(owner, None), cache="nowhere")):
        assert error(client.ask("GET", path)) == (404, "NoSuchObject")


def test_a_path_in_a_private_cache_is_401_for_strangers_and_403_without_pull(owner: Client) -> None:
    path_hash = owner.store()
    for ask in (Client.narinfo, Client.nar):
        assert error(ask(with_bits(owner, None), path_hash)) == (401, "Unauthorized")
        assert error(ask(with_bits(owner, "w"), path_hash)) == (403, "AccessError")
        assert ask(with_bits(owner, "r"), path_hash).status_code == 200


@pytest.mark.parametrize(
    ("caches", "cache", "can_pull", "can_push"),
    [
        pytest.param({"{}": "r", "*": "w"}, "{}", True, False, id="exact-first"),
        pytest.param({"*": "w", "{}": "r"}, "{}", True, False, id="exact-wins-over-an-earlier-pattern"),
        pytest.param({"{}*": "r", "*": "w"}, "{}", True, False, id="first-pattern"),
        pytest.param({"*": "w", "{}*": "r"}, "{}", False, True, id="first-pattern-turned"),
        pytest.param({"{}-*": "r w"}, "{}", False, False, id="pattern-that-does-not-cover"),
        pytest.param({"*{}": "r w"}, "{}", True, True, id="star-in-front-covers-nothing-too"),
        pytest.param({"c**": "r w"}, "{}", True, True, id="two-stars"),
    ],
)
def test_the_exact_name_counts_then_the_first_pattern_and_nothing_is_merged(
    owner: Client, caches: dict[str, str], cache: str, can_pull: bool, can_push: bool
) -> None:
    token = owner.attic.token({pattern.format(owner.cache): bits for pattern, bits in caches.items()})
    client = replace(owner, token=token)
    assert (act(client, "r").status_code == 200) is can_pull
    assert (act(client, "w").status_code == 200) is can_push


def status_with(client: Client, authorization: str | None) -> int:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return replace(client, token=None).config(headers=headers).status_code


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_is_taken_as_bearer_whatever_the_case(owner: Client, scheme: str) -> None:
    assert status_with(owner, f"{scheme} {owner.token}") == 200


@pytest.mark.parametrize("user", ["", "whoever", "uße"])
def test_the_token_is_taken_as_password_of_any_user(owner: Client, user: str) -> None:
    encoded = base64.b64encode(f"{user}:{owner.token}".encode()).decode()
    assert status_with(owner, f"Basic {encoded}") == 200
    assert status_with(owner, f"basic {encoded}") == 200


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Bearer a.b.c", "Basic !", "Basic eA==", "Token {}", "{}"])
def test_what_is_no_token_is_nobody(owner: Client, header: str) -> None:
    assert status_with(owner, header.format(owner.token)) == 401


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "believed"),
    [
        pytest.param({}, True, id="plain"),
        pytest.param({"exp": NOW + 900}, True, id="not-expired"),
        pytest.param({"exp": NOW - 2}, False, id="expired-with-no-tolerance"),
        pytest.param({"exp": None}, False, id="null-expiry"),
        pytest.param({"nbf": NOW - 2}, True, id="valid-already"),
        pytest.param({"nbf": NOW + 900}, False, id="not-valid-yet"),
        pytest.param({"iat": NOW + 900}, False, id="issued-in-the-future"),
        pytest.param({"iat": NOW - 900}, True, id="issued-long-ago"),
        pytest.param({"sub": None}, True, id="no-subject"),
        pytest.param({"iss": "anybody"}, True, id="any-issuer"),
        pytest.param({"more": 1}, True, id="unknown-claim"),
        pytest.param({NAMESPACE: {"caches": {"*": {"r": 1, "zz": 1}}}}, True, id="unknown-bit"),
        pytest.param({NAMESPACE: {"caches": {"*": {"r": True}}}}, False, id="bit-that-is-no-number"),
        pytest.param({NAMESPACE: {"caches": {"*": {"r": 2}}}}, False, id="bit-above-one"),
        pytest.param({NAMESPACE: {"caches": {"*": {"r": 1}, "a b": {}}}}, False, id="one-pattern-that-is-none"),
        pytest.param({NAMESPACE: {}}, False, id="no-caches"),
        pytest.param({NAMESPACE: None}, False, id="no-claim"),
    ],
)
def test_a_token_that_is_not_valid_in_every_way_is_nobody(
    owner: Client, claims: dict[str, object], believed: bool
) -> None:
    token = make_token(owner.attic.secret, {"*": "r"}, claims=claims)
    assert status_with(owner, f"Bearer {token}") == (200 if believed else 401)


def test_a_token_of_another_key_or_without_a_signature_is_nobody(owner: Client) -> None:
    assert status_with(owner, f"Bearer {make_token(b'another', {'*': 'r'})}") == 401
    head, content, signature = make_token(owner.attic.secret, {"*": "r"}).split(".")
    none = _encode(b'{"alg":"none","typ":"JWT"}')
    assert status_with(owner, f"Bearer {none}.{content}.") == 401
    assert status_with(owner, f"Bearer {none}.{content}.{signature}") == 401
    other = _encode(json.dumps(json.loads(_decode(content)) | {"sub": "root"}).encode())
    assert status_with(owner, f"Bearer {head}.{other}.{signature}") == 401
    signed = f"{none}.{content}"
    resigned = _encode(hmac.digest(owner.attic.secret, signed.encode(), hashlib.sha256))
    assert status_with(owner, f"Bearer {signed}.{resigned}") == 401


def test_a_token_that_expired_is_401_on_a_private_and_403_on_a_public_cache_where_reading_goes_on(
    attic: Attic, cache_name: str
) -> None:
    expired = attic.token({"*": ALL}, seconds=-10)
    private = replace(clients(attic, cache_name), token=expired)
    open_to_all = replace(clients(attic, f"{cache_name}-public", public=True), token=expired)
    assert (error(private.config())[0], error(private.missing())[0]) == (401, 401)
    assert (open_to_all.config().status_code, error(open_to_all.missing())[0]) == (200, 403)


def test_the_servers_own_tool_makes_tokens_as_we_do(attic: Attic, cache_name: str) -> None:
    if isinstance(attic, AtticServer):
        pytest.skip("the double has no atticadm")
    attic.create_cache(cache_name)
    words = ["--sub", "x", "--validity", "1 day", "--pull", cache_name, "--push", "ci-*", "--delete", cache_name]
    words += ["--create-cache", "a", "--configure-cache", "b", "--configure-cache-retention", "c"]
    token = attic.token_of_atticadm(*words, "--destroy-cache", "d")
    claims = json.loads(_decode(token.split(".")[1]))
    assert list(claims[NAMESPACE]["caches"]) == [cache_name, "ci-*", "a", "b", "c", "d"]
    ours = make_token(
        attic.secret,
        {cache_name: "r d", "ci-*": "w", "a": "cc", "b": "cr", "c": "cq", "d": "cd"},
        expires=claims["exp"],
        not_before=claims["nbf"],
        sub="x",
    )
    assert json.loads(_decode(ours.split(".")[1])) == claims
    assert Client(attic, cache_name, token).config().status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "_api/v1/upload-path", {"PUT"}),
        ("GET", "_api/v1/get-missing-paths", {"POST"}),
        ("PUT", "_api/v1/cache-config/ci", {"GET", "HEAD", "POST", "PATCH", "DELETE"}),
        ("POST", "ci/nix-cache-info", {"GET", "HEAD"}),
        ("DELETE", f"ci/{UNKNOWN}.narinfo", {"GET", "HEAD"}),
        ("OPTIONS", f"ci/nar/{UNKNOWN}.nar", {"GET", "HEAD"}),
        ("POST", "", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_405_without_a_body(attic: Attic, method: str, path: str, allowed: set[str]) -> None:
    answer = httpx.request(method, attic.url + path, verify=NO_TLS)
    assert (answer.status_code, answer.content) == (405, b"")
    assert set(answer.headers["allow"].split(",")) == allowed


@pytest.mark.parametrize("path", ["ci", "ci/", "ci/nar", "a/b/c/d", "_api/v1/other", "_api/v1/cache-config/", "a//"])
def test_what_is_no_address_is_404_of_the_api(attic: Attic, path: str) -> None:
    answer = httpx.get(attic.url + path, verify=NO_TLS)
    assert error(answer) == (404, "NotFound")
    assert answer.json()["message"] == "The URL you requested was not found."


def test_the_root_is_a_page_for_anybody(attic: Attic) -> None:
    answer = httpx.get(attic.url, verify=NO_TLS)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
