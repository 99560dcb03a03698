"""The repository's own flake evaluates, and the scripts of its virtual machines are sound: they have not been run."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelinegen import __version__
from tests.lab.scenarios import SCENARIOS

pytestmark = pytest.mark.nix

ROOT = Path(__file__).parents[3]
NIX_FILES = [ROOT / "flake.nix", *sorted((ROOT / "nix").rglob("*.nix")), *sorted((ROOT / "tests").rglob("*.nix"))]
TESTS = ("deploy-broken-off", "deploy-fleet", "deploy-outcomes", "deploy-refusals")
HOSTS = {"deploy-fleet": {"canary", "host1", "host2", "host3", "host4"}}
NOT_FOR_MACHINES = {
    "the activation script fails when half of it is there",  # NixOS's own script is what makes the link
    "a unit file is no good",
    "the way back is cut off",
    "the way back is cut off when half of it is there",
    "sshd goes away for a moment",
    "the deployer is killed while it looks",
    "the deployer is killed while it copies",
    "the deployer is killed while the host returns",
    "the power is cut while the host commits",
    "the deployer is killed after it confirmed",
    "the deployer is interrupted while the host activates",
    "the power is cut while the host returns",
    "the disk is full when the system is to become the one to boot",
    "the disk becomes full while copying",
    "another switch began just before",
}
"""Scenarios that need a system or a moment that only the lab's machines can be given."""


def nix(*arguments: object) -> str:
    done = subprocess.run([str(one) for one in arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def flake(tmp_path: Path) -> tuple[str, ...]:
    """Arguments of `nix eval` for the flake, with the stand-in as its input."""
    top, stand_in = tmp_path / "top", tmp_path / "nixpkgs"
    stand_in.mkdir()
    shutil.copy(Path(__file__).with_name("nixpkgs.nix"), stand_in)
    (stand_in / "flake.nix").write_text("{ outputs = { self }: import ./nixpkgs.nix; }")
    top.mkdir()
    for name in ("flake.nix", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, top)
    for name in ("nix", "pipelinegen"):
        shutil.copytree(ROOT / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
    return ("--no-write-lock-file", "--override-input", "nixpkgs", f"path:{stand_in}", f"path:{top}")


def evaluate(flake: tuple[str, ...], attribute: str, function: str) -> Any:
    *options, top = flake
    return json.loads(nix("nix", "eval", "--json", *options, f"{top}#{attribute}", "--apply", function))


@pytest.mark.parametrize("file", NIX_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_nix_file_parses(nix_bin: Path, file: Path) -> None:
    assert nix(nix_bin / "nix-instantiate", "--parse", file)


def test_the_flake_offers_the_program_and_a_check_per_test(nix_bin: Path, flake: tuple[str, ...]) -> None:
    names = "outputs: builtins.mapAttrs (_: builtins.attrNames) outputs"
    for system in ("x86_64-linux", "aarch64-linux"):
        assert evaluate(flake, "checks", names)[system] == list(TESTS)
        assert evaluate(flake, "packages", names)[system] == ["default", "pipelinegen"]
    assert evaluate(flake, "packages.x86_64-linux.default", "package: package.version") == __version__


def test_the_machines_and_the_systems_they_are_given_are_evaluated(nix_bin: Path, flake: tuple[str, ...]) -> None:
    found = evaluate(
        flake,
        "checks.x86_64-linux",
        "builtins.mapAttrs (_: test: builtins.mapAttrs (_: node: node.system.build.variants or { }) test.nodes)",
    )
    for test, nodes in found.items():
        assert set(nodes) == {"deployer", *HOSTS.get(test, {"target"})}
        for name, variants in nodes.items():
            paths = set(variants.values())
            assert len(paths) == len(variants), "each system differs from the others"
            assert bool(variants) == (name != "deployer")


def scripts(flake: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = evaluate(flake, "checks.x86_64-linux", "builtins.mapAttrs (_: test: test.testScript)")
    return found


def test_each_script_is_python_that_names_only_what_there_is(
    nix_bin: Path, flake: tuple[str, ...], tmp_path: Path
) -> None:
    for test, text in scripts(flake).items():
        compile(text, test, "exec")
        file = tmp_path / f"{test}.py"
        file.write_text(text)
        # What the driver gives to a script, as far as these use it.
        given = ["subtest", "deployer", *HOSTS.get(test, {"target"})]
        options = ("--isolated", "--select", "F", "--config", f"builtins = {json.dumps(given)}")
        nix(sys.executable, "-m", "ruff", "check", *options, file)


def test_systems_that_a_script_deploys_are_there(nix_bin: Path, flake: tuple[str, ...]) -> None:
    known = "test: builtins.attrNames test.nodes.target.system.build.variants"
    variants = set(evaluate(flake, "checks.x86_64-linux.deploy-outcomes", known))
    used = {word for text in scripts(flake).values() for word in strings(text)} & {*variants, "old"}
    assert variants - used == set(), "every system is deployed by some script"


def strings(text: str) -> list[str]:
    values = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def test_the_machines_are_held_to_the_same_table_as_the_lab() -> None:
    table = json.loads((ROOT / "nix" / "tests" / "scenarios.json").read_text())
    assert table == [dataclasses.asdict(scenario) for scenario in SCENARIOS]
    shown = {word for file in (ROOT / "nix" / "tests").glob("*.py") for word in strings(file.read_text())}
    names = {scenario.name for scenario in SCENARIOS}
    assert names - shown == NOT_FOR_MACHINES
