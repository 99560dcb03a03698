"""Fixtures of the lab, reasons to skip, and a bound on the time of every test."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.lab.deployer import Deployer, reset
from tests.lab.host import Host, running_host
from tests.lab.machine import Lab
from tests.lab.runner import Runner
from tests.lab.store import PrivateStore, SigningKey

DEFAULT_SECONDS = 120
"""For each of set-up, call and tear-down of a test without `@pytest.mark.time_limit(seconds)`."""

MakeHost = Callable[..., Host]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "time_limit(seconds): how long a test of the lab may take")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    with time_limit(_seconds(item)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with time_limit(_seconds(item)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    with time_limit(_seconds(item)):
        return (yield)


def _seconds(item: pytest.Item) -> int:
    marker = item.get_closest_marker("time_limit")
    return int(marker.args[0]) if marker else DEFAULT_SECONDS


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """End what runs inside with a failure when its time is up; processes are ended on the way out."""

    def expire(signum: int, frame: FrameType | None) -> None:
        pytest.fail(f"not done within {seconds} s")

    previous = signal.signal(signal.SIGALRM, expire)
    outer = signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        signal.alarm(outer)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """What this computer offers."""
    return Lab.find()


@pytest.fixture(scope="session")
def private_stores(lab: Lab) -> None:
    """Asked for by tests that mount stores on `/nix`."""
    _skip_for(lab.store_problem())


@pytest.fixture(scope="session")
def runner(lab: Lab, private_stores: None, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The pipeline runner; its jobs can have a `/nix` of their own."""
    _skip_for(lab.runner_problem())
    return Runner(lab.runner_command, tmp_path_factory.mktemp("runner-home"))


@pytest.fixture
def store(private_stores: None, tmp_path: Path) -> PrivateStore:
    """An empty store, such as the bootstrap job's."""
    return PrivateStore(tmp_path / "store")


@pytest.fixture
def make_host(lab: Lab, tmp_path: Path) -> Iterator[MakeHost]:
    """Starts machines that end with the test: `make_host("web1", trusted_keys=[…])`, see `running_host`."""
    _skip_for(lab.host_problem())
    with contextlib.ExitStack() as stack:

        def make(name: str, **options: Any) -> Host:
            folder = tmp_path / "hosts" / name
            return stack.enter_context(running_host(lab.base_image, name, folder, **options))

        yield make


@pytest.fixture(scope="module")
def host(lab: Lab, signing_key: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One machine for all tests of a module that leave it as it was; it trusts `signing_key`."""
    _skip_for(lab.host_problem())
    folder = tmp_path_factory.mktemp("host") / "web1"
    with running_host(lab.base_image, "web1", folder, trusted_keys=[signing_key.public]) as machine:
        yield machine


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """The key pair of a cache."""
    return SigningKey.generate(tmp_path_factory.mktemp("keys") / "lab-1.secret")


def _skip_for(problem: str | None) -> None:
    if problem is not None:
        pytest.skip(f"lab: {problem}")


@pytest.fixture(scope="session")
def systems(private_stores: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[PrivateStore, dict[str, str]]:
    """The store of jobs that deploy, and the systems that were built there, by name."""
    return PrivateStore(tmp_path_factory.mktemp("systems")), {}


@pytest.fixture
def deployer(host: Host, systems: tuple[PrivateStore, dict[str, str]], tmp_path: Path) -> Deployer:
    """Deploys to the machine of the module, which is as it was installed."""
    reset(host)
    store, built = systems
    one = Deployer(store, host, tmp_path, built=built)
    one.configure()
    return one
