"""The address that a server says is its own: followed where it is one, and nothing else of it gets anywhere."""

from __future__ import annotations

import pytest

from pipelinegen.cache.attic.client import AtticClient
from pipelinegen.cache.attic.endpoint import follow
from pipelinegen.cache.attic.protocol import Address, CacheSettings
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.model import FailureClass


def followed(named: str | None, *, first: str = "https://cache.example/", fixed: bool = False) -> str:
    client = AtticClient(Address(first, "ci"))
    follow(client, CacheSettings(api_endpoint=named), fixed=fixed)
    return client.address.endpoint


@pytest.mark.parametrize(
    ("named", "endpoint"),
    [
        pytest.param(None, "https://cache.example/", id="none"),
        pytest.param("https://cache.example", "https://cache.example/", id="the same"),
        pytest.param("https://api.example/attic", "https://api.example/attic/", id="another, with a path"),
        pytest.param("https://[::1]:8080/", "https://[::1]:8080/", id="an IPv6 address with a port"),
    ],
)
def test_pushes_go_to_the_servers_own_address(named: str | None, endpoint: str) -> None:
    assert followed(named) == endpoint


def test_a_configured_address_stays() -> None:
    assert followed("https://api.example/", fixed=True) == "https://cache.example/"


@pytest.mark.parametrize(
    "named",
    [
        pytest.param("//cache.example/", id="no scheme"),
        pytest.param("file:///etc/", id="a file"),
        pytest.param("https://[::1", id="half an IPv6 address"),
        pytest.param("https://host:99999/", id="no port"),
        pytest.param("https://host:abc/", id="a port of letters"),
        pytest.param("https://user:password@host/", id="a password, which would replace the token"),
        pytest.param("https://host/?a=", id="a query"),
        pytest.param("https://host/\nsection_start:1:x", id="a line break"),
        pytest.param("https://host/\x1b[2J", id="an escape"),
        pytest.param("http://cache.example/", id="in the clear"),
    ],
)
def test_what_is_no_address_to_send_a_token_to_is_refused_and_shown_harmless(named: str) -> None:
    with pytest.raises(RefusedError) as raised:
        followed(named)
    assert raised.value.failure is FailureClass.WRONG_ENDPOINT
    assert raised.value.message.isprintable()
