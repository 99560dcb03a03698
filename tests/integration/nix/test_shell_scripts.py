"""The scripts of the modules and of CI, as shellcheck reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]
SHELL_SCRIPTS = sorted(one for folder in ("nix", "ci") for one in (ROOT / folder).rglob("*.sh"))


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_shellcheck_finds_nothing_in_a_script(script: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("there is no shellcheck here")
    argv = ["shellcheck", "--external-sources", script.name]
    done = subprocess.run(argv, cwd=script.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
