"""The same way through the real atticd, where it is built, as far as it does not need to look into the server.

first -> repeated pushes, narrow and expired tokens -> collected (a dependency is gone) -> mended
"""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelinegen.cache.attic.push import nar_url
from pipelinegen.cache.provisioning.grants import Role
from tests.attic_server.real import RealAttic, real_attic, real_problem
from tests.lab.attic_delivered import Delivered, closure, holding, once, outcomes
from tests.lab.attic_delivery import (
    HOST,
    PROTECTED,
    PUBLISH,
    PUBLISHING,
    READ,
    UNPROTECTED,
    Delivery,
    delivery,
    forge,
)
from tests.lab.machine import Lab, Result
from tests.lab.runner import Runner
from tests.lab.store import PrivateStore

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("lab-attic"), pytest.mark.time_limit(240)]

SYSTEM, SYSTEM_PUSH = f"nixosConfigurations.{HOST}", f"push nixosConfigurations.{HOST}"
OPEN = "open"
"""A cache that anybody may read."""

RETENTION = 2
"""Seconds."""

_OPEN = """
[caches.open]
backend = "attic"
url = "{url}open"
writers = "protected"
publish = true
include = ["nothing.**"]
public = true
push_token_env = "ATTIC_PUBLISH"
{keys[open]}
"""


@pytest.fixture(scope="module")
def world(lab: Lab, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    """The project and its empty caches; nothing is deployed."""
    if problem := real_problem():
        pytest.skip(f"lab: {problem}")
    folder = tmp_path_factory.mktemp("attic-real")
    with (
        real_attic(folder / "server") as server,
        delivery(lab, runner, folder, server, machine=False, more=_OPEN) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def first(world: Delivery) -> Delivered:
    """The first push of `main`."""
    return world.push()


@pytest.fixture(scope="module")
def system(first: Delivered) -> str:
    """Store path of the machine's system."""
    return first.offer.systems()[HOST]


def push(
    world: Delivery,
    store: PrivateStore,
    cache: str,
    path: str,
    report: Path,
    token: str | None = None,
    reading: str | None = None,
) -> Result:
    """`run push` by hand, as a job of a protected pipeline, with other tokens than it should have."""
    environment = {
        READ: reading or world.tokens[Role.READING],
        PUBLISHING: token or world.tokens[Role.PUBLISHING],
    }
    words = ("run", "push", "--class", "protected", "--to", cache, "--report", report, "--", path)
    return world.run(store, *words, environment=environment, check=False)


def preview(world: Delivery, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The plan of a push of `main`, made with these variables."""
    shown = world.run(PrivateStore(folder), "preview", "--json", environment=environment).stdout
    plan: dict[str, Any] = json.loads(shown)
    return plan


# --- the pipeline


def test_every_job_passes_each_derivation_is_built_once_and_no_token_is_to_be_seen(
    world: Delivery, first: Delivered
) -> None:
    assert first.result.passed, first.result.describe()
    assert first.result.names("passed") == set(first.jobs), first.result.describe()
    assert SYSTEM_PUSH in first.jobs
    assert first.stores.builds() == once(first.wanted)
    assert len(world.secrets) >= 3 * len((Role.READING, Role.PROTECTED, Role.PUBLISHING))
    assert first.leaks(world.secrets) == []
    assert holding(first.folder, world.secrets) == []
    held = {job for job, secrets in first.watch.held.items() if f"token of {Role.PUBLISHING}" in secrets}
    assert held == first.jobs_that("push")


def test_what_the_build_jobs_handed_over_is_deduplicated_when_it_is_published(first: Delivered, system: str) -> None:
    whole = closure(first.stores.store(SYSTEM_PUSH), system)
    assert len(whole) > 3
    assert first.outcomes(SYSTEM_PUSH) == {"deduplicated": whole}


def test_real_nix_fetches_the_system_back_with_signatures_required(
    world: Delivery, first: Delivered, system: str, tmp_path: Path
) -> None:
    store = PrivateStore(tmp_path / "anybody")
    fetched = world.fetch(store, PUBLISH, system, token=world.tokens[Role.PEOPLE])
    assert fetched.returncode == 0, fetched.output
    assert store.built() == ()
    assert closure(store, system) == closure(first.stores.store(SYSTEM_PUSH), system)
    stranger = world.fetch(PrivateStore(tmp_path / "stranger"), PUBLISH, system)
    assert stranger.returncode != 0


# --- who may write


def test_the_server_signs_whatever_who_may_write_sends_under_any_name(
    world: Delivery, first: Delivered, tmp_path: Path
) -> None:
    claimed = first.offer.outs["website"]  # left out of these pipelines
    token = world.tokens[Role.UNPROTECTED]
    answers = {
        cache: forge(world, cache, token, claimed, "echo planted\n", "website")
        for cache in (PROTECTED, PUBLISH, UNPROTECTED)
    }
    assert answers == {PROTECTED: 401, PUBLISH: 401, UNPROTECTED: 200}
    store = PrivateStore(tmp_path / "deceived")
    fetched = world.fetch(store, UNPROTECTED, claimed, token=world.tokens[Role.READING])
    assert fetched.returncode == 0, fetched.output
    assert store.run("cat", f"{claimed}/bin/website").stdout == "echo planted\n"


# --- pushing by hand


def test_a_second_push_sends_nothing(world: Delivery, first: Delivered, system: str, tmp_path: Path) -> None:
    store = first.stores.store(SYSTEM_PUSH)
    done = push(world, store, PUBLISH, system, tmp_path / "push.json")
    assert done.returncode == 0, done.output
    report = json.loads((tmp_path / "push.json").read_text())
    assert outcomes(report) == {"present": closure(store, system)}


def test_a_public_cache_is_read_by_strangers_and_shares_what_others_hold(
    world: Delivery, first: Delivered, system: str, tmp_path: Path
) -> None:
    store = first.stores.store(SYSTEM_PUSH)
    done = push(world, store, OPEN, system, tmp_path / "push.json")
    assert done.returncode == 0, done.output
    assert outcomes(json.loads((tmp_path / "push.json").read_text())) == {"deduplicated": closure(store, system)}
    stranger = PrivateStore(tmp_path / "stranger")
    fetched = world.fetch(stranger, OPEN, system)
    assert fetched.returncode == 0, fetched.output
    assert stranger.built() == ()


@pytest.mark.parametrize("cache", [PUBLISH, OPEN])
def test_a_token_that_only_pulls_is_told_with_what_it_lacks(
    cache: str, world: Delivery, first: Delivered, system: str, tmp_path: Path
) -> None:
    token = server_of(world).token({cache: "r"})
    done = push(world, first.stores.store(SYSTEM_PUSH), cache, system, tmp_path / "push.json", token)
    assert done.returncode == 4, done.output
    assert f"the token allows pull on {cache}, not push" in done.stderr
    assert token not in done.output


@pytest.mark.parametrize("cache", [PUBLISH, OPEN])
def test_an_expired_token_is_told_with_its_end_on_private_and_public_caches(
    cache: str, world: Delivery, first: Delivered, system: str, tmp_path: Path
) -> None:
    token = server_of(world).token({cache: "r w"}, seconds=-3600)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    ended = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(claims["exp"]))
    done = push(world, first.stores.store(SYSTEM_PUSH), cache, system, tmp_path / "push.json", token)
    assert done.returncode == 4, done.output
    assert f"the token expired at {ended}" in done.stderr
    assert token not in done.output


def test_a_job_whose_token_for_reading_expired_says_so_where_nix_sees_no_cache_at_all(
    world: Delivery, first: Delivered, tmp_path: Path
) -> None:
    token = server_of(world).token({"ci-main": "r", PUBLISH: "r"}, seconds=-3600)
    hello = first.offer.outs["hello 2.0"]  # in no cache that anybody may read
    done = push(world, PrivateStore(tmp_path / "empty"), PUBLISH, hello, tmp_path / "push.json", reading=token)
    assert done.returncode == 4, done.output
    assert done.stderr.count(f"cache {PUBLISH} lets this job fetch nothing: the token expired at ") == 2
    # The plan says it, too: without a token for pushing Nix is asked, who knows the status alone.
    notes = preview(world, tmp_path / "planning", {READ: token})["notes"]
    assert any("HTTP error 401; the token expired at " in note for note in notes), notes


def test_a_job_whose_token_for_reading_is_too_narrow_says_so_and_takes_what_it_can(
    world: Delivery, system: str, tmp_path: Path
) -> None:
    token = server_of(world).token({"ci-main": "r"})
    done = push(world, PrivateStore(tmp_path / "empty"), PUBLISH, system, tmp_path / "push.json", reading=token)
    assert done.returncode == 0, done.output
    assert f"cache {PUBLISH} lets this job fetch nothing: the token is for ci-main, not for {PUBLISH}" in done.stderr


def server_of(world: Delivery) -> RealAttic:
    """The server, which is the real one."""
    assert isinstance(world.server, RealAttic)
    return world.server


# --- garbage collection


@dataclass(frozen=True)
class Collected:
    """A cache that lost one path of a closure.

    Attributes:
        path: the lost one.
        kept: the others.
        before, after: what is planned for the system: stage → decision; asked with the token for reading, and
            (`after`) also with one for pushing.
        fetched: what fetching the system then gave.
    """

    path: str
    kept: set[str]
    before: dict[str, str]
    after: list[dict[str, str]]
    fetched: Result


def planned(world: Delivery, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Stage → what a push of `main` would do with the system now."""
    output = next(one for one in preview(world, folder, environment)["outputs"] if one["attr"] == SYSTEM)
    return {stage: decision["decision"] for stage, decision in output["decisions"].items()}


@pytest.fixture(scope="module")
def collected(world: Delivery, first: Delivered, system: str, tmp_path_factory: pytest.TempPathFactory) -> Collected:
    """The garbage collector runs when all but a library was downloaded lately."""
    folder = tmp_path_factory.mktemp("collected")
    whole = closure(first.stores.store(SYSTEM_PUSH), system)
    path = next(one for one in whole if one.endswith("-libdisk-1.0"))
    reading = {READ: world.tokens[Role.READING]}
    before = planned(world, folder / "before", reading)
    time.sleep(RETENTION + 1.5)
    headers = {"Authorization": f"Bearer {world.tokens[Role.PEOPLE]}"}
    for one in whole - {path}:
        httpx.get(nar_url(f"{world.server.url}{PUBLISH}", one), headers=headers).raise_for_status()
    server_of(world).collect(RETENTION)
    pushing = {**reading, PUBLISHING: world.tokens[Role.PUBLISHING]}
    after = [planned(world, folder / f"after-{number}", one) for number, one in enumerate((reading, pushing))]
    fetched = world.fetch(PrivateStore(folder / "store"), PUBLISH, system, token=world.tokens[Role.PEOPLE])
    return Collected(path, whole - {path}, before, after, fetched)


@pytest.fixture(scope="module")
def mended(world: Delivery, collected: Collected) -> Delivered:
    """The next push, which changes nothing."""
    world.project.edit("pkgs/hello.nix", "{ program }:", "# Hello.\n{ program }:")
    world.project.commit("hello: say what it is")
    assert collected.fetched.returncode != 0
    return world.push()


def test_a_root_whose_dependency_was_collected_does_not_count_as_published(collected: Collected) -> None:
    assert (collected.before["build"], collected.before["push"]) == ("skip", "skip")
    # The cache for handing over keeps it longer: it need not be built.
    assert [(one["build"], one["push"]) for one in collected.after] == [("skip", "run")] * 2
    assert collected.fetched.returncode != 0


def test_the_next_push_brings_the_collected_path_back_and_nothing_else(
    world: Delivery, collected: Collected, mended: Delivered, system: str, tmp_path: Path
) -> None:
    assert mended.result.passed, mended.result.describe()
    assert mended.stores.builds() == Counter()
    assert mended.outcomes(SYSTEM_PUSH) == {"deduplicated": {collected.path}, "present": collected.kept}
    fetched = world.fetch(PrivateStore(tmp_path / "store"), PUBLISH, system, token=world.tokens[Role.PEOPLE])
    assert fetched.returncode == 0, fetched.output
