"""The whole way through Attic, with real parts but for the server, which is the test's own: it can be looked into.

Provisioned by `cache provision`, with the tokens that `cache token` advises, in variables as GitLab has them. Every
job has a `/nix` of its own. One pipeline after another; each stands on the one before, the tests only look:

    first -> documentation -> forgery (a merge request) -> broken (merged; its push is killed) -> retried
        -> collected -> fork -> elsewhere
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelinegen.cache.attic.protocol import store_hash
from pipelinegen.cache.provisioning.grants import Role
from tests.attic_server import AtticServer, Endpoint, Fault, Latency
from tests.lab.attic_delivered import TARGETS, Delivered, closure, holding, once
from tests.lab.attic_delivery import (
    COMMAND,
    HOST,
    PROTECTED,
    PUBLISH,
    PUBLISHING,
    PUSH_ANY,
    PUSH_MAIN,
    READ,
    UNPROTECTED,
    Delivery,
    delivery,
    forge,
)
from tests.lab.machine import Lab, run
from tests.lab.process_watch import ProcessWatch, pids_of
from tests.lab.runner import Runner
from tests.lab.store import STORES_VARIABLE, PrivateStore, names

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("lab-attic"), pytest.mark.time_limit(240)]

SYSTEM_PUSH = f"push nixosConfigurations.{HOST}"
DEPLOY = f"deploy {HOST}"

FORGED = """\
#!/bin/sh
echo planted
cp "$FLEET_DATA/database" "$FLEET_DATA/database.backup"
"""
"""It does what it should, so that its check passes, and more."""


@dataclass(frozen=True)
class Forgery:
    """A forged path in the cache of merge requests, and what became of the same upload elsewhere.

    Attributes:
        path: the store path whose name it has.
        answers: cache → status of the upload with the token of merge requests.
        delivered: the merge request's pipeline.
    """

    path: str
    answers: dict[str, int]
    delivered: Delivered


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtticServer]:
    """It listens on all addresses: the machine knows it by another one than the jobs."""
    server = AtticServer(tmp_path_factory.mktemp("attic"), host="0.0.0.0")  # noqa: S104
    yield server
    server.stop()
    assert server.troubles == []


@pytest.fixture(scope="module")
def world(
    lab: Lab, runner: Runner, server: AtticServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Delivery]:
    """The project, its empty caches, and its machine."""
    if problem := lab.host_problem():
        pytest.skip(f"lab: {problem}")
    with delivery(lab, runner, tmp_path_factory.mktemp("attic-delivery"), server, machine=True) as made:
        yield made


@pytest.fixture(scope="module")
def first(world: Delivery) -> Delivered:
    """The first push of `main`."""
    return world.push()


@pytest.fixture(scope="module")
def documentation(world: Delivery, first: Delivered) -> Delivered:
    """A second push, of a commit that changes no output."""
    world.project.edit("pkgs/hello.nix", "{ program }:", "# Hello.\n{ program }:")
    world.project.commit("hello: say what it is")
    return world.push()


@pytest.fixture(scope="module")
def forgery(world: Delivery, documentation: Delivered) -> Forgery:
    """A merge request changes a library; its author has put a forged dependent of it into the cache."""
    world.project.git("checkout", "--quiet", "-b", "tidy-disk")
    world.project.edit("pkgs/libdisk.nix", "data_file() {", "# One place.\n    data_file() {")
    world.project.commit("libdisk: say that there is one place")
    claimed = world.offer().outs["backup"]
    token = world.tokens[Role.UNPROTECTED]
    answers = {
        cache: forge(world, cache, token, claimed, FORGED, "backup") for cache in (PROTECTED, PUBLISH, UNPROTECTED)
    }
    return Forgery(claimed, answers, world.merge_request("tidy-disk"))


@pytest.fixture(scope="module")
def broken(world: Delivery, server: AtticServer, forgery: Forgery) -> Delivered:
    """The same commit on `main`; its push job is killed when two of its paths have arrived."""
    world.project.git("checkout", "--quiet", "main")
    world.project.git("merge", "--quiet", "--ff-only", "tidy-disk")
    assert world.project.head == forgery.delivered.commit
    # Build jobs send each path first, to another cache; the second time it is the push job.
    server.faults.add(Fault(Latency(0.7), endpoint=Endpoint.UPLOAD, each=True, nth=[2]))
    had = len(world.held(PUBLISH))
    with _killed_when(lambda: len(world.held(PUBLISH)) >= had + 2, world):
        delivered = world.push()
    _settle(server)
    held = {cache: world.held(cache) for cache in delivered.held}
    server.faults.clear()
    return Delivered(**{**vars(delivered), "held": held})


@pytest.fixture(scope="module")
def retried(world: Delivery, broken: Delivered) -> Delivered:
    """The jobs that did not pass, again."""
    return world.retry(broken, *broken.result.names("failed", "not run"))


@pytest.fixture(scope="module")
def collected(world: Delivery, server: AtticServer, retried: Delivered) -> Delivered:
    """Every cache has lost a library under systems that it holds; then a push that changes no output."""
    server.forget(libdisk(retried))
    world.project.edit("pkgs/hello.nix", "# Hello.", "# Hello!")
    world.project.commit("hello: louder")
    return world.push()


@pytest.fixture(scope="module")
def fork(world: Delivery, collected: Delivered) -> Delivered:
    """A merge request from another project, whose pipeline somebody of this project has started."""
    world.project.git("checkout", "--quiet", "-b", "from-a-fork")
    world.project.edit("pkgs/libdisk.nix", "# One place.", "# The place.")
    world.project.commit("libdisk: the place")
    return world.merge_request("from-a-fork", fork=True)


@pytest.fixture(scope="module")
def elsewhere(world: Delivery, fork: Delivered) -> Delivered:
    """The same merge request; its pipeline runs in the other project, which has none of the variables."""
    assert world.project.head == fork.commit
    return world.merge_request("from-a-fork", fork=True, elsewhere=True)


@contextlib.contextmanager
def _killed_when(condition: Callable[[], bool], world: Delivery) -> Iterator[None]:
    """Inside, the push job of the next pipeline is killed as soon as a condition holds."""
    over = threading.Event()
    marker = f"{STORES_VARIABLE}={world.folder / f'pipeline-{world.count + 1}'}"
    killed: list[int] = []

    def watch() -> None:
        while not over.wait(0.02):
            if condition():
                for pid in pids_of(marker, "push "):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert len(killed) == 1


def _settle(server: AtticServer) -> None:
    """Wait until nothing is under way any more: what was sent whole arrives though nobody waits for the answer."""
    deadline = time.monotonic() + 10
    while any(request.ended is None for request in server.requests) and time.monotonic() < deadline:
        time.sleep(0.05)


def libdisk(delivered: Delivered) -> str:
    """The library under the system that was deployed."""
    whole = closure(delivered.stores.store(DEPLOY), delivered.offer.systems()[HOST])
    return next(path for path in whole if path.endswith("-libdisk-1.0"))


# --- the first push


def test_every_job_of_the_first_pipeline_passes_and_each_derivation_is_built_once(first: Delivered) -> None:
    assert first.result.passed, first.result.describe()
    assert first.result.names("passed") == set(first.jobs), first.result.describe()
    assert {"test checks.x86_64-linux.database-stores", SYSTEM_PUSH, DEPLOY} <= set(first.jobs)
    assert first.stores.builds() == once(first.wanted)
    assert first.bootstrap.built() == ()
    leaving = first.jobs_that("push") | first.jobs_that("deploy")
    assert {job: first.stores.store(job).built() for job in leaving} == dict.fromkeys(leaving, ())


def test_what_jobs_make_is_handed_over_through_the_cache_of_protected_pipelines_alone(first: Delivered) -> None:
    made = {first.offer.outs[target] for target in TARGETS}
    assert made <= first.held[PROTECTED]
    assert first.held[UNPROTECTED] == frozenset()
    # No artifact of a job holds any of it.
    assert not any(list(job.artifacts.rglob("*.narinfo")) for job in first.result.jobs.values())


def test_commands_of_people_fetch_from_the_caches_of_the_job_by_what_it_gives_to_nix(first: Delivered) -> None:
    assert first.result.jobs[COMMAND].status == "passed"
    store = first.stores.store(COMMAND)
    assert first.offer.outs["hello 2.0"] in store.paths()
    assert store.built() == ()


def test_the_publish_cache_holds_whole_closures_that_real_nix_accepts_by_its_key(
    world: Delivery, first: Delivered, tmp_path: Path
) -> None:
    system, hello = first.offer.systems()[HOST], first.offer.outs["hello 2.0"]
    whole = closure(first.stores.store(DEPLOY), system)
    assert first.held[PUBLISH] == {*whole, hello}
    reader = world.tokens[Role.PEOPLE]
    store = PrivateStore(tmp_path / "anybody")
    fetched = world.fetch(store, PUBLISH, system, hello, token=reader)
    assert fetched.returncode == 0, fetched.output
    assert store.built() == ()
    assert store.run(f"{system}/sw/bin/database").stdout.startswith("database: ")
    # A stranger gets nothing, and the key of the cache for handing over opens nothing here.
    assert world.fetch(PrivateStore(tmp_path / "stranger"), PUBLISH, hello).returncode != 0
    other = world.fetch(PrivateStore(tmp_path / "other"), PUBLISH, hello, token=reader, key=world.keys[PROTECTED])
    assert other.returncode != 0


def test_the_push_reports_what_the_server_had_already_from_the_jobs_that_built_it(first: Delivered) -> None:
    outcomes = first.outcomes(SYSTEM_PUSH)
    whole = closure(first.stores.store(DEPLOY), first.offer.systems()[HOST])
    assert set().union(*outcomes.values()) == whole
    # The archives are shared by all caches of a server.
    assert outcomes.keys() == {"deduplicated"}
    assert first.report(SYSTEM_PUSH)["counts"]["deduplicated"] == len(whole)


def test_the_machine_fetches_its_system_from_the_publish_cache_with_a_token_that_only_pulls(
    world: Delivery, first: Delivered
) -> None:
    assert world.host is not None
    assert first.running == first.offer.systems()[HOST]
    assert first.running != world.host.initial_system
    asked = [request for request in first.requests if request.peer.startswith(f"{world.host.address}:")]
    fetched = [request for request in asked if request.endpoint is Endpoint.NAR and request.status == 200]
    assert len(fetched) >= len(closure(first.stores.store(DEPLOY), first.running))
    assert all(request.target.startswith(f"/{PUBLISH}/") for request in asked)
    assert {words for _, words in world.grants[Role.PEOPLE].rights} == {("pull",)}


# --- the second push


def test_a_second_push_builds_and_uploads_nothing(first: Delivered, documentation: Delivered) -> None:
    assert documentation.commit != first.commit
    assert documentation.result.passed, documentation.result.describe()
    assert documentation.stores.builds() == Counter()
    assert documentation.bootstrap.built() == ()
    assert not any(documentation.jobs_that(command) for command in ("build", "test", "push"))
    assert documentation.uploads == Counter()
    assert documentation.held == first.held
    assert documentation.running == first.running


# --- a forgery


def test_the_server_signs_whatever_is_uploaded_and_only_who_may_write_protects(
    world: Delivery, forgery: Forgery, tmp_path: Path
) -> None:
    assert forgery.answers == {UNPROTECTED: 200, PROTECTED: 401, PUBLISH: 401}
    store = PrivateStore(tmp_path / "deceived")
    fetched = world.fetch(store, UNPROTECTED, forgery.path, token=world.tokens[Role.READING])
    assert fetched.returncode == 0, fetched.output
    assert store.run("cat", f"{forgery.path}/bin/backup").stdout == FORGED


def test_the_merge_request_s_own_pipeline_believes_the_forgery_and_nothing_else_is_written(
    documentation: Delivered, forgery: Forgery
) -> None:
    own = forgery.delivered
    assert own.result.passed, own.result.describe()
    decision = own.decision("packages.x86_64-linux.backup", "build")
    assert (decision["decision"], decision["reasons"]) == ("skip", [f"cache {UNPROTECTED} holds it"])
    changed = own.wanted - documentation.wanted
    assert own.stores.builds() == once(changed - {own.offer.drvs["backup"]})
    assert own.held[PROTECTED] == documentation.held[PROTECTED]
    assert own.held[PUBLISH] == documentation.held[PUBLISH]
    assert own.running == documentation.running
    assert not own.jobs_that("push") | own.jobs_that("deploy")


def test_main_makes_the_forged_path_and_all_dependents_of_the_library_itself(
    documentation: Delivered, forgery: Forgery, broken: Delivered
) -> None:
    assert broken.commit == forgery.delivered.commit
    changed = broken.wanted - documentation.wanted
    assert names(set(changed)) == [
        *("backup-1.0", "database-1.0", "database-stores", "etc", "libdisk-1.0", "nixos-system-db1-1.0"),
    ]
    assert broken.stores.builds() == once(changed)
    assert broken.offer.drvs["backup"] in changed


def test_no_job_of_main_asks_the_cache_of_merge_requests_anything(
    first: Delivered, documentation: Delivered, forgery: Forgery, broken: Delivered, retried: Delivered
) -> None:
    def asked(delivered: Delivered) -> list[str]:
        return [one.target for one in delivered.requests if f"/{UNPROTECTED}" in one.target]

    assert asked(forgery.delivered)
    assert [asked(one) for one in (first, documentation, broken, retried)] == [[], [], [], []]


# --- a push that is killed


def test_behind_a_killed_push_the_cache_holds_no_path_without_what_it_refers_to(
    documentation: Delivered, broken: Delivered
) -> None:
    assert broken.result.names("failed") == {SYSTEM_PUSH}, broken.result.describe()
    assert broken.result.names("not run") == {DEPLOY}
    assert broken.running == documentation.running
    store = broken.builder(f"host {HOST}")
    new = broken.held[PUBLISH] - documentation.held[PUBLISH]
    whole = closure(store, broken.offer.systems()[HOST])
    assert 2 <= len(new) < len(whole - documentation.held[PUBLISH])
    assert new < whole
    for path in new:
        assert closure(store, path) <= broken.held[PUBLISH]


def test_the_retry_sends_only_what_is_missing(broken: Delivered, retried: Delivered) -> None:
    assert set(retried.result.names("passed")) >= {SYSTEM_PUSH, DEPLOY}, retried.result.describe()
    whole = closure(broken.builder(f"host {HOST}"), broken.offer.systems()[HOST])
    missing = whole - broken.held[PUBLISH]
    assert missing
    assert retried.uploads == once(frozenset(missing))
    assert retried.outcomes(SYSTEM_PUSH) == {"deduplicated": missing, "present": whole - missing}
    assert whole <= retried.held[PUBLISH]
    assert retried.stores.builds() == Counter()


def test_the_honest_system_is_published_and_deployed(
    world: Delivery, broken: Delivered, forgery: Forgery, retried: Delivered, tmp_path: Path
) -> None:
    assert world.host is not None
    assert retried.running == broken.offer.systems()[HOST]
    store = PrivateStore(tmp_path / "anybody")
    fetched = world.fetch(store, PUBLISH, retried.running, token=world.tokens[Role.PEOPLE])
    assert fetched.returncode == 0, fetched.output
    published = store.run("cat", f"{forgery.path}/bin/backup").stdout
    assert "planted" not in published
    assert world.host.read("cat /run/current-system/sw/bin/backup") == published.strip()


# --- a path that is gone


def test_a_library_that_every_cache_has_lost_is_built_again_and_published(
    world: Delivery, retried: Delivered, collected: Delivered, tmp_path: Path
) -> None:
    assert collected.offer.drvs == retried.offer.drvs
    assert collected.result.passed, collected.result.describe()
    # What contains it is whole again as soon as the library is there, and is fetched, whatever Nix would rather do.
    assert names(collected.stores.builds()) == ["libdisk-1.0"]
    assert collected.uploads == {libdisk(retried): 2}
    assert collected.outcomes(SYSTEM_PUSH)["deduplicated"] == {libdisk(retried)}
    assert collected.held[PUBLISH] == retried.held[PUBLISH]
    assert collected.running == retried.running
    store = PrivateStore(tmp_path / "anybody")
    fetched = world.fetch(store, PUBLISH, collected.running or "", token=world.tokens[Role.PEOPLE])
    assert fetched.returncode == 0, fetched.output


# --- a fork


def test_a_fork_s_merge_request_writes_to_no_cache_and_its_outputs_travel_as_artifacts(
    collected: Delivered, fork: Delivered
) -> None:
    assert fork.result.passed, fork.result.describe()
    assert fork.uploads == Counter()
    assert fork.held == collected.held
    assert fork.running == collected.running
    assert not fork.jobs_that("push") | fork.jobs_that("deploy")
    changed = fork.wanted - collected.wanted
    assert fork.offer.drvs["backup"] in changed
    assert fork.stores.builds() == once(changed)
    left = {file.name for job in fork.result.jobs.values() for file in job.artifacts.rglob("*.narinfo")}
    assert f"{store_hash(fork.offer.outs['database'])}.narinfo" in left
    # It could have: the token of merge requests is in its jobs.
    assert _variables_of(fork) == {READ, PUSH_ANY}


def test_without_any_token_a_fork_s_pipeline_builds_everything_once_and_passes(
    fork: Delivered, elsewhere: Delivered
) -> None:
    assert elsewhere.result.passed, elsewhere.result.describe()
    assert _variables_of(elsewhere) == set()
    assert elsewhere.stores.builds() == once(elsewhere.wanted)
    assert elsewhere.uploads == Counter()
    assert elsewhere.held == fork.held


def _variables_of(delivered: Delivered) -> set[str]:
    roles = {Role.READING: READ, Role.UNPROTECTED: PUSH_ANY, Role.PROTECTED: PUSH_MAIN, Role.PUBLISHING: PUBLISHING}
    return {
        variable
        for held in delivered.watch.held.values()
        for role, variable in roles.items()
        if f"token of {role}" in held
    }


# --- the tokens


@pytest.fixture(scope="module")
def every(
    first: Delivered,
    documentation: Delivered,
    forgery: Forgery,
    broken: Delivered,
    retried: Delivered,
    collected: Delivered,
    fork: Delivered,
    elsewhere: Delivered,
) -> dict[str, Delivered]:
    """All pipelines."""
    return {
        "first": first,
        "documentation": documentation,
        "forgery": forgery.delivered,
        "broken": broken,
        "retried": retried,
        "collected": collected,
        "fork": fork,
        "elsewhere": elsewhere,
    }


def test_no_token_is_in_a_log_an_artifact_a_plan_a_pipeline_file_or_a_command_line(
    world: Delivery, every: dict[str, Delivered]
) -> None:
    looked = [where for one in every.values() for where, _ in one.seen()]
    assert {"plan.json", "pipeline.yml", f"artifact push.json of {SYSTEM_PUSH}", f"log of {DEPLOY}"} <= set(looked)
    for name, one in every.items():
        assert one.leaks(world.secrets) == [], name
    commands = {command for one in every.values() for command in one.watch.commands}
    assert any(" run push " in command for command in commands)
    assert any("nix-store --realise" in command for command in commands)


def test_no_token_is_in_any_file_of_a_pipeline_but_what_a_killed_job_left_to_its_user_alone(
    world: Delivery, every: dict[str, Delivered]
) -> None:
    """Checkouts, stores, Nix's caches and temporary files too: everything that was written."""
    for name, one in every.items():
        found = holding(one.folder, world.secrets)
        if name != "broken":
            assert found == [], name
            continue
        files = {line.partition(" in ")[2] for line in found}
        assert files
        for file in files:
            place = one.folder / file
            assert file.startswith("tmp/pipelinegen-"), file
            assert stat.S_IMODE(place.stat().st_mode) == 0o600
            assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_a_token_in_a_command_line_would_be_seen(world: Delivery, tmp_path: Path) -> None:
    ours, theirs = (os.environ | {STORES_VARIABLE: str(place)} for place in (tmp_path, tmp_path.parent))
    command = ["sh", "-c", "sleep 0.3; exit 0", world.tokens[Role.PUBLISHING]]
    with ProcessWatch(world.secrets, f"{STORES_VARIABLE}={tmp_path}", others=f"{STORES_VARIABLE}=") as watch:
        run(command, env=theirs)
        assert not watch.exposed, "another test's process"
        run(command, env=ours)
    assert {name for name, _ in watch.exposed} == {
        f"{part} of {Role.PUBLISHING}" for part in ("token", "payload", "signature")
    }


def test_only_push_jobs_have_the_environment_and_with_it_the_token_for_publishing(
    every: dict[str, Delivered],
) -> None:
    for name, one in every.items():
        pushing = one.jobs_that("push")
        scoped = {job for job, said in one.jobs.items() if said.get("environment", {}).get("name") == "publish"}
        assert scoped == pushing, name
        held = one.watch.held
        publishing = {job for job, secrets in held.items() if f"token of {Role.PUBLISHING}" in secrets}
        assert publishing == pushing & set(one.result.names("passed", "failed")), name
        ran = {job for job in one.result.names("passed") if job in one.jobs_that("build") | one.jobs_that("test")}
        assert ran <= set(held), name
        assert f"token of {Role.ADMINISTRATION}" not in set().union(*held.values())


def test_jobs_of_merge_requests_have_no_token_of_protected_pipelines(first: Delivered, forgery: Forgery) -> None:
    assert {READ, PUSH_MAIN, PUBLISHING} <= _variables_of(first)
    assert _variables_of(forgery.delivered) == {READ, PUSH_ANY}
