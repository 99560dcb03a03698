"""A host that was deployed well is brought back when others of its fleet have failed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelinegen.errors import DeployOutcome
from tests.lab.deployer import Deployer, look
from tests.lab.machine import Result

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("deploy-undo")]


def undo(deployer: Deployer, report: Path) -> Result:
    """What the host's `rollback` job runs."""
    command = ("run", "deploy", deployer.host.name, "--undo", str(report), "--report", str(report.with_suffix(".undo")))
    return deployer.store.pipelinegen(*command, cwd=deployer.folder, timeout=100, check=False)


def deployed(deployer: Deployer, variant: str) -> Path:
    """The report of a deployment."""
    deployer.deploy(deployer.build(variant))
    return Path(shutil.copy(deployer.folder / "report.json", deployer.folder / f"{variant}.json"))


def test_a_deployment_is_undone_once_and_only_while_the_host_has_its_system(deployer: Deployer) -> None:
    old = deployer.host.initial_system
    report = deployed(deployer, "good")
    assert look(deployer.host).runs != old

    ended = undo(deployer, report)
    assert ended.returncode == 0, ended.output
    found = look(deployer.host)
    assert (found.runs, found.profile, found.boots, found.failed, found.ours) == (old, old, old, (), ())

    again = undo(deployer, report)
    assert again.returncode == 0, again.output
    assert "nothing to undo" in again.stderr
    assert look(deployer.host) == found


def test_what_was_rolled_back_is_not_undone_and_an_unknown_deployment_is_no_success(deployer: Deployer) -> None:
    report = deployed(deployer, "broken-service")
    assert undo(deployer, report).returncode == 0
    assert deployer.unchanged()
    assert undo(deployer, deployer.folder / "missing.json").returncode == DeployOutcome.STATE_UNKNOWN
    assert deployer.unchanged()
