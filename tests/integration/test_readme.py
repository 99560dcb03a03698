"""The README shows what the commands really print."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.nix

ROOT = Path(__file__).parents[2]


def masked(text: str) -> list[str]:
    """Lines without commit ids, which hold the folder that the demo ran in."""
    return [re.sub(r"\b[0-9a-f]{8,40}\b", "…", line).rstrip() for line in text.strip().splitlines()]


def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    if shutil.which("nix") is None or not (ROOT / ".venv" / "bin" / "pipelinegen").exists():
        pytest.skip("the demo needs Nix and the environment that `make demo` makes")
    copy = tmp_path / "checkout"
    (copy / "ci").mkdir(parents=True)
    shutil.copytree(ROOT / "examples", copy / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("demo", "nix-environment"):
        shutil.copy(ROOT / "ci" / name, copy / "ci" / name)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    ran = subprocess.run([copy / "ci" / "demo"], capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    shown = re.search(r"```text\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert shown is not None
    assert masked(shown.group(1)) == masked(ran.stdout)
