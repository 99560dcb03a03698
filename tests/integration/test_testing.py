"""What users get for snapshot tests, tried as a user would: on the example's own tests."""

from __future__ import annotations

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


def test_the_examples_snapshots_pass() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS],
        cwd=FLEET,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert "2 snapshots passed" in ran.stdout


def test_a_changed_configuration_fails_the_snapshots(tmp_path: Path) -> None:
    copy = tmp_path / "fleet"
    shutil.copytree(FLEET, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "pipelinegen.toml").open("a") as file:
        file.write('\n[gitlab]\ntimeout = "2 hours"\n')
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", copy / "pipeline-tests"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
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
