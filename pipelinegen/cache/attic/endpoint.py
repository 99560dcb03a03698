"""Which address pushes go to: ours, or the one that the server says is its own. And what is wrong with it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pipelinegen.cache.attic.client import AtticClient
from pipelinegen.cache.attic.protocol import Address, CacheSettings
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.model import FailureClass
from pipelinegen.console import clean

_HINT = "correct `api-endpoint` in the server's configuration, or set push_url to the address that works"


def follow(client: AtticClient, settings: CacheSettings, *, fixed: bool) -> None:
    """Go on at the server's own `api_endpoint`, as Attic's own client does.

    Args:
        fixed: stay where we are: `push_url` was configured.

    Raises:
        RefusedError: the token would travel in the clear, or it is no address.
    """
    named = settings.api_endpoint
    if fixed or named is None or _same(named, client.address.endpoint):
        return
    shown = clean(named, colour=False)
    if not _usable(named):
        raise RefusedError(
            FailureClass.WRONG_ENDPOINT, f"the server says that its api-endpoint is {shown}, no address", hint=_HINT
        )
    if urlsplit(named).scheme == "http" and client.address.endpoint.startswith("https:"):
        raise RefusedError(
            FailureClass.WRONG_ENDPOINT,
            f"the server says that its api-endpoint is {shown}: the token would travel unencrypted",
            hint=_HINT,
        )
    client.move(Address(named if named.endswith("/") else f"{named}/", client.address.cache))


def _usable(named: str) -> bool:
    """Whether it is an address of a server: everything else about a request is ours. It is shown in messages, too."""
    if re.search(r"[\s?#@]", named) or named != clean(named, colour=False):
        return False
    try:
        parts = urlsplit(named)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, no port
        return False


def troubles(settings: CacheSettings, address: Address) -> list[str]:
    """What is wrong with the addresses that a server gives out, as sentences."""
    found = []
    named, substituter = settings.api_endpoint, settings.substituter_endpoint
    if named is not None and not named.endswith("/"):
        found.append(
            f"the server's api-endpoint {clean(named, colour=False)} does not end in /: what it tells people to "
            "substitute from is a wrong address"
        )
    elif substituter is not None and not substituter.rstrip("/").endswith(f"/{address.cache}"):
        found.append(f"the server's substituter-endpoint {clean(substituter, colour=False)} does not name the cache")
    if named is not None and not _same(named, address.endpoint):
        found.append(f"pushes go to the server's own api-endpoint, {clean(named, colour=False)}; push_url keeps them")
    return found


def moved(error: RefusedError, first: str, now: str) -> RefusedError:
    """The error with the reason why we were at that address at all."""
    if first == now:
        return error
    return RefusedError(
        error.failure,
        f"{error.message} (pushing there because the server at {first} says that this is its api-endpoint)",
        hint=_HINT,
        retry_after=error.retry_after,
    )


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
