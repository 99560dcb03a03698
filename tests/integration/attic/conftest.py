"""One server for many tests, of each kind; and one with settings of its own."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.attic_server import attic_server
from tests.attic_server.real import Settings, real_attic, real_problem
from tests.integration.attic.client import ALL, Attic, Client
from tests.integration.attic.pushing import Scene, build

KINDS = ("double", "real")
Start = Callable[[Settings], Attic]


@contextlib.contextmanager
def running(
    kind: str, folder: Path, settings: Settings, compression: Literal["none", "xz"] = "none"
) -> Iterator[Attic]:
    """A server of this kind; skips the test where there is no real one."""
    if kind == "real":
        problem = real_problem()
        if problem:
            pytest.skip(problem)
        with real_attic(folder, settings=settings, compression=compression) as real:
            yield real
        return
    with attic_server(folder, compression=compression) as double:
        for name, value in vars(settings).items():
            setattr(double, name, value)
        yield double


@pytest.fixture(scope="package", params=KINDS)
def attic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attic]:
    """A server with default settings, which many tests share: each takes caches of its own."""
    with running(request.param, tmp_path_factory.mktemp("attic") / "server", Settings()) as server:
        yield server


@pytest.fixture(params=KINDS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts a server with other settings."""
    with contextlib.ExitStack() as stack:
        yield lambda settings: stack.enter_context(running(request.param, tmp_path / "attic", settings))


def clients(attic: Attic, name: str, bits: str = ALL, *, public: bool = False) -> Client:
    """A new cache, and a client who may do this there."""
    attic.create_cache(name, public=public)
    return Client(attic, name, attic.token({name: bits}))


@pytest.fixture
def cache_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has."""
    return f"c{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"


@pytest.fixture
def owner(attic: Attic, cache_name: str) -> Client:
    """Who may do everything with a new private cache."""
    return clients(attic, cache_name)


@pytest.fixture
def public(attic: Attic, cache_name: str) -> Client:
    """Who may do everything with a new public cache."""
    return clients(attic, cache_name, public=True)


@pytest.fixture
def scene(nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Built paths in a store of this test, and a server that has none of them."""
    with attic_server() as server:
        key = server.create_cache("ci", store_dir=str(tmp_path / "nix" / "store"))
        yield Scene(server, build(tmp_path), key, monkeypatch)
