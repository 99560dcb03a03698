"""The first user's repository in examples/pantheros is wired from end to end: flake, machine, caches and pipeline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelinegen import config_file
from pipelinegen.config_caches import WriterClass
from pipelinegen.pipeline.schema import schema_findings
from tests.ci_files import jobs_of, whole_file
from tests.integration.conftest import ONE_NIX
from tests.integration.nix.flake import ROOT, copied, evaluate
from tests.integration.nix.modules import REAL_OPNIX, Evaluated, Nixos
from tests.integration.nix.modules import evaluate as evaluate_expression

pytestmark = pytest.mark.nix

EXAMPLE = ROOT / "examples" / "pantheros"
HOST = "nixosConfigurations.hetzner-vps.config"


@pytest.fixture
def repository(nix_bin: Path, tmp_path: Path) -> Path:
    """The example as a git repository, its inputs on this machine."""
    assert nix_bin.is_dir()
    *_, nixpkgs, ours = copied(tmp_path)
    folder = tmp_path / "pantheros"
    shutil.copytree(EXAMPLE, folder)
    opnix = tmp_path / "opnix"
    opnix.mkdir()
    shutil.copy(ROOT / "nix" / "tests" / "stand-in" / "opnix.nix", opnix)
    (opnix / "flake.nix").write_text(
        '{ inputs.nixpkgs.url = "nixpkgs"; outputs = _: { nixosModules.default = ./opnix.nix; }; }'
    )
    flake = folder / "flake.nix"
    text = flake.read_text()
    for url in ("github:NixOS/nixpkgs/nixos-unstable", "gitlab:your-group/pipelinegen", "github:brizzbuzz/opnix"):
        assert f'"{url}"' in text
    for url, place in (
        ("github:NixOS/", nixpkgs),
        ("gitlab:your-group/", ours),
        ("github:brizzbuzz/", f"path:{opnix}"),
    ):
        text = re.sub(rf'"{url}[^"]*"', f'"{place}"', text)
    flake.write_text(text)
    for command in (
        ("git", "init", "--quiet", "--initial-branch", "main"),
        ("git", "add", "--all"),
        ("nix", "flake", "lock"),
        ("git", "add", "--all"),
        ("git", "-c", "user.name=P", "-c", "user.email=p@example.org", "commit", "--quiet", "--message", "pantherOS"),
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


def wanted(repository: Path, attribute: str, function: str = "value: value") -> Any:
    return evaluate((f"git+file://{repository}",), attribute, function)


@ONE_NIX
def test_the_machine_holds_the_caches_that_the_pipeline_pushes_to(repository: Path) -> None:
    pipeline = config_file.load(repository).config
    attic = {name: cache for name, cache in pipeline.caches.items() if cache.backend == "attic"}
    server = wanted(repository, f"{HOST}.services.pipelinegen.attic-server.caches")
    assert set(server) == set(attic)
    for name, cache in attic.items():
        assert server[name]["priority"] == cache.priority
        assert server[name]["retention"] == cache.retention
        assert server[name]["public"] == bool(cache.public)
        assert cache.url == f"https://{wanted(repository, f'{HOST}.services.pipelinegen.attic-server.domain')}/{name}"


def evaluated(nixos: Nixos, module: str, value: str, special: str = "{ }") -> Evaluated:
    """What a module of the example becomes, with OpNix's module beside it."""
    text = f"""let
      nixos = {nixos.expression};
      settings = import {EXAMPLE}/settings.nix;
      pipeline = builtins.fromTOML (builtins.readFile {EXAMPLE}/pipelinegen.toml);
      ours = import {ROOT}/nix/lib;
    in import {ROOT}/nix/tests/evaluate.nix {{
      inherit nixos;
      modules = [ {module} ];
      specialArgs = {special};
      wanted = {{ config, ... }}: {value};
    }}"""
    return Evaluated(**evaluate_expression(nixos.programs, text))


@ONE_NIX
def test_the_machine_holds_in_the_eyes_of_nixos(nixos: Nixos) -> None:
    """Its hardware and who logs in are NixOS's own business: here is what the modules of this project make of it."""
    own = nixos.name == "real" and os.environ.get(REAL_OPNIX)
    opnix = "" if own else ROOT / "nix" / "tests" / "stand-in" / "opnix.nix"
    found = evaluated(
        nixos,
        f"{ROOT}/nix/attic-server {EXAMPLE}/hosts/servers/hetzner-vps/cache.nix {opnix}",
        """{
          inherit (config.services.atticd.settings) api-endpoint allowed-hosts;
          database = config.services.atticd.settings.database.url;
          secrets = builtins.mapAttrs (_: secret: secret.reference) config.services.onepassword-secrets.secrets;
        }""",
        """{
          inherit settings;
          cachesOfServer = ours.caches.provisionedBy settings.domain pipeline;
        }""",
    )
    assert found.failed == []
    assert found.value["api-endpoint"] == "https://cache.pantheros.dev/"
    assert found.value["allowed-hosts"] == ["cache.pantheros.dev"]
    assert found.value["database"] == "postgresql:///atticd?host=/run/postgresql"
    assert found.value["secrets"]["atticTokenSecret"] == "op://pantherOS/Attic/token-secret"


@ONE_NIX
def test_the_machine_of_its_own_check_holds_too(nixos: Nixos) -> None:
    check = f"import {EXAMPLE}/checks/cache-answers.nix {{ inherit settings; attic-server = {ROOT}/nix/attic-server; }}"
    found = evaluated(nixos, f"({check}).nodes.server", "config.services.atticd.settings.storage.type")
    assert (found.value, found.failed) == ("local", [])


def test_the_machine_is_a_system_that_can_be_built(repository: Path) -> None:
    assert wanted(repository, f"{HOST}.system.build.toplevel", "system: system.drvPath").endswith(".drv")


@ONE_NIX
def test_the_image_asks_the_caches_in_their_order(repository: Path) -> None:
    image = wanted(repository, "packages.x86_64-linux.ci-image", "image: image.arguments.name")
    assert image == "pipelinegen-ci"
    settings = wanted(repository, f"{HOST}.nix.settings")
    assert settings["substituters"] == ["https://cache.nixos.org?priority=40"], (
        "keys are not known before the first start"
    )


def test_what_merge_requests_write_is_believed_by_no_machine() -> None:
    caches = config_file.load(EXAMPLE).config.caches
    assert caches["merge-requests"].writers is WriterClass.UNPROTECTED
    assert caches["public-cache"].push_token_env != caches["ci-cache"].push_token_env


def test_the_answers_that_the_design_left_open_are_settings() -> None:
    settings = tomllib.loads((EXAMPLE / "pipelinegen.toml").read_text())
    assert {"policy", "gate", "tags"} <= set(settings["hosts"]["hetzner-vps"])


def test_gitlab_takes_the_file_with_the_templates_that_it_includes() -> None:
    text = (EXAMPLE / ".gitlab-ci.yml").read_text()
    jobs = jobs_of(text)
    assert {"inspect", "pipeline", "deliver", "scheduled-inspect"} <= set(jobs)
    found = schema_findings(whole_file(text))
    assert (found.skipped, found.findings) == (None, ())


@ONE_NIX
def test_a_push_to_main_becomes_a_pipeline_that_deploys(repository: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from pipelinegen.cli import group

    done = CliRunner().invoke(
        group, ["-C", str(repository), "generate", "--offline", "--output", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    jobs = yaml.safe_load((tmp_path / "out" / "pipeline.yml").read_text())
    assert {"deploy hetzner-vps", "test flake check"} <= set(jobs)
    publish = next(job for name, job in jobs.items() if name.startswith("push"))
    assert publish["environment"]["name"] == "publish"
