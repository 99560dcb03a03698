"""What Nix is told of caches, which token goes to a host, and what a daemon lacks."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pydantic import SecretStr

from pipelinegen.cache.netrc import parse
from pipelinegen.cache.substituters import DaemonSettings, Source, passwords, refuse_lacking, substituter_url
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import CredentialsError, ToolError

KEY = "main-1:" + "A" * 43 + "="


def attic(name: str, **settings: Any) -> CacheConfig:
    settings = {"url": f"https://attic.invalid/{name}", "backend": "attic", "public_key": KEY, **settings}
    return CacheConfig(**settings)


def token(**caches: str) -> SecretStr:
    """A token that may do something (`r`, `rw`) on each cache."""
    claims = {"https://jwt.attic.rs/v1": {"caches": {name: dict.fromkeys(bits, 1) for name, bits in caches.items()}}}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return SecretStr(f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln")


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"url": "https://a.invalid", "public_key": KEY}, "https://a.invalid"),
        ({"url": "https://a.invalid"}, "https://a.invalid?trusted=true"),
        ({"url": "https://a.invalid", "public_key": KEY, "priority": 30}, "https://a.invalid?priority=30"),
        ({"url": "s3://b?region=x", "priority": 30}, "s3://b?region=x&trusted=true&priority=30"),
        ({"url": "s3://b?priority=7", "public_key": KEY, "priority": 30}, "s3://b?priority=7"),
        ({"url": "https://a.invalid/c", "backend": "attic"}, "https://a.invalid/c"),
    ],
    ids=["signed", "unsigned", "priority", "parameters", "own priority", "an attic server is never believed unsigned"],
)
def test_a_cache_in_the_words_of_nix(settings: dict[str, Any], url: str) -> None:
    assert substituter_url(CacheConfig(**settings)) == url


def test_each_host_gets_one_line() -> None:
    netrc = tuple(parse("machine other.invalid login me password p"))
    one = token(main="r")
    entries, warnings = passwords(
        [
            Source("main", attic("main"), token=one),
            Source("open", attic("open")),
            Source("other", CacheConfig(url="https://other.invalid"), entries=netrc),
        ]
    )
    assert [(entry.machine, entry.login) for entry in entries] == [
        ("attic.invalid", "pipelinegen"),
        ("other.invalid", "me"),
    ]
    assert entries[0].password == one
    assert not warnings


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["narrow first", "wide first"])
def test_of_two_tokens_for_one_host_the_one_that_may_pull_from_all_is_taken(order: tuple[int, int]) -> None:
    narrow, wide = token(a="r"), token(**{"a": "r", "b*": "rw"})
    sources = [Source("first", attic("a"), token=narrow), Source("second", attic("b"), token=wide)]
    entries, warnings = passwords([sources[index] for index in order])
    assert [entry.password for entry in entries] == [wide]
    assert not warnings


def test_two_tokens_of_one_host_that_are_too_narrow_are_refused_with_the_line_that_mints_one() -> None:
    with pytest.raises(CredentialsError) as raised:
        passwords(
            [Source("first", attic("a"), token=token(a="r")), Source("second", attic("b"), token=token(b="r", a="w"))]
        )
    assert "--pull a --pull b" in (raised.value.hint or "")
    assert "eyJ" not in f"{raised.value.message}{raised.value.where}{raised.value.why}{raised.value.hint}"


def test_of_tokens_that_cannot_be_read_the_first_is_taken_and_that_is_said() -> None:
    entries, warnings = passwords(
        [
            Source("first", attic("a"), token=SecretStr("opaque")),
            Source("second", attic("b"), token=SecretStr("another")),
        ]
    )
    assert [entry.password.get_secret_value() for entry in entries] == ["opaque"]
    assert len(warnings) == 1
    assert "that of first" in warnings[0]
    assert "opaque" not in warnings[0]


def test_a_netrc_file_with_another_password_for_a_host_is_told_of() -> None:
    netrc = tuple(parse("machine attic.invalid password other"))
    entries, warnings = passwords(
        [
            Source("main", attic("main"), token=token(main="r")),
            Source("files", CacheConfig(url="https://attic.invalid/files"), entries=netrc),
        ]
    )
    assert entries[0].password != entries[1].password
    assert ["files" in warning for warning in warnings] == [True]


def daemon(**settings: Any) -> DaemonSettings:
    usual: dict[str, Any] = {
        "substituters": ("https://cache.invalid",),
        "public_keys": frozenset({KEY}),
        "require_sigs": True,
        "netrc_file": "/etc/nix/netrc",
        "netrc": (),
    }
    return DaemonSettings(**{**usual, **settings})


def test_a_daemon_that_knows_everything_is_enough_however_it_spells_it() -> None:
    known = daemon(
        substituters=("https://attic.invalid/main/?priority=9",),
        netrc=tuple(parse("machine attic.invalid password x")),
    )
    source = Source("main", attic("main", priority=30), token=token(main="r"))
    refuse_lacking([source], known)
    assert known.spelled(source.url) == "https://attic.invalid/main/?priority=9"


def test_a_netrc_file_that_only_the_daemon_may_read_is_taken_for_what_it_should_be() -> None:
    known = daemon(substituters=("https://attic.invalid/main",), netrc=None)
    refuse_lacking([Source("main", attic("main"), token=token(main="r"))], known)


def test_what_a_daemon_lacks_is_named_line_by_line_and_trusted_users_is_not_among_it() -> None:
    other = "other-1:" + "B" * 43 + "="
    sources = [
        Source("main", attic("main", priority=30), token=token(main="r")),
        Source("second", attic("second", public_key=other), token=token(main="r")),
        Source("known", CacheConfig(url="https://cache.invalid/", public_key=KEY)),
    ]
    with pytest.raises(ToolError) as raised:
        refuse_lacking(sources, daemon())
    error = raised.value
    assert error.exit_code == 5
    lines = (error.hint or "").splitlines()
    assert lines == [
        "add to /etc/nix/nix.conf, and restart the daemon:",
        "  extra-trusted-substituters = https://attic.invalid/main?priority=30 https://attic.invalid/second",
        f"  extra-trusted-public-keys = {other}",
        "add to /etc/nix/netrc (of root, mode 0600):",
        "  machine attic.invalid login pipelinegen password <a token that may pull from main, second>",
    ]
    assert "trusted-users" not in f"{error.message}{error.why}{error.hint}"
    assert "eyJ" not in f"{error.message}{error.where}{error.why}{error.hint}"


def test_an_unsigned_cache_is_nothing_for_a_daemon_that_wants_signatures() -> None:
    source = Source("plain", CacheConfig(url="https://cache.invalid"))
    with pytest.raises(ToolError, match="would not fetch") as raised:
        refuse_lacking([source], daemon())
    assert "public_key" in (raised.value.hint or "")
    refuse_lacking([source], daemon(require_sigs=False))
    refuse_lacking([source], daemon(substituters=("https://cache.invalid?trusted=true",)))


@pytest.mark.parametrize("url", ["https://cache.invalid", "s3://bucket?region=x"])
def test_a_daemon_is_not_told_to_believe_a_cache_without_signatures(url: str) -> None:
    source = Source("plain", CacheConfig(url=url, priority=30))
    with pytest.raises(ToolError) as raised:
        refuse_lacking([source], daemon(substituters=()))
    named = f"{url}{'&' if '?' in url else '?'}priority=30"
    assert f"  extra-trusted-substituters = {named}" in (raised.value.hint or "").splitlines()
