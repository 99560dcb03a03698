"""The child pipeline of each situation, one YAML file per case beside this one.

A change here is a change of what users' pipelines do: read the difference before you accept it with
`pytest tests/snapshots --snapshot-update`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from pipelinegen import config_file as configuration
from pipelinegen.inventory.model import Kind
from pipelinegen.testing import PipelineSnapshot, render_pipeline
from tests.factory import Fleet

CACHES = {
    "ci-main": {"url": "https://cache.example.org/ci-main", "writers": "protected", "public_key": "ci-main:k"},
    "ci-mr": {"url": "https://cache.example.org/ci-mr", "writers": "unprotected", "public_key": "ci-mr:k"},
    "public": {
        "url": "https://cache.example.org/public",
        "writers": "protected",
        "publish": True,
        "public_key": "public:k",
        "secret_key_file": "$PUBLIC_KEY",
    },
}
HANDOFF = {"mode": "cache", "protected": "ci-main", "unprotected": "ci-mr"}
ATTIC: dict[str, dict[str, Any]] = {
    "ci-main": {"writers": "protected", "token_env": "CI_MAIN_TOKEN"},
    "ci-mr": {"writers": "unprotected", "token_env": "CI_MR_TOKEN"},
    "fleet": {
        "writers": "protected",
        "publish": True,
        "push_token_env": "FLEET_PUSH_TOKEN",
        "warm": ["nixosConfigurations.*"],
    },
    "packages": {
        "writers": "protected",
        "publish": True,
        "push_token_env": "PACKAGES_PUSH_TOKEN",
        "include": ["packages.**"],
    },
}
for name, cache in ATTIC.items():
    cache.update({"backend": "attic", "url": f"https://attic.example.org/{name}", "public_key": f"{name}:k"})
WEB1 = {"web1": {"address": "web1.example.org"}}


@pytest.fixture
def pipeline(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(PipelineSnapshot)


def fleet(salt: str = "", *, tool: bool = True) -> Fleet:
    """Two packages and a host that share a library; a check of one package."""
    made = Fleet()
    lib = made.drv("libgreet", salt=salt)
    hello = made.drv("hello", lib)
    made.package("hello", hello)
    if tool:
        made.package("tool", made.drv("tool"))
    made.check("hello-runs", made.drv("hello-runs", hello))
    made.host("web1", made.drv("nixos-system-web1", hello))
    return made


def render(made: Fleet, settings: dict[str, Any] | None = None, **push: Any) -> str:
    """The pipeline; without the job that records build times, which one case shows."""
    config = configuration.parse({"packing": {"record": False}, **(settings or {})})
    return render_pipeline(made.recording(), config=config, **push)


def test_everything_is_new(pipeline: SnapshotAssertion) -> None:
    assert render(fleet()) == pipeline


def test_nothing_to_do(pipeline: SnapshotAssertion) -> None:
    made = fleet()
    settings = {"caches": CACHES, "handoff": HANDOFF}
    assert render(made, settings, base=made.recording(), held={"ci-main": "*", "public": "*"}) == pipeline


def test_publish_and_deploy_behind_the_gate(pipeline: SnapshotAssertion) -> None:
    settings = {"caches": CACHES, "handoff": HANDOFF, "hosts": WEB1}
    assert render(fleet(tool=False), settings) == pipeline


def test_built_in_the_merge_request_then_pushed_and_deployed(pipeline: SnapshotAssertion) -> None:
    settings = {"caches": CACHES, "handoff": HANDOFF, "hosts": WEB1}
    assert render(fleet(), settings, held={"ci-main": "*"}) == pipeline


def test_what_a_merge_request_could_write_is_not_believed_on_main(pipeline: SnapshotAssertion) -> None:
    settings = {"caches": CACHES, "handoff": HANDOFF}
    assert render(fleet(tool=False), settings, held={"ci-mr": "*"}) == pipeline


def test_one_library_changed(pipeline: SnapshotAssertion) -> None:
    before, after = fleet(), fleet(salt="changed")
    held = {path for drv in before.graph.values() for path in drv.outputs.values() if path}
    settings = {"caches": CACHES, "handoff": HANDOFF, "hosts": WEB1}
    push = {"held": {"ci-main": held, "public": held}, "base": before.recording()}
    assert render(after, settings, **push) == pipeline


def test_merge_request(pipeline: SnapshotAssertion) -> None:
    settings = {"caches": CACHES, "handoff": HANDOFF, "hosts": WEB1}
    assert render(fleet(), settings, branch="feature", merge_request=True) == pipeline


@pytest.mark.parametrize(
    "push",
    [
        {},
        {"held": {"ci-main": "*", "fleet": "*"}, "scheduled": True},
        {"branch": "feature", "merge_request": True},
        {"branch": "feature", "merge_request": True, "fork": True},
    ],
    ids=["push-to-main", "schedule-that-keeps-a-cache-warm", "merge-request", "merge-request-of-a-fork"],
)
def test_attic_caches(pipeline: SnapshotAssertion, push: dict[str, Any]) -> None:
    settings = {"caches": ATTIC, "handoff": HANDOFF, "gitlab": {"publish_environment": "caches"}}
    assert render(fleet(tool=False), settings, **push) == pipeline


def test_feature_branch(pipeline: SnapshotAssertion) -> None:
    assert render(fleet(), {"hosts": WEB1}, branch="feature") == pipeline


def test_tag(pipeline: SnapshotAssertion) -> None:
    assert render(fleet(), {"hosts": WEB1}, branch=None) == pipeline


def test_default_branch_that_is_not_protected(pipeline: SnapshotAssertion) -> None:
    assert render(fleet(), {"hosts": WEB1}, protected=False) == pipeline


def test_an_output_that_does_not_evaluate(pipeline: SnapshotAssertion) -> None:
    made = fleet(tool=False)
    made.failure("packages", "x86_64-linux", "broken")
    made.failure("checks", "x86_64-linux", "wrong", kind=Kind.CHECK)
    assert render(made, {"hosts": WEB1}) == pipeline


def test_marked_broken_and_told_to_fail(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    made.package("old", made.drv("old"))
    made.outputs[0] = made.outputs[0].model_copy(update={"unavailable": "it is marked broken", "drv_path": ""})
    assert render(made, {"evaluation": {"broken": "fail"}}) == pipeline


def test_a_system_without_runner_is_skipped(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    made.package("here", made.drv("here"))
    made.package("there", made.drv("there", system="aarch64-linux"))
    assert render(made) == pipeline


def test_runner_tags_by_system_and_feature(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    made.package("arm", made.drv("arm", system="aarch64-linux"))
    made.check("vm", made.drv("vm", features=("kvm",)))
    runners = [
        {"system": "x86_64-linux", "tags": ["nix"]},
        {"system": "x86_64-linux", "features": ["kvm"], "tags": ["nix", "kvm"]},
        {"system": "aarch64-linux", "tags": ["arm"]},
    ]
    assert render(made, {"runners": runners}) == pipeline


def test_a_manual_host_waits_for_approval(pipeline: SnapshotAssertion) -> None:
    hosts = {"web1": {"address": "web1.example.org", "policy": "manual", "tier": "staging", "tags": ["deploy"]}}
    assert render(fleet(), {"hosts": hosts, "caches": CACHES, "handoff": HANDOFF}, held={"ci-main": "*"}) == pipeline


def test_only_approvals_are_left(pipeline: SnapshotAssertion) -> None:
    hosts = {"web1": {"address": "web1.example.org", "policy": "manual"}}
    settings = {"hosts": hosts, "caches": CACHES, "handoff": HANDOFF}
    assert render(fleet(), settings, held={"ci-main": "*", "public": "*"}) == pipeline


def test_hosts_that_are_never_deployed_or_have_their_system(pipeline: SnapshotAssertion) -> None:
    made = fleet()
    made.host("db1", made.drv("nixos-system-db1"))
    system = next(output for output in made.outputs if output.path[-1] == "web1").wanted_paths[0]
    hosts = {**WEB1, "db1": {"address": "db1.example.org", "policy": "never"}}
    assert render(made, {"hosts": hosts}, deployed={"web1": system}) == pipeline


def test_related_gate(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    system = made.drv("nixos-system-web1")
    made.host("web1", system)
    made.check("hello-runs", made.drv("hello-runs"))
    made.check("other", made.drv("other"))
    made.failure("packages", "x86_64-linux", "broken")
    hosts = {"web1": {"address": "web1", "gate": "related", "checks": ["checks.*.hello-*"]}}
    tests = [{"name": "smoke", "command": "./smoke", "targets": ["nixosConfigurations.web1"]}]
    assert render(made, {"hosts": hosts, "tests": tests}) == pipeline


def test_outputs_travel_as_artifacts(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    lib = made.drv("lib")
    made.check("app-runs", made.drv("app-runs", lib))
    made.host("web1", made.drv("nixos-system-web1", lib))
    settings = {"caches": CACHES, "handoff": {"mode": "artifacts"}, "hosts": WEB1}
    assert render(made, settings) == pipeline


def test_jobs_evaluate_what_they_build(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    made.package("hello", made.drv("hello"))
    assert render(made, {"handoff": {"derivations": "evaluate"}}) == pipeline


def test_integration_commands_and_flake_check(pipeline: SnapshotAssertion) -> None:
    tests = [
        {"name": "always", "command": "./always"},
        {"name": "hello", "command": "./hello", "targets": ["packages.*.hello"], "timeout": "5 minutes"},
        {"name": "other", "command": "./other", "targets": ["packages.*.other"]},
    ]
    assert render(fleet(), {"tests": tests, "flake_check": True}) == pipeline


def test_image_setup_lines_and_an_old_server(pipeline: SnapshotAssertion) -> None:
    gitlab = {"version": "16.0", "image": "registry.example.org/ci:1", "before_script": ["export A=1"]}
    made = Fleet()
    made.package("hello", made.drv("hello"))
    assert render(made, {"gitlab": gitlab}) == pipeline


def test_build_times_are_recorded(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    hello = made.drv("hello")
    made.package("hello", hello)
    made.check("hello-runs", made.drv("hello-runs", hello))
    assert render(made, {"packing": {"record": True}}) == pipeline


IN_WAVES: dict[str, Any] = {
    "caches": {"main": {"url": "https://cache.example.org/main", "writers": "protected"}},
    "hosts": {
        name: {"address": f"{name}.example.org", **({"policy": "manual"} if name == "vault" else {})}
        for name in ("cache", "vault", "web1", "web2")
    },
}


def in_waves(fleet: dict[str, Any], *names: str) -> str:
    """Hosts whose systems lie in the cache, so that they are only deployed."""
    made = Fleet()
    for name in names:
        made.host(name, made.drv(f"nixos-system-{name}"))
    held = {path for output in made.outputs for path in output.wanted_paths}
    hosts = {name: host for name, host in IN_WAVES["hosts"].items() if name in names}
    return render(made, {**IN_WAVES, "hosts": hosts, "fleet": fleet}, held={"main": held})


def test_hosts_in_waves_with_approvals(pipeline: SnapshotAssertion) -> None:
    fleet = {"canary": ["web1"], "wave": "2", "approve": "after-canary"}
    assert in_waves(fleet, "cache", "vault", "web1", "web2") == pipeline


def test_hosts_in_waves_whose_failures_are_counted(pipeline: SnapshotAssertion) -> None:
    fleet = {"canary": ["web1"], "max_failures": 1, "rollback_succeeded": True}
    assert in_waves(fleet, "web1", "web2") == pipeline


def test_names_that_need_quoting(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    for number, name in enumerate(("a.b", "it's", "${HOME}", "$(id)`id`", "a\nb", "🦊", "1e3", "x 1/3", "n" * 300)):
        made.package(name, made.drv(f"p{number}"))
    text = render(made)
    assert len(text.splitlines()) > 100
    made.outputs = made.outputs[:4]
    assert render(made) == pipeline


def test_two_names_of_one_derivation_are_one_job(pipeline: SnapshotAssertion) -> None:
    made = Fleet()
    hello = made.drv("hello")
    made.package("hello", hello)
    made.package("default", hello)
    assert render(made) == pipeline


def test_snapshots_are_small_and_not_empty() -> None:
    files = sorted((Path(__file__).parent / "__snapshots__" / "test_pipelines").glob("*.yml"))
    assert len(files) >= 20
    for file in files:
        assert 0 < len(file.read_text("utf-8").splitlines()) < 190, file.name
