"""What answers mean: every row of the field's failures has its class, its sentence and its hint."""

from __future__ import annotations

import json
import ssl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.cache.attic.protocol import Address
from pipelinegen.cache.attic.refusals import RETRY_AFTER_MOST, Asked, from_network, from_response
from pipelinegen.cache.model import FailureClass as F

ASKED = Asked(Address("https://c.example/", "ci"), "push", None, 1_800_000_000, path="/nix/store/x-big", size=300 << 20)
PAGE = b"<html><h1>Oops</h1></html>"


def attic(error: str, message: str = "") -> bytes:
    return json.dumps({"code": 1, "error": error, "message": message}).encode()


ANSWERS = {
    "expired token, private cache": (
        401,
        attic("Unauthorized", "Unauthorized."),
        F.UNAUTHORIZED,
        "pipelinegen cache token",
    ),
    "expired token, public cache": (403, attic("AccessError", "Access error"), F.FORBIDDEN, "push on ci"),
    "401 of a proxy": (401, PAGE, F.UNAUTHORIZED, "push on ci"),
    "403 of a firewall": (403, PAGE, F.WRONG_ENDPOINT, "https://SERVER/CACHE"),
    "no such cache": (404, attic("NoSuchCache"), F.WRONG_ENDPOINT, "cache provision"),
    "another server": (404, PAGE, F.WRONG_ENDPOINT, "https://SERVER/CACHE"),
    "another server, JSON": (404, b'{"error": 7}', F.WRONG_ENDPOINT, "https://SERVER/CACHE"),
    "bad host": (400, attic("RequestError", "General request error: Bad Host"), F.WRONG_ENDPOINT, "allowed-hosts"),
    "many references": (400, attic("RequestError", "Upload info is too large"), F.INFO_TOO_LARGE, "max-nar-info-size"),
    "cut body": (400, attic("RequestError", "General request error: Bad NAR Hash or Size"), F.TRUNCATED, "push_url"),
    "cut small body": (400, attic("RequestError", "Bad chunk hash or size"), F.TRUNCATED, "push_url"),
    "cut in the preamble": (
        400,
        attic("RequestError", "General request error: Upload info doesn't match specified size"),
        F.TRUNCATED,
        "push_url",
    ),
    "collected meanwhile": (404, attic("NoSuchObject", "no such object"), F.LOST, "again"),
    "body limit of a proxy": (413, PAGE, F.TOO_LARGE, "push_url"),
    "too many requests": (429, PAGE, F.BUSY, "jobs"),
    "request timeout": (408, b"", F.BUSY, "jobs"),
    "database pool": (500, attic("InternalServerError", "an internal error"), F.SERVER, "database"),
    "chunk is gone": (503, attic("IncompleteNar", "missing chunks"), F.SERVER, "log"),
    "page 502": (502, PAGE, F.PROXY, "push_url"),
    "page 520": (520, PAGE, F.PROXY, "push_url"),
    "page 524": (524, PAGE, F.PROXY, "push_url"),
    "plain 500": (500, b"panic", F.PROXY, "push_url"),
    "wrong method": (405, b"", F.WRONG_ENDPOINT, "https://SERVER/CACHE"),
    "bad cache name": (400, b"Invalid URL: bad cache name", F.REFUSED, None),
}


@pytest.mark.parametrize(("status", "body", "failure", "hint"), ANSWERS.values(), ids=ANSWERS)
def test_each_answer_has_its_class_and_says_what_to_do(status: int, body: bytes, failure: F, hint: str | None) -> None:
    error = from_response(status, {}, body, ASKED)
    assert error.failure is failure
    assert hint is None or hint in (error.hint or "")
    assert "<h1>" not in error.message


def test_a_body_limit_names_path_and_size() -> None:
    error = from_response(413, {"server": "nginx"}, PAGE, ASKED)
    assert "/nix/store/x-big with 300.0 MiB" in error.message
    assert "nginx" in error.message


def test_a_redirect_is_not_followed_but_told() -> None:
    error = from_response(301, {"location": "https://new.example/"}, b"", ASKED)
    assert error.failure is F.WRONG_ENDPOINT
    assert "https://new.example/" in error.message


RETRY_AFTER = {
    "seconds": ("7", 7),
    "date": ("Fri, 15 Jan 2027 08:00:30 GMT", 30),
    "past": ("Fri, 15 Jan 2021 08:00:30 GMT", 0),
    "for ever": ("99999999", RETRY_AFTER_MOST),
    "nonsense": ("soon", None),
    "absent": ("", None),
    "foreign digits": ("٣", None),
}


@pytest.mark.parametrize(("text", "seconds"), RETRY_AFTER.values(), ids=RETRY_AFTER)
def test_the_time_that_a_server_asks_for_is_read(text: str, seconds: float | None) -> None:
    assert from_response(429, {"retry-after": text}, b"", ASKED).retry_after == seconds


def certificate() -> httpx.ConnectError:
    error = httpx.ConnectError("certificate verify failed")
    error.__cause__ = ssl.SSLCertVerificationError("certificate verify failed")
    return error


NETWORK = {
    "refused": (httpx.ConnectError("refused"), F.CONNECTION),
    "no answer to a connection": (httpx.ConnectTimeout(""), F.CONNECTION),
    "reset": (httpx.ReadError("reset"), F.CONNECTION),
    "closed": (httpx.RemoteProtocolError("server disconnected"), F.CONNECTION),
    "takes nothing": (httpx.WriteTimeout(""), F.STALLED),
    "says nothing": (httpx.ReadTimeout(""), F.STALLED),
    "certificate": (certificate(), F.WRONG_ENDPOINT),
    "no protocol": (httpx.UnsupportedProtocol("ftp"), F.WRONG_ENDPOINT),
}


@pytest.mark.parametrize(("error", "failure"), NETWORK.values(), ids=NETWORK)
def test_each_trouble_of_the_network_has_its_class(error: httpx.TransportError, failure: F) -> None:
    refused = from_network(error, ASKED)
    assert refused.failure is failure
    assert "https://c.example/" in refused.message


@given(status=st.integers(300, 599), body=st.binary(max_size=200), header=st.text(max_size=30))
def test_any_answer_is_understood_and_shown_without_control_characters(status: int, body: bytes, header: str) -> None:
    error = from_response(status, {"server": header, "location": header, "retry-after": header}, body, ASKED)
    assert error.message.isprintable() or "\ufffd" in error.message or not error.message.isascii()
    assert "\x1b" not in error.message
    assert "\n" not in error.message
