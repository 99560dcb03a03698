"""What users get for snapshot tests, tried as a user would: on the example's own tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelinegen.testing import load_recording, save_recording
from tests.integration.conftest import NIX_CONFIG

pytestmark = pytest.mark.nix

FLEET = Path(__file__).parents[2] / "examples" / "fleet"
TESTS = FLEET / "pipeline-tests"


def pytest_as_a_user(tests: Path) -> subprocess.CompletedProcess[str]:
    """Run pytest on a user's tests, not as a part of this run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tests)]
    return subprocess.run(command, cwd=tests.parent, env=environment, capture_output=True, text=True, check=False)


def test_the_examples_snapshots_pass() -> None:
    ran = pytest_as_a_user(TESTS)
    assert ran.returncode == 0, ran.stdout
    assert "2 snapshots passed" in ran.stdout


def test_a_changed_configuration_fails_the_snapshots(tmp_path: Path) -> None:
    copy = tmp_path / "fleet"
    shutil.copytree(FLEET, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "pipelinegen.toml").open("a") as file:
        file.write('\n[gitlab]\ntimeout = "2 hours"\n')
    ran = pytest_as_a_user(copy / "pipeline-tests")
    assert ran.returncode == 1
    assert "2 snapshots failed" in ran.stdout


def test_the_examples_recording_is_what_nix_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("nix") is None:
        pytest.skip("there is no Nix here")
    monkeypatch.setenv("NIX_CONFIG", NIX_CONFIG)
    file = tmp_path / "fleet.json"
    ran = subprocess.run(
        [sys.executable, "-m", "pipelinegen.testing", f"path:{FLEET}", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert load_recording(file) == load_recording(TESTS / "fleet.json"), (
        "renew it: python -m pipelinegen.testing ./examples/fleet examples/fleet/pipeline-tests/fleet.json"
    )


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    recording = load_recording(TESTS / "fleet.json")
    save_recording(recording, tmp_path / "again.json")
    assert load_recording(tmp_path / "again.json") == recording
