"""The whole way, with real parts: git repository, Nix, child pipeline, caches with signatures, three machines.

One history of the example fleet, one pipeline after another. Every job has a `/nix` of its own, so that what it
did not get through a cache it had to build, and what it built has left a log in its store. What each pipeline
should have done is worked out with plain Nix.

    first -> library -> documentation -> unevaluable -> unbuildable -> reverted -> forgery -> merged

Each step is a fixture that stands on the one before and keeps what it saw; the tests only look at that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.delivery import PROTECTED, PUBLISH, UNPROTECTED, Delivered, Delivery, delivery, plant
from tests.lab.machine import Lab
from tests.lab.offer import HOSTS
from tests.lab.runner import Runner
from tests.lab.store import PrivateStore, SigningKey, names

pytestmark = [
    pytest.mark.lab,
    pytest.mark.nix,
    pytest.mark.xdist_group("lab-e2e"),
    pytest.mark.time_limit(420),
]

COMMAND = "test switch script is valid sh"
DEPLOYS = {"deploy db1", "deploy web1", "deploy web2"}
HELLO = 'packages.x86_64-linux."hello 2.0"'


@pytest.fixture(scope="module")
def world(lab: Lab, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    """The fleet, its caches (empty) and its machines (freshly installed)."""
    if problem := lab.host_problem():
        pytest.skip(f"lab: {problem}")
    with delivery(lab, runner, tmp_path_factory.mktemp("delivery")) as made:
        yield made


@pytest.fixture(scope="module")
def first(world: Delivery) -> Delivered:
    """The first push of `main`."""
    return world.push()


@pytest.fixture(scope="module")
def library(world: Delivery, first: Delivered) -> Delivered:
    """A commit that changes one library, which the website and the API use."""
    world.project.edit("pkgs/libhttp.nix", "answer() {", "# One line.\n    answer() {")
    world.project.commit("libhttp: say what it answers with")
    return world.push()


@pytest.fixture(scope="module")
def documentation(world: Delivery, library: Delivered) -> Delivered:
    """A commit that touches only documentation."""
    world.project.edit("README.md", "# A fleet of three machines", "# Our fleet of three machines")
    world.project.commit("README: ours")
    return world.push()


@pytest.fixture(scope="module")
def unevaluable(world: Delivery, documentation: Delivered) -> Delivered:
    """A package does not evaluate any more; the library of db1 and the greeting of web2 change, too."""
    world.project.edit("pkgs/hello.nix", "program {", 'throw "hello has gone out" program {')
    world.project.edit("pkgs/libdisk.nix", "data_file() {", "# One place.\n    data_file() {")
    world.project.edit("hosts/web2.nix", "web2 of the fleet", "web2, the second")
    world.project.commit("break hello, change db1 and web2")
    return world.push()


@pytest.fixture(scope="module")
def unbuildable(world: Delivery, unevaluable: Delivered) -> Delivered:
    """It evaluates again, and another package, which has a check and is on web1, does not build."""
    world.project.edit("pkgs/hello.nix", 'throw "hello has gone out" program {', "program {")
    world.project.edit("pkgs/cli.nix", "mkdir -p $doc", "echo 'no paper left'; exit 3; mkdir -p $doc")
    world.project.edit("pkgs/website.nix", "answer welcome", "# To everybody.\n    answer welcome")
    world.project.commit("mend hello, break cli, change the website")
    return world.push()


@pytest.fixture(scope="module")
def reverted(world: Delivery, unevaluable: Delivered, unbuildable: Delivered) -> Delivered:
    """Both commits are taken back."""
    world.project.git("revert", "--no-commit", unbuildable.commit, unevaluable.commit)
    world.project.commit("Revert both")
    return world.push()


FORGED = """\
#!/bin/sh
echo planted
cp "$FLEET_DATA/database" "$FLEET_DATA/database.backup"
"""
"""It does what it should, so that its check passes, and more."""


@pytest.fixture(scope="module")
def forgery(world: Delivery, reverted: Delivered) -> Delivered:
    """A merge request changes a package on db1; its author has put a forged one of that path into the cache."""
    world.project.git("checkout", "--quiet", "-b", "tidy-backup")
    world.project.edit("pkgs/backup.nix", 'cp "$(data_file)"', 'cp -p "$(data_file)"')
    world.project.commit("backup: keep the file's times")
    claimed = world.offer().outs["backup"]

    def make(place: Path) -> None:
        (place / "bin").mkdir(parents=True)
        (place / "bin" / "backup").write_text(FORGED)
        (place / "bin" / "backup").chmod(0o755)

    plant(world.cache_folder(UNPROTECTED), world.keys[UNPROTECTED], claimed, make, world.folder / "forger")
    return world.merge_request("tidy-backup")


@pytest.fixture(scope="module")
def merged(world: Delivery, forgery: Delivered) -> Delivered:
    """The same commit, on `main`."""
    world.project.git("checkout", "--quiet", "main")
    world.project.git("merge", "--quiet", "--ff-only", "tidy-backup")
    assert world.project.head == forgery.commit
    return world.push()


def once(drvs: frozenset[str]) -> Counter[str]:
    """What `JobStores.builds` says where each was built in exactly one job."""
    return Counter(dict.fromkeys(drvs, 1))


def fetched_by_hosts(world: Delivery, delivered: Delivered) -> dict[str, int]:
    """Host → how many archives it fetched from the publish cache during the pipeline."""
    asked = Counter(who for who, path in delivered.requests if path.startswith("/nar/"))
    return {name: asked[host.address] for name, host in world.hosts.items()}


def signers(cache: Path) -> dict[str, set[str]]:
    """Store path → names of the keys that signed it, for all that a cache holds."""
    found: dict[str, set[str]] = {}
    for file in cache.glob("*.narinfo"):
        fields = [line.partition(": ")[::2] for line in file.read_text().splitlines()]
        path = next(value for key, value in fields if key == "StorePath")
        found[path] = {value.partition(":")[0] for key, value in fields if key == "Sig"}
    return found


def substitute(store: PrivateStore, cache: str, key: SigningKey, *paths: str) -> bool:
    """Fetch paths with their closures into a store that believes this key alone; whether that succeeded."""
    trust = ("--option", "substituters", cache, "--option", "trusted-public-keys", key.public)
    fetch = ("nix-store", "--realise", "--option", "require-sigs", "true", *trust)
    return store.run(*fetch, *paths, check=False).returncode == 0


# --- the first push


def test_every_job_of_the_first_pipeline_passes(first: Delivered) -> None:
    assert first.result.passed, first.result.describe()
    assert first.result.names("passed") == set(first.jobs), first.result.describe()
    checks = {f"test checks.x86_64-linux.{name}" for name in ("api-answers", "cli-counts", "website-answers")}
    assert {*checks, COMMAND, "build nixosConfigurations.web1", f"push {HELLO}", *DEPLOYS} <= set(first.jobs)


def test_each_derivation_is_built_once_and_by_the_job_that_the_plan_names(first: Delivered) -> None:
    assert first.stores.builds() == once(first.offer.everything)
    counted = {job["name"]: job["derivations"] for job in first.plan["jobs"] if job["derivations"]}
    assert counted == {job: len(drvs) for job, drvs in first.stores.built_by_job().items() if drvs}
    assert first.bootstrap.built() == ()


def test_jobs_that_push_or_deploy_build_nothing_even_what_nix_would_rather_build_than_fetch(first: Delivered) -> None:
    leaving = first.jobs_that("push") | first.jobs_that("deploy")
    assert len(leaving) > len(HOSTS)
    assert {job: first.stores.store(job).built() for job in leaving} == dict.fromkeys(leaving, ())
    # The systems came by way of the cache into stores that had nothing.
    for host in HOSTS:
        assert first.offer.systems()[host] in first.stores.store(f"deploy {host}").paths()


def test_the_publish_cache_holds_whole_closures_signed_by_its_key(
    world: Delivery, first: Delivered, tmp_path: Path
) -> None:
    paths = sorted(first.offer.published())
    url = f"http://127.0.0.1:{world.publish.port}"
    store = PrivateStore(tmp_path / "anybody")
    assert substitute(store, url, world.keys[PUBLISH], *paths)
    assert store.built() == ()
    system = first.offer.systems()["web1"]
    assert store.run(f"{system}/sw/bin/website").stdout == "HTTP/1.1 200 OK: welcome\n"
    # Another key, that of the cache the outputs came through, opens nothing.
    assert not substitute(PrivateStore(tmp_path / "other"), url, world.keys[UNPROTECTED], *paths)

    held = signers(world.cache_folder(PUBLISH))
    assert set(paths) <= set(held)
    assert all("fleet-1" in keys for keys in held.values())
    assert all(keys == {"ci-1"} for keys in signers(world.cache_folder(PROTECTED)).values())
    assert first.caches[UNPROTECTED] == {}


def test_each_host_runs_its_new_system(world: Delivery, first: Delivered) -> None:
    assert first.running == first.offer.systems()
    assert all(first.running[name] != host.initial_system for name, host in world.hosts.items())
    assert all(first.deploy_report(host)["result"] == "deployed" for host in HOSTS)
    # web2 does not wait until its system is published, and is then given it by its job.
    fetched = fetched_by_hosts(world, first)
    assert (fetched["db1"] > 0, fetched["web1"] > 0) == (True, True)


def test_an_output_in_no_closure_is_neither_published_nor_missed(first: Delivered, documentation: Delivered) -> None:
    doc = first.stores.store("build packages.x86_64-linux.cli").paths()
    assert any(path.endswith("-fleet-1.0-doc") for path in doc)
    assert not any("-doc" in path for cache in first.caches.values() for path in cache)
    held = [name for name in first.caches[PUBLISH] if name.endswith(".narinfo")]
    assert len(held) > len(HOSTS)
    # A later pipeline finds the package there and does not make it again for the manual's sake.
    assert documentation.decision("packages.x86_64-linux.cli", "build")["decision"] == "skip"


def test_no_secret_is_in_a_log_an_artifact_or_the_pipeline_file(world: Delivery, first: Delivered) -> None:
    files = [*(key.secret_file for key in world.keys.values()), *(host.ssh_key for host in world.hosts.values())]
    secrets = [line for file in files for line in file.read_text().splitlines() if "-----" not in line]
    parts = [secret.partition(":")[2] or secret for secret in secrets]
    assert all(len(part) >= 16 for part in parts if part)
    told = dict(first.seen())
    assert len(told) > len(first.jobs)
    found = [where for where, text in told.items() for part in parts if part and part in text]
    assert found == []


# --- a library


def test_a_changed_library_builds_exactly_its_dependents_each_once(first: Delivered, library: Delivered) -> None:
    assert library.result.passed, library.result.describe()
    changed = library.offer.everything - first.offer.everything
    assert names(set(changed)) == [
        *("api-1.0", "api-answers", "etc", "etc", "libhttp-1.0"),
        *("nixos-system-web1-1.0", "nixos-system-web2-1.0", "website-1.0", "website-answers"),
    ]
    assert library.stores.builds() == once(changed)
    assert library.bootstrap.built() == ()


def test_only_hosts_that_contain_the_library_are_given_a_new_system(
    world: Delivery, first: Delivered, library: Delivered
) -> None:
    assert library.running == library.offer.systems()
    assert {name for name in HOSTS if library.running[name] != first.running[name]} == {"web1", "web2"}
    results = {host: library.deploy_report(host)["result"] for host in HOSTS}
    assert results == {"db1": "unchanged", "web1": "deployed", "web2": "deployed"}
    fetched = fetched_by_hosts(world, library)
    assert (fetched["db1"], fetched["web1"] > 0) == (0, True)


def test_only_what_the_library_changes_is_tested_and_pushed(library: Delivered) -> None:
    assert library.jobs_that("test") == {
        "test checks.x86_64-linux.api-answers",
        "test checks.x86_64-linux.website-answers",
    }
    assert library.jobs_that("push") == {
        *(f"push packages.x86_64-linux.{name}" for name in ("api", "libhttp", "website")),
        *(f"push nixosConfigurations.{name}" for name in ("web1", "web2")),
    }


# --- documentation


def test_a_change_of_documentation_builds_nothing(library: Delivered, documentation: Delivered) -> None:
    assert documentation.commit != library.commit
    assert documentation.result.passed, documentation.result.describe()
    assert documentation.stores.builds() == Counter()
    assert documentation.bootstrap.built() == ()
    assert not any(documentation.jobs_that(command) for command in ("build", "test", "push"))
    # What hosts were last given is not known without GitLab: they are asked, and left alone.
    assert set(documentation.jobs) == {COMMAND, "gate", *DEPLOYS}
    assert {documentation.deploy_report(host)["result"] for host in HOSTS} == {"unchanged"}
    assert documentation.running == library.running
    assert documentation.caches == library.caches


# --- a broken output


def test_an_output_that_does_not_evaluate_fails_alone_with_nix_s_message(
    documentation: Delivered, unevaluable: Delivered
) -> None:
    result = unevaluable.result
    assert not result.passed
    assert result.names("failed") == {f"evaluate {HELLO}"}, result.describe()
    assert "error: hello has gone out" in result.jobs[f"evaluate {HELLO}"].log
    assert "pkgs/hello.nix" in result.jobs[f"evaluate {HELLO}"].log
    assert [failure["attr"] for failure in unevaluable.plan["failures"]] == [HELLO]
    # All the rest is built, once, and tested.
    assert "hello 2.0" not in unevaluable.offer.drvs
    assert unevaluable.stores.builds() == once(unevaluable.offer.everything - documentation.offer.everything)
    assert unevaluable.jobs_that("build") | unevaluable.jobs_that("test") <= result.names("passed")
    assert "test checks.x86_64-linux.database-stores" in result.names("passed")


def test_behind_a_failed_evaluation_gate_all_stays_shut_and_gate_related_opens(
    documentation: Delivered, unevaluable: Delivered
) -> None:
    assert unevaluable.result.names("not run") == {"gate", "deploy db1", "deploy web1", *unevaluable.jobs_that("push")}
    assert unevaluable.jobs_that("push")
    systems = unevaluable.offer.systems()
    assert systems["db1"] != documentation.running["db1"]
    assert systems["web2"] != documentation.running["web2"]
    assert unevaluable.running == {**documentation.running, "web2": systems["web2"]}
    assert unevaluable.caches[PUBLISH] == documentation.caches[PUBLISH]


def test_a_package_that_does_not_build_stops_only_what_contains_it(
    documentation: Delivered, unevaluable: Delivered, unbuildable: Delivered
) -> None:
    result = unbuildable.result
    assert not result.passed
    assert result.names("failed") == {"build packages.x86_64-linux.cli"}, result.describe()
    assert "no paper left" in result.jobs["build packages.x86_64-linux.cli"].log
    # It was tried once; what contains it was not; all the rest is there.
    offer = unbuildable.offer
    broken = offer.drvs["cli"]
    lost = {target for target, closure in offer.closures.items() if broken in closure}
    assert lost == {"cli", "default", "check cli-counts", "host web1", "shell default"}
    rest = frozenset[str]().union(*(closure for target, closure in offer.closures.items() if target not in lost))
    known = documentation.offer.everything | unevaluable.offer.everything
    assert {offer.drvs["website"], offer.drvs["host web2"]} <= rest - known
    assert unbuildable.stores.builds() == once((rest - known) | {broken})
    assert "test checks.x86_64-linux.website-answers" in result.names("passed")
    affected = {"build nixosConfigurations.web1", "build devShells.x86_64-linux.default"}
    assert unbuildable.jobs_that("build") - affected - result.names("failed") <= result.names("passed")


def test_behind_a_failed_build_only_the_unaffected_host_with_gate_related_is_deployed(
    unevaluable: Delivered, unbuildable: Delivered
) -> None:
    systems = unbuildable.offer.systems()
    # db1 is as good as can be and waits: a test of this pipeline never ran.
    assert systems["db1"] != unbuildable.running["db1"]
    assert systems["web2"] != unevaluable.running["web2"]
    assert unbuildable.running == {**unevaluable.running, "web2": systems["web2"]}
    assert {"gate", "deploy db1", "deploy web1"} <= unbuildable.result.names("not run")
    assert unbuildable.caches[PUBLISH] == unevaluable.caches[PUBLISH]


# --- a revert


def test_a_revert_builds_nothing_and_brings_back_the_hosts_that_differ(
    documentation: Delivered, unbuildable: Delivered, reverted: Delivered
) -> None:
    assert reverted.result.passed, reverted.result.describe()
    assert reverted.offer.drvs == documentation.offer.drvs
    assert reverted.stores.builds() == Counter()
    assert reverted.bootstrap.built() == ()
    assert not any(reverted.jobs_that(command) for command in ("build", "test", "push"))
    assert reverted.running == documentation.running != unbuildable.running
    results = {host: reverted.deploy_report(host)["result"] for host in HOSTS}
    assert results == {"db1": "unchanged", "web1": "unchanged", "web2": "deployed"}


# --- a forgery


def test_a_forged_path_deceives_nobody_but_the_merge_request_it_comes_from(
    reverted: Delivered, forgery: Delivered
) -> None:
    # The forgery is good: the merge request's own pipeline believes it, tests it and hands it on.
    assert forgery.result.passed, forgery.result.describe()
    decision = forgery.decision("packages.x86_64-linux.backup", "build")
    assert decision["decision"] == "skip"
    assert decision["reasons"] == [f"cache {UNPROTECTED} holds it"]
    changed = forgery.offer.everything - reverted.offer.everything
    assert forgery.stores.builds() == once(changed - {forgery.offer.drvs["backup"]})
    check = forgery.stores.store("test checks.x86_64-linux.database-stores")
    planted = check.folder / "nix" / Path(forgery.offer.outs["backup"]).relative_to("/nix") / "bin" / "backup"
    assert planted.read_text() == FORGED
    assert check.built() == (forgery.offer.drvs["check database-stores"],)
    # It reaches nothing else.
    assert forgery.caches[PROTECTED] == reverted.caches[PROTECTED]
    assert forgery.caches[PUBLISH] == reverted.caches[PUBLISH]
    assert forgery.caches[UNPROTECTED] != reverted.caches[UNPROTECTED]


def test_a_merge_request_neither_pushes_nor_deploys(reverted: Delivered, forgery: Delivered) -> None:
    assert not forgery.jobs_that("push") | forgery.jobs_that("deploy")
    assert {job["stage"] for job in forgery.jobs.values()} == {"build", "test"}
    assert forgery.running == reverted.running
    choices = {
        decision["decision"]
        for output in forgery.plan["outputs"]
        for stage, decision in output["decisions"].items()
        if stage in {"push", "deploy"}
    }
    assert choices == {"skip"}


def test_main_makes_the_forged_path_itself(
    world: Delivery, reverted: Delivered, forgery: Delivered, merged: Delivered, tmp_path: Path
) -> None:
    assert merged.commit == forgery.commit
    assert merged.result.passed, merged.result.describe()
    assert merged.offer.drvs["backup"] in merged.stores.builds()
    # As if there had been no merge request: nothing that its pipeline made is taken. The files of db1 are the
    # same as before; Nix would rather build them again than fetch them, and does not get to.
    changed = merged.offer.everything - reverted.offer.everything
    assert names(set(changed)) == ["backup-1.0", "database-stores", "nixos-system-db1-1.0"]
    assert merged.stores.builds() == once(changed)

    backup = merged.offer.outs["backup"]
    store = PrivateStore(tmp_path / "anybody")
    assert substitute(store, f"http://127.0.0.1:{world.publish.port}", world.keys[PUBLISH], backup)
    published = store.run("cat", f"{backup}/bin/backup").stdout
    assert "cp -p" in published
    assert "planted" not in published

    assert merged.running == merged.offer.systems()
    assert merged.running["db1"] != reverted.running["db1"]
    assert world.hosts["db1"].read("cat /run/current-system/sw/bin/backup") == published.strip()
    every = {**signers(world.cache_folder(PROTECTED)), **signers(world.cache_folder(PUBLISH))}
    assert every
    assert not any("ci-merge-requests-1" in keys for keys in every.values())
    assert all("ci-merge-requests-1" in keys for keys in signers(world.cache_folder(UNPROTECTED)).values())


# --- the whole


def test_no_derivation_was_built_twice_on_the_main_branch(
    first: Delivered,
    library: Delivered,
    documentation: Delivered,
    unevaluable: Delivered,
    unbuildable: Delivered,
    reverted: Delivered,
    merged: Delivered,
) -> None:
    every = (first, library, documentation, unevaluable, unbuildable, reverted, merged)
    built = sum((one.stores.builds() for one in every), Counter[str]())
    assert {drv: count for drv, count in built.items() if count > 1} == {}
