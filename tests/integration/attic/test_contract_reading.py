"""What Nix asks for: nix-cache-info, narinfos, NARs; their signatures, and how long they stay."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import replace

import httpx
import pytest
from nacl.signing import VerifyKey

from tests.attic_server import AtticServer
from tests.attic_server.names import to_base32
from tests.attic_server.process import NO_TLS
from tests.integration.attic.client import Attic, Client, error, new_hash, new_nar

VISIBILITY = "x-attic-cache-visibility"


def test_the_cache_describes_itself_in_three_lines(public: Client) -> None:
    answer = public.ask("GET", "{cache}/nix-cache-info")
    assert answer.text == "WantMassQuery: 1\nStoreDir: /nix/store\nPriority: 41\n"
    assert answer.headers["content-type"] == "text/x-nix-cache-info"


def verify(key: str, text: str, references: list[str]) -> None:
    """Raises: BadSignatureError."""
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    digest = bytes.fromhex(fields["NarHash"].removeprefix("sha256:"))
    full = ",".join(f"/nix/store/{name}" for name in references)
    fingerprint = f"1;{fields['StorePath']};sha256:{to_base32(digest)};{fields['NarSize']};{full}"
    name, _, public_key = key.partition(":")
    signer, _, signature = fields["Sig"].partition(":")
    assert signer == name
    VerifyKey(base64.b64decode(public_key)).verify(fingerprint.encode(), base64.b64decode(signature))


def test_a_narinfo_has_these_fields_in_this_order_and_only_the_signature_of_the_cache(owner: Client) -> None:
    nar, references = new_nar(), [f"{'b' * 32}-lib", f"{'a' * 32}-app"]
    path_hash = owner.store(
        nar, references=references, system="x86_64-linux", deriver=f"{'c' * 32}-x.drv", sigs=["other:AAAA"], ca="text:x"
    )
    answer = owner.narinfo(path_hash)
    assert answer.headers["content-type"] == "text/x-nix-narinfo"
    lines = answer.text.splitlines()
    signature = lines.pop(7)
    assert signature.startswith(f"Sig: {owner.cache}:")
    assert lines == [
        f"StorePath: /nix/store/{path_hash}-thing",
        f"URL: nar/{path_hash}.nar",
        "Compression: none",
        f"NarHash: sha256:{hashlib.sha256(nar).hexdigest()}",
        f"NarSize: {len(nar)}",
        f"References: {' '.join(references)}",
        f"Deriver: {'c' * 32}-x.drv",
        "CA: text:x",
    ]
    verify(owner.config().json()["public_key"], answer.text, references)


def test_without_references_the_field_is_empty_and_others_are_left_out(owner: Client) -> None:
    path_hash = owner.store()
    text = owner.narinfo(path_hash).text
    assert [line.split(":")[0] for line in text.splitlines()][5:] == ["References", "Sig"]
    assert "References: \n" in text
    verify(owner.config().json()["public_key"], text, [])


def test_a_new_key_signs_what_was_stored_before(owner: Client) -> None:
    path_hash = owner.store()
    owner.narinfo(path_hash)
    owner.config("PATCH", json={"keypair": "Generate"})
    verify(owner.config().json()["public_key"], owner.narinfo(path_hash).text, [])


@pytest.mark.parametrize("size", [1000, 300_000, 3_000_000])
def test_a_nar_comes_as_a_stream_of_unknown_length_and_ranges_are_ignored(owner: Client, size: int) -> None:
    nar = new_nar(size)
    path_hash = owner.store(nar)
    for headers in ({}, {"Range": "bytes=0-3"}):
        answer = owner.ask("GET", f"{{cache}}/nar/{path_hash}.nar", headers=headers)
        assert (answer.status_code, answer.content) == (200, nar)
        assert answer.headers["content-type"] == "application/x-nix-nar"
        assert "content-length" not in answer.headers
        assert answer.headers["transfer-encoding"] == "chunked"


def test_head_answers_like_get_without_a_body(public: Client) -> None:
    path_hash = public.store()
    for path in ("{cache}/nix-cache-info", f"{{cache}}/{path_hash}.narinfo", "_api/v1/cache-config/{cache}"):
        got, headed = public.ask("GET", path), public.ask("HEAD", path)
        assert (headed.status_code, headed.content) == (200, b"")
        different = {"date"}
        assert {k: v for k, v in headed.headers.items() if k not in different} == {
            k: v for k, v in got.headers.items() if k not in different
        }
    headed = public.ask("HEAD", f"{{cache}}/nar/{path_hash}.nar")
    assert (headed.status_code, headed.content) == (200, b"")
    assert not {"content-length", "transfer-encoding"} & set(headed.headers)


@pytest.mark.parametrize("extension", ["ls", "narinfo.xz", "nar", ""])
def test_there_is_nothing_but_narinfos(public: Client, extension: str) -> None:
    path_hash = public.store()
    assert error(public.ask("GET", f"{{cache}}/{path_hash}.{extension}")) == (404, "NotFound")
    assert error(public.ask("GET", f"{{cache}}/{path_hash}")) == (404, "NotFound")


@pytest.mark.parametrize("extension", ["nar.xz", "narinfo", ""])
def test_nars_have_one_extension(public: Client, extension: str) -> None:
    path_hash = public.store()
    assert error(public.ask("GET", f"{{cache}}/nar/{path_hash}.{extension}")) == (404, "NotFound")


@pytest.mark.parametrize("path_hash", ["e" * 32, "0" * 31, "0" * 33, "x"])
@pytest.mark.parametrize("path", ["{{cache}}/{}.narinfo", "{{cache}}/nar/{}.nar"])
def test_what_is_no_hash_of_a_path_is_an_error_of_the_server(public: Client, path: str, path_hash: str) -> None:
    answer = public.ask("GET", path.format(path_hash))
    assert error(answer) == (500, "InvalidStorePathHash")
    assert answer.json()["message"] == "Error from the common components."


def test_the_three_addresses_for_nix_say_that_a_cache_is_public(public: Client) -> None:
    path_hash = public.store()
    stranger = replace(public, token=None)
    paths = ["{cache}/nix-cache-info", f"{{cache}}/{path_hash}.narinfo", f"{{cache}}/nar/{path_hash}.nar"]
    assert [stranger.ask("GET", path).headers.get(VISIBILITY) for path in paths] == ["public"] * 3
    assert VISIBILITY not in stranger.config().headers
    public.config("PATCH", json={"is_public": False})
    assert [public.ask("GET", path).headers.get(VISIBILITY) for path in paths] == [None] * 3


def test_a_query_and_escapes_in_an_address_do_not_matter(public: Client) -> None:
    assert public.ask("GET", "{cache}/nix-cache-info?x=1").status_code == 200
    escaped = f"%{ord(public.cache[0]):x}{public.cache[1:]}"
    assert httpx.get(f"{public.attic.url}{escaped}/nix-cache-info", verify=NO_TLS).status_code == 200


def pass_time(attic: Attic, seconds: float) -> None:
    """The double's clock can be moved; the real server has to be waited for."""
    if isinstance(attic, AtticServer):
        attic.clock.advance(seconds)
    else:
        time.sleep(seconds)


def held(client: Client, *hashes: str) -> list[bool]:
    missing = client.missing(*hashes).json()["missing_paths"]
    return [path_hash not in missing for path_hash in hashes]


def test_a_path_is_collected_when_it_was_neither_made_nor_downloaded_lately(owner: Client) -> None:
    owner.config("PATCH", json={"retention_period": {"Period": 2}})
    shared = new_nar()
    old, read, asked, renewed, twin = *(owner.store() for _ in range(4)), owner.store(shared)
    pass_time(owner.attic, 3)
    other_name = owner.store(shared)
    owner.nar(read)
    owner.narinfo(asked)
    owner.store(store_path_hash=renewed)
    owner.attic.collect()
    assert held(owner, old, read, asked, renewed, twin, other_name) == [False, True, False, True, False, True]
    assert owner.narinfo(old).status_code == 404
    assert owner.nar(other_name).content == shared


@pytest.mark.parametrize(
    ("retention", "default", "kept"),
    [
        pytest.param("Global", 0, True, id="default-is-for-ever"),
        pytest.param("Global", 1, False, id="default-of-the-server"),
        pytest.param({"Period": 0}, 1, True, id="zero-is-for-ever"),
        pytest.param({"Period": 1000}, 1, True, id="own-is-longer"),
        pytest.param({"Period": 1}, 1000, False, id="own-is-shorter"),
    ],
)
def test_the_caches_own_retention_goes_before_the_servers(
    owner: Client, retention: object, default: int, kept: bool
) -> None:
    owner.config("PATCH", json={"retention_period": retention})
    path_hash = owner.store()
    pass_time(owner.attic, 2)
    owner.attic.collect(default)
    assert held(owner, path_hash) == [kept]


def test_a_nar_that_was_collected_is_uploaded_anew(owner: Client) -> None:
    owner.config("PATCH", json={"retention_period": {"Period": 1}})
    nar = new_nar(300_000)
    path_hash = owner.store(nar)
    pass_time(owner.attic, 2)
    owner.attic.collect()
    assert owner.put(nar, owner.info(nar, store_path_hash=path_hash)).json()["kind"] == "Uploaded"


def test_a_hash_that_was_never_stored_is_missing(owner: Client) -> None:
    path_hash = new_hash()
    assert held(owner, path_hash) == [False]
    owner.store(store_path_hash=path_hash)
    assert held(owner, path_hash) == [True]
