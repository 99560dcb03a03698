"""Uploads: how a path is described, what is checked of its NAR, and when it counts as known."""

from __future__ import annotations

import hashlib
import json
import socket
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tests.attic_server.names import to_base32
from tests.attic_server.real import Settings
from tests.integration.attic.client import Client, error, new_hash, new_nar
from tests.integration.attic.conftest import Start, clients

SMALL, LARGE = 1000, 300_000
"""Bytes of NARs that the server keeps whole, and that it cuts into chunks."""


def message(answer_json: dict[str, str]) -> str:
    return answer_json["message"].removeprefix("General request error: ")


@pytest.mark.parametrize("preamble", [False, True], ids=["header", "preamble"])
@pytest.mark.parametrize(("size", "fraction"), [(SMALL, None), (LARGE, 0.0)], ids=["small", "large"])
def test_a_new_nar_is_uploaded(owner: Client, size: int, fraction: float | None, preamble: bool) -> None:
    nar = new_nar(size)
    info = owner.info(nar)
    answer = owner.put(nar, info, preamble=preamble)
    assert answer.status_code == 200
    assert answer.json() == {"kind": "Uploaded", "file_size": size, "frac_deduplicated": fraction}
    assert owner.nar(str(info["store_path_hash"])).content == nar


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_nar_that_any_cache_has_is_deduplicated(owner: Client, size: int) -> None:
    nar = new_nar(size)
    owner.attic.create_cache(f"{owner.cache}-other")
    other = Client(owner.attic, f"{owner.cache}-other", owner.attic.token({"*": "r w"}))
    other.store(nar)
    info = owner.info(nar)
    assert owner.put(nar, info).json() == {"kind": "Deduplicated", "frac_deduplicated": None}
    assert owner.nar(str(info["store_path_hash"])).content == nar


def test_without_proof_of_possession_a_known_nar_need_not_be_sent(start: Start) -> None:
    owner = clients(start(Settings(require_proof=False)), "ci")
    nar = new_nar()
    owner.store(nar)
    assert owner.put(b"", owner.info(nar)).json()["kind"] == "Deduplicated"


def test_a_path_may_be_sent_again_and_is_then_what_was_said_last(owner: Client) -> None:
    first, second = new_nar(), new_nar(LARGE)
    path_hash = owner.store(first)
    assert owner.put(first, owner.info(first, store_path_hash=path_hash)).status_code == 200
    assert owner.nar(path_hash).content == first
    again = owner.info(second, store_path_hash=path_hash, references=["x-y"])
    assert owner.put(second, again).json()["kind"] == "Uploaded"
    assert owner.nar(path_hash).content == second
    assert "References: x-y\n" in owner.narinfo(path_hash).text


def test_the_preamble_wins_over_the_header(owner: Client) -> None:
    nar = new_nar()
    assert owner.put(nar, preamble=True, headers={"X-Attic-Nar-Info": "garbage"}).status_code == 200


def test_a_nar_info_of_many_references_fits_the_header_of_the_server_itself(owner: Client) -> None:
    references = [f"{'b' * 32}-{'x' * 100}-{number}" for number in range(1000)]
    path_hash = owner.store(references=references)
    assert f"References: {' '.join(references)}\n" in owner.narinfo(path_hash).text


def test_a_preamble_above_the_limit_is_too_large(start: Start) -> None:
    owner = clients(start(Settings(max_nar_info_size=500)), "ci")
    nar = new_nar()
    long = owner.info(nar, references=["a" * 500])
    answer = owner.put(nar, long, preamble=True)
    assert (error(answer), message(answer.json())) == ((400, "RequestError"), "Upload info is too large")
    assert owner.put(nar, long).status_code == 200  # the header has no limit but that of all headers


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        pytest.param({}, "X-Attic-Nar-Info must be set", id="nothing"),
        pytest.param({"X-Attic-Nar-Info": "{"}, "EOF while parsing", id="no-json"),
        pytest.param({"X-Attic-Nar-Info": "[1]"}, "", id="another-kind"),
        pytest.param({"X-Attic-Nar-Info-Preamble-Size": "10"}, "Upload info doesn't match specified size", id="short"),
        pytest.param({"X-Attic-Nar-Info-Preamble-Size": "-1"}, "must be a valid unsigned integer", id="negative"),
        pytest.param({"X-Attic-Nar-Info-Preamble-Size": "1.5"}, "must be a valid unsigned integer", id="fraction"),
        pytest.param({"X-Attic-Nar-Info-Preamble-Size": str(2**20 + 1)}, "Upload info is too large", id="too-large"),
    ],
)
def test_a_nar_info_that_is_none_is_refused_before_anybody_is_asked_who_he_is(
    owner: Client, headers: dict[str, str], said: str
) -> None:
    for client in (owner, replace(owner, token=None)):
        answer = client.ask("PUT", "_api/v1/upload-path", content=b"x", headers=headers)
        assert error(answer) == (400, "RequestError")
        if said != "EOF while parsing" or "double" not in client.attic.kind:
            assert said in answer.json()["message"]


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        pytest.param({"nar_hash": "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}, False, id="sri-hash"),
        pytest.param({"nar_hash": "sha512:" + "0" * 128}, False, id="another-algorithm"),
        pytest.param({"nar_hash": "sha256:" + "0" * 63}, False, id="short-hash"),
        pytest.param({"nar_hash": "sha256:" + "g" * 64}, False, id="no-hex"),
        pytest.param({"store_path_hash": "e" * 32}, False, id="letter-that-nix-does-not-use"),
        pytest.param({"store_path_hash": "0" * 31}, False, id="short-path-hash"),
        pytest.param({"cache": "-"}, False, id="cache-name"),
        pytest.param({"nar_size": -1}, False, id="negative-size"),
        pytest.param({"nar_size": "1000"}, False, id="size-as-text"),
        pytest.param({"references": None}, False, id="null-references"),
        pytest.param({"references": [1]}, False, id="number-as-reference"),
        pytest.param({"sigs": ...}, False, id="no-sigs"),
        pytest.param({"references": ...}, False, id="no-references"),
        pytest.param({"store_path": ...}, False, id="no-store-path"),
        pytest.param({"system": 1}, False, id="system-number"),
        pytest.param({"system": ..., "deriver": ..., "ca": ...}, True, id="without-what-may-be-null"),
        pytest.param({"system": "x86_64-linux", "deriver": "x.drv", "sigs": ["a:b"], "ca": "c"}, True, id="with-all"),
        pytest.param({"unknown": 1}, True, id="unknown-field"),
        pytest.param({"store_path": "/elsewhere/that-does-not-fit"}, True, id="path-that-does-not-fit-its-hash"),
    ],
)
def test_every_field_of_the_nar_info_is_checked(owner: Client, changes: dict[str, object], accepted: bool) -> None:
    nar = new_nar()
    for preamble in (False, True):
        answer = owner.put(nar, owner.info(nar, **changes), preamble=preamble)
        assert (answer.status_code, accepted) in {(200, True), (400, False)}, answer.text


@pytest.mark.parametrize("form", ["hex", "upper-hex", "base32"])
def test_the_hash_of_the_nar_has_three_forms(owner: Client, form: str) -> None:
    nar = new_nar()
    digest = hashlib.sha256(nar).digest()
    text = {"hex": digest.hex(), "upper-hex": digest.hex().upper(), "base32": to_base32(digest)}[form]
    path_hash = owner.store(nar, nar_hash=f"sha256:{text}")
    assert f"NarHash: sha256:{digest.hex()}\n" in owner.narinfo(path_hash).text


BAD_CHUNK, BAD_NAR = "Bad chunk hash or size", "Bad NAR Hash or Size"


@pytest.mark.parametrize(
    ("size", "known", "said"),
    [
        pytest.param(SMALL, False, BAD_CHUNK, id="small"),
        pytest.param(LARGE, False, BAD_NAR, id="large"),
        pytest.param(SMALL, True, BAD_NAR, id="known"),
        pytest.param(LARGE, True, BAD_NAR, id="large-and-known"),
    ],
)
@pytest.mark.parametrize("wrong", ["shorter", "other", "size"])
def test_a_nar_that_is_not_what_was_said_is_refused_and_not_there(
    owner: Client, size: int, known: bool, said: str, wrong: str
) -> None:
    nar = new_nar(size)
    if known:
        owner.store(nar)
    info = owner.info(nar)
    if wrong == "size":
        info["nar_size"] = size - 1
    sent = {"shorter": nar[:-1], "other": nar[:-1] + b"!", "size": nar}[wrong]
    answer = owner.put(sent, info)
    assert (error(answer), message(answer.json())) == ((400, "RequestError"), said)
    path_hash = str(info["store_path_hash"])
    assert owner.missing(path_hash).json() == {"missing_paths": [path_hash]}
    assert owner.narinfo(path_hash).status_code == 404


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_bytes_after_the_nar_are_ignored_unless_the_nar_was_known(owner: Client, size: int) -> None:
    nar = new_nar(size)
    assert owner.put(nar + b"more", owner.info(nar)).json()["kind"] == "Uploaded"
    answer = owner.put(nar + b"more", owner.info(nar))
    assert (error(answer), message(answer.json())) == ((400, "RequestError"), BAD_NAR)


def test_missing_paths_are_told_once_each_and_from_this_cache_only(owner: Client) -> None:
    held, absent, elsewhere = owner.store(), new_hash(), new_hash()
    owner.attic.create_cache(f"{owner.cache}-other")
    other = Client(owner.attic, f"{owner.cache}-other", owner.attic.token({"*": "r w"}))
    other.store(store_path_hash=elsewhere)
    answer = owner.missing(held, absent, elsewhere, absent, held)
    assert sorted(answer.json()["missing_paths"]) == sorted([absent, elsewhere])
    assert list(answer.json()) == ["missing_paths"]
    assert owner.missing().json() == {"missing_paths": []}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"store_path_hashes": []}, 422, id="no-cache"),
        pytest.param({"cache": "ci"}, 422, id="no-hashes"),
        pytest.param({"cache": "-", "store_path_hashes": []}, 422, id="no-cache-name"),
        pytest.param({"cache": "ci", "store_path_hashes": ["e" * 32]}, 422, id="no-hash"),
        pytest.param({"cache": "ci", "store_path_hashes": ["0" * 33]}, 422, id="long-hash"),
        pytest.param({"cache": "ci", "store_path_hashes": [1]}, 422, id="number"),
        pytest.param({"cache": "ci", "store_path_hashes": "0" * 32}, 422, id="no-list"),
        pytest.param({"cache": "ci", "store_path_hashes": ["0" * 32] * 59_000}, 401, id="59000-hashes-fit"),
        pytest.param({"cache": "ci", "store_path_hashes": ["0" * 32] * 60_000}, 413, id="60000-do-not"),
    ],
)
def test_the_question_for_missing_paths_is_checked_before_who_asks_it(
    owner: Client, body: dict[str, object], status: int
) -> None:
    # As compact as JSON can be: 35 bytes a hash.
    content = json.dumps(body, separators=(",", ":")).encode()
    stranger = replace(owner, token=None)
    headers = {"Content-Type": "application/json"}
    assert stranger.ask("POST", "_api/v1/get-missing-paths", content=content, headers=headers).status_code == status


def raw(owner: Client, head: str, body: bytes = b"", *, ends: bool = False, answers: int = 1) -> bytes:
    """What the server sends after these bytes; `ends` says that no more will follow."""
    url = urlsplit(owner.attic.url)
    text = b""
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=10) as sock:
        token = f"Authorization: Bearer {owner.token}\r\n" if owner.token else ""
        sock.sendall(f"PUT /_api/v1/upload-path HTTP/1.1\r\nHost: {url.netloc}\r\n{token}{head}\r\n\r\n".encode())
        try:
            sock.sendall(body)
            if ends:
                sock.shutdown(socket.SHUT_WR)
        except OSError:  # answered before all was sent
            pass
        while text.count(b"HTTP/1.1 ") < answers or not text.endswith((b"}", b"\r\n\r\n")):
            data = sock.recv(65536)
            if not data:
                break
            text += data
    return text


def named(owner: Client, nar: bytes) -> str:
    return f"X-Attic-Nar-Info: {json.dumps(owner.info(nar))}"


@pytest.mark.parametrize(("size", "status"), [(SMALL, b"500"), (LARGE, b"400")], ids=["small", "large"])
@pytest.mark.parametrize("how", ["length", "chunks"])
def test_a_connection_that_ends_within_the_nar_is_400_of_a_large_and_500_of_a_small_one(
    owner: Client, size: int, status: bytes, how: str
) -> None:
    nar = new_nar(size)
    framing = "Transfer-Encoding: chunked" if how == "chunks" else f"Content-Length: {size}"
    body = (b"%x\r\n" % size if how == "chunks" else b"") + nar[: size // 2]
    assert raw(owner, f"{named(owner, nar)}\r\n{framing}", body, ends=True).startswith(b"HTTP/1.1 " + status)


def test_a_body_in_chunks_is_taken(owner: Client) -> None:
    nar = new_nar()
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (nar[:10], nar[10:11], nar[11:])) + b"0\r\n\r\n"
    answer = raw(owner, f"{named(owner, nar)}\r\nTransfer-Encoding: chunked", body)
    assert b'"kind":"Uploaded"' in answer


def test_who_waits_for_permission_to_send_gets_it_only_with_a_good_token(owner: Client) -> None:
    nar = new_nar()
    head = f"{named(owner, nar)}\r\nContent-Length: {len(nar)}\r\nExpect: 100-continue"
    assert raw(owner, head).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert raw(replace(owner, token=None), head).startswith(b"HTTP/1.1 401 ")


def test_a_refusal_comes_while_the_client_still_sends_and_ends_the_connection(owner: Client) -> None:
    nar = new_nar(20_000_000)
    stranger = replace(owner, token=None)
    head = f"{named(owner, nar)}\r\nContent-Length: {len(nar)}"
    answer = raw(stranger, head, nar)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"Unauthorized" in answer
