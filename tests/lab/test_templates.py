"""Every component, included by a project and run by the pipeline runner with the commands that its jobs have."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.nix import registry as registries
from tests.integration.nix.test_ci_image_publish import image as small_image
from tests.lab.conftest import MakeHost
from tests.lab.host import known_hosts
from tests.lab.machine import OTHER_NIX, REPOSITORY
from tests.lab.runner import Runner
from tests.lab.store import PrivateStore, names
from tests.lab.template_world import PIPELINE, SCHEDULED, WEBSITE, World, make_world

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.time_limit(240)]

PUBLISH_FLAKE = """\
{{
  outputs = {{ self }}: let
    make = name: script: derivation {{
      inherit name;
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" script ];
    }};
  in {{
    packages.x86_64-linux.ci-image = make "ci-image" "echo > $out" // {{
      publish = make "publish" ''
        /bin/mkdir -p $out/bin
        {{ echo '#!/bin/sh'; echo 'exec {program}'; }} > $out/bin/publish
        /bin/chmod +x $out/bin/publish
      '';
    }};
  }};
}}
"""


@pytest.fixture
def world(runner: Runner, tmp_path: Path) -> Iterator[World]:
    with make_world(runner, tmp_path) as made:
        yield made


def script_of(job: Any) -> list[str]:
    return list(job.get("script", [])) if isinstance(job, dict) else []


@pytest.mark.parametrize("plain", [False, True], ids=["template", "plain-file"])
def test_a_push_is_planned_and_its_child_runs(world: World, store: PrivateStore, plain: bool) -> None:
    if plain:
        world.include_plain_file()
    else:
        world.include(pipeline={})
    world.project.git("checkout", "-q", "-b", "topic")
    ran = world.run(store, branch="topic")
    assert ran.passed, ran.describe()
    assert ran.names("passed") == PIPELINE
    assert "website-" in " ".join(names(store.built()))
    artifacts = ran.jobs["pipeline"].artifacts
    assert [file.name for file in artifacts.iterdir()] == ["pipeline.yml"]
    child = yaml.safe_load((artifacts / "pipeline.yml").read_text())
    jobs = [name for name, job in child.items() if isinstance(job, dict) and "script" in job]
    assert jobs
    assert {name for name in jobs if f"[deliver] -> {name}" not in ran.output} == set(), "some did not run"
    assert "FAIL" not in ran.output, "to this runner, a child that fails is no failure"
    assert not list(world.cache.glob("*.narinfo")), "a branch publishes nothing"


def test_what_inspect_remembered_is_in_the_cache_of_the_job_that_refines_it(world: World, store: PrivateStore) -> None:
    world.include(pipeline={"refine-memo": True})
    # Without a folder of the runner's: only what GitLab caches is there for the next job.
    ran = world.run(store, PIPELINEGEN_CACHE_DIR="")
    assert ran.names("passed") == PIPELINE | {"refine-memo"}, ran.describe()
    said = re.search(r"(\d+) remembered results compared, none differs", ran.jobs["refine-memo"].log)
    assert said is not None, ran.jobs["refine-memo"].log
    assert int(said[1]) > 0


def test_a_schedule_builds_everything_publishes_it_and_keeps_it_warm(world: World, store: PrivateStore) -> None:
    world.include(pipeline={}, scheduled={})
    first = world.run(store, source="schedule", task="full")
    assert first.names("passed") == SCHEDULED, first.describe()
    assert any("website" in file.read_text() for file in world.cache.glob("*.narinfo")), first.output
    child = yaml.safe_load((first.jobs["scheduled-pipeline"].artifacts / "pipeline.yml").read_text())
    assert "FAIL" not in first.output
    assert any("--touch" in line for job in child.values() for line in script_of(job))
    asked = {need["job"] for job in child.values() if isinstance(job, dict) for need in job.get("needs", [])}
    assert "scheduled-inspect" in asked
    assert "inspect" not in asked
    before = len(world.requests)
    second = world.run(PrivateStore(world.folder / "another"), source="schedule", task="full")
    assert second.passed, second.describe()
    assert "FAIL" not in second.output
    fetched = [path for _, path in world.requests[before:] if path.startswith("/nar/")]
    assert fetched, "what is to be kept warm was downloaded"


def test_a_report_names_what_the_cache_lost_and_what_must_be_built_again(world: World, store: PrivateStore) -> None:
    world.include(pipeline={}, cache_report={})
    world.fill(store)
    fine = world.run(store, source="schedule", task="cache-report")
    assert fine.names("passed") == {"cache-report"}, fine.describe()
    folder = fine.jobs["cache-report"].artifacts / "cache-report"
    assert (folder / "report.txt").read_text().startswith("fleet: holds 2 of 2 outputs\n")
    assert WEBSITE not in json.loads((folder / "report.json").read_text())["targets"]
    for file in world.cache.glob("*.narinfo"):
        if "-website-" in file.read_text().partition("\n")[0]:
            file.unlink()
    lost = world.run(store, source="schedule", task="cache-report")
    assert lost.names("failed") == {"cache-report"}
    folder = lost.jobs["cache-report"].artifacts / "cache-report"
    report = json.loads((folder / "report.json").read_text())
    assert report["caches"][0]["lost"] == [WEBSITE]
    assert WEBSITE in report["targets"]
    assert 'pipelinegen_cache_outputs{cache="fleet",state="lost"} 1\n' in (folder / "metrics.txt").read_text()


NIX: dict[str, Path | None] = {
    "on-path": None,
    **{folder.parent.name: folder for folder in OTHER_NIX[-1:] if folder.exists()},
}


@pytest.mark.parametrize("nix_bin", NIX.values(), ids=NIX)
def test_a_drill_builds_without_the_caches_only_where_nothing_is_there(
    world: World, tmp_path: Path, nix_bin: Path | None
) -> None:
    metrics = tmp_path / "attic-backup.prom"
    world.include(
        pipeline={},
        drill={"target": WEBSITE, "substituters": "", "public-keys": "", "backup-metrics": str(metrics)},
    )
    world.fill(PrivateStore(tmp_path / "first"))
    metrics.write_text(f"attic_backup_last_success_timestamp_seconds {time.time() - 3600:.0f}\n")
    fresh = PrivateStore(tmp_path / "fresh", nix_bin)
    before = len(world.requests)
    ran = world.run(fresh, source="schedule", task="drill")
    assert ran.names("passed") == {"drill-without-caches", "drill-backup"}, ran.describe()
    assert any(name.startswith("website-") for name in names(fresh.built()))
    assert not [path for _, path in world.requests[before:] if path.endswith((".narinfo", ".nar", ".xz"))]
    assert "1.0 hours old" in (ran.jobs["drill-backup"].artifacts / "drill" / "backup.txt").read_text()

    metrics.write_text(f"attic_backup_last_success_timestamp_seconds {time.time() - 30 * 3600:.0f}\n")
    again = world.run(fresh, source="web", task="drill")
    assert again.names("failed") == {"drill-without-caches", "drill-backup"}, "the store holds it, the backup is old"
    assert "building it here shows nothing" in again.jobs["drill-without-caches"].log
    assert "the newest backup is too old" in again.jobs["drill-backup"].log


def test_a_deployment_is_rehearsed_and_the_host_stays_as_it_is(
    runner: Runner, tmp_path: Path, make_host: MakeHost
) -> None:
    host = make_host("web1")
    more = (
        f'[hosts.web1]\naddress = "{host.address}"\nmin_free_mb = 1\nssh_key_file = "$DEPLOY_KEY"\npolicy = "never"\n'
    )
    with make_world(runner, tmp_path, more) as world:
        host.ssh(f"echo 'extra-trusted-public-keys = {world.key.public}' >> /etc/nix/nix.conf")
        world.include(pipeline={}, drill={"target": WEBSITE, "host": "web1"})
        secrets = {"DEPLOY_KEY": str(host.ssh_key), "DEPLOY_KNOWN_HOSTS": str(known_hosts([host], tmp_path / "known"))}
        world.fill(PrivateStore(tmp_path / "first"))
        running = host.current_system()
        ran = world.run(PrivateStore(tmp_path / "fresh"), source="schedule", task="drill", **secrets)
        assert ran.jobs["drill-deployment"].status == "passed", ran.describe()
        report = json.loads((ran.jobs["drill-deployment"].artifacts / "drill" / "deploy.json").read_text())
        assert report["action"] == "dry-activate"
        assert host.current_system() == running


MISSING = [name for name in ("skopeo", "docker-registry", "jq") if shutil.which(name) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_the_image_is_built_and_published_to_a_registry(world: World, store: PrivateStore, tmp_path: Path) -> None:
    scripts = REPOSITORY / "nix" / "ci-image"
    settings = {
        "PIPELINEGEN_IMAGE_STREAM": str(small_image(tmp_path / "image", "base")),
        "PIPELINEGEN_IMAGE_SIZE": str(scripts / "size.sh"),
        "PIPELINEGEN_IMAGE_BUDGET_FILE": str(scripts / "budget"),
    }
    program = tmp_path / "publish"
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    program.write_text(f"#!/bin/sh\n{exports}exec {scripts / 'publish.sh'}\n")
    program.chmod(0o755)
    (world.project.folder / "flake.nix").write_text(PUBLISH_FLAKE.format(program=program))
    # What the second job runs is in the image alone.
    world.include(image={"tls-verify": False, "tag-suffix": "-test", "smoke-test": False})
    (tmp_path / "registry").mkdir()
    with registries.registry(tmp_path / "registry") as door:
        login = {"CI_REGISTRY": door.address, "CI_REGISTRY_IMAGE": f"{door.address}/group/project"}
        ran = world.run(store, source="schedule", task="image", **login)
        assert ran.names("passed") == {"ci-image"}, ran.describe()
        found = door.manifest("group/project/pipelinegen-ci", "latest-test")
    assert found is not None
    image = (ran.jobs["ci-image"].artifacts / "ci-image-report" / "image.env").read_text()
    assert f"PIPELINEGEN_IMAGE_DIGEST={found[0]}" in image
