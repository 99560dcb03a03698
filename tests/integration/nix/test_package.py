"""What the package installs beside the program: its lines are run for real, with the program of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ONE_NIX
from tests.integration.nix.flake import ROOT, evaluate

pytestmark = [pytest.mark.nix, ONE_NIX]

# As nixpkgs' installShellFiles takes them.
INSTALL = """
installShellCompletion() {
  shift 2
  while [ $# -gt 0 ]; do
    cat "$2" > "$out/completion-${1#--}"
    shift 2
  done
}
installManPage() { cp "$@" "$out"; }
"""


@pytest.fixture
def installed(nix_bin: Path, flake: tuple[str, ...], tmp_path: Path) -> Path:
    assert nix_bin.is_dir()
    lines = evaluate(flake, "packages.x86_64-linux.default", "package: package.postInstall")
    out = tmp_path / "out"
    (out / "bin").mkdir(parents=True)
    program = out / "bin" / "pipelinegen"
    # click finds the name of its variable in the program's name.
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'pipelinegen'\n"
        "from pipelinegen.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    interpreter = tmp_path / "interpreter"
    interpreter.mkdir()
    (interpreter / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (interpreter / "python3").chmod(0o755)
    environment = os.environ | {
        "out": str(out),
        "PATH": f"{interpreter}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(
        ("bash", "-euo", "pipefail", "-c", INSTALL + lines), env=environment, cwd=tmp_path, check=True, timeout=60
    )
    return out


def test_completions_for_each_shell_and_a_manual_page_are_installed(installed: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        completion = (installed / f"completion-{shell}").read_text()
        assert f"_PIPELINEGEN_COMPLETE={shell}_complete" in completion
    page = (installed / "pipelinegen.1").read_text()
    assert page.startswith(".TH PIPELINEGEN 1 ")
    assert "PIPELINEGEN RUN DEPLOY" in page
