"""What a token says of itself, and the sentence about its refusal."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.cache.attic import token

NOW = 1_800_000_000


def make(caches: dict[str, Any] | None = None, **claims: Any) -> str:
    payload = {"sub": "ci", token.CLAIM: {"caches": caches or {}}, **claims}
    parts = ({"alg": "HS256"}, payload)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def test_a_token_is_read() -> None:
    info = token.decode(make({"ci": {"r": 1, "w": 1}, "docs-*": {"r": 1, "cq": 0}}, exp=NOW, nbf=NOW - 9))
    assert info is not None
    assert (info.subject, info.expires, info.not_before) == ("ci", NOW, NOW - 9)
    assert info.permissions("ci") == {"pull", "push"}
    assert info.permissions("docs-1") == {"pull"}
    assert info.permissions("other") == frozenset()


def test_the_exact_name_comes_first_and_nothing_is_merged() -> None:
    info = token.decode(make({"ci-*": {"r": 1}, "ci-main": {"w": 1}, "*": {"r": 1, "w": 1}}))
    assert info is not None
    assert info.permissions("ci-main") == {"push"}
    assert info.permissions("ci-x") == {"pull"}


def test_a_token_is_valid_in_its_last_second_and_not_after_it() -> None:
    info = token.decode(make({}, exp=NOW))
    assert info is not None
    assert not info.expired(NOW)
    assert info.expired(NOW + 1)


@given(st.text())
def test_anything_else_is_no_error(text: str) -> None:
    token.decode(text)
    token.complaint(text, "ci", "push", NOW)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_payload_is_no_error(payload: object) -> None:
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    token.decode(f"e30.{body}.x")
    claims = base64.urlsafe_b64encode(json.dumps({token.CLAIM: {"caches": payload}, "exp": payload}).encode()).decode()
    info = token.decode(f"e30.{claims.rstrip('=')}.x")
    if info is not None:
        token.complaint(f"e30.{claims}.x", "ci", "pull", NOW)
        token.until(info)


COMPLAINTS = {
    "none": (None, "no token is configured"),
    "opaque": ("secret-thing", "cannot be read here"),
    "expired": (make({"ci": {"w": 1}}, exp=NOW - 60), "expired at 2027-01-15"),
    "early": (make({"ci": {"w": 1}}, nbf=NOW + 60), "a clock is wrong"),
    "narrow": (make({"ci": {"r": 1}}), "allows pull on ci, not push"),
    "other": (make({"web": {"w": 1}}), "is for web, not for ci"),
    "merged": (make({"ci": {"r": 1}, "*": {"w": 1}}), "merges none"),
    "foreign": (make({"ci": {"w": 1}}, exp=NOW + 99), "does not accept it"),
}


@pytest.mark.parametrize(("secret", "expected"), COMPLAINTS.values(), ids=COMPLAINTS)
def test_the_refusal_says_what_is_wrong_with_the_token_and_shows_nothing_of_it(
    secret: str | None, expected: str
) -> None:
    sentence = token.complaint(secret, "ci", "push", NOW)
    assert expected in sentence
    if secret:
        assert secret.split(".")[-1] not in sentence
