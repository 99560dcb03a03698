"""The scripts of the flake's virtual machines are sound: they have not been run."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
from pathlib import Path

import pytest

from tests.integration.nix.flake import EVALUATED, ROOT, evaluate, nix
from tests.lab.scenarios import SCENARIOS

pytestmark = pytest.mark.nix

ONLY_MACHINES = f"(all: removeAttrs all {json.dumps(EVALUATED).replace(',', '')})"
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


def test_the_machines_and_the_systems_they_are_given_are_evaluated(nix_bin: Path, flake: tuple[str, ...]) -> None:
    found = evaluate(
        flake,
        "checks.x86_64-linux",
        "checks: builtins.mapAttrs"
        " (_: test: builtins.mapAttrs (_: node: node.system.build.variants or { }) test.nodes)"
        f" ({ONLY_MACHINES} checks)",
    )
    for test, nodes in found.items():
        assert set(nodes) == {"deployer", *HOSTS.get(test, {"target"})}
        for name, variants in nodes.items():
            paths = set(variants.values())
            assert len(paths) == len(variants), "each system differs from the others"
            assert bool(variants) == (name != "deployer")


def scripts(flake: tuple[str, ...]) -> dict[str, str]:
    texts = f"checks: builtins.mapAttrs (_: test: test.testScript) ({ONLY_MACHINES} checks)"
    found: dict[str, str] = evaluate(flake, "checks.x86_64-linux", texts)
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
    table = json.loads((ROOT / "nix" / "tests" / "machines" / "scenarios.json").read_text())
    assert table == [dataclasses.asdict(scenario) for scenario in SCENARIOS]
    shown = {word for file in (ROOT / "nix" / "tests" / "machines").glob("*.py") for word in strings(file.read_text())}
    names = {scenario.name for scenario in SCENARIOS}
    assert names - shown == NOT_FOR_MACHINES
