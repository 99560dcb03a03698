"""With nix-eval-jobs the inventory is the same as without it, whatever it does.

The stand-in `tests/fake_eval_jobs.py` speaks its protocol; where the real one is installed it is used, too.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelinegen.config import Config, Evaluation
from pipelinegen.errors import ToolError
from pipelinegen.inventory.model import Inventory
from pipelinegen.inventory.read import read_inventory, read_source
from tests import fake_eval_jobs
from tests.integration.inventory.conftest import write_flake
from tests.integration.inventory.test_failures import BUILT
from tests.integration.inventory.test_kinds import OF_EVERY_KIND

pytestmark = pytest.mark.nix

FAILURES = f""" (let {BUILT} in {{
  packages.x86_64-linux = {{
    a = drv "a" {{ }}; "b.c" = drv "b" {{ }}; "quoted \\"x\\"" = drv "q" {{ }};
    m = throw "no good"; n = {{ }}.missing;
    broken = drv "broken" {{ }} // {{ meta.broken = true; }};
    two = drv "two" {{ outputs = [ "out" "dev" ]; }} // {{ meta.outputsToInstall = [ "dev" ]; meta.timeout = 5; }};
    built = drv "built" {{ x = readBuilt "good" "echo 1 > $out"; }};
  }};
  nixosConfigurations.text.config.system.build.toplevel = "text";
  hydraJobs.deep.er = drv "er" {{ }};
}}) """

Both = Callable[[str], tuple[Inventory, Inventory, list[str]]]


@pytest.fixture
def both(nix_bin: Path, tmp_path: Path) -> Both:
    """The inventory by Nix itself, the one with nix-eval-jobs, and its warnings."""

    def both(outputs: str) -> tuple[Inventory, Inventory, list[str]]:
        folder = write_flake(tmp_path / "flake", outputs)
        source = read_source(f"path:{folder}", cwd=tmp_path, config=Config())
        warnings: list[str] = []
        found = [
            read_inventory(
                source,
                Config(include=("images.**",), evaluation=Evaluation(evaluator=evaluator, workers=2, timeout=3)),
                on_warning=warnings.append,
            )
            for evaluator in ("nix", "nix-eval-jobs", "nix")
        ]
        # What evaluation has to build is built, and told, once only.
        return found[2], found[1], warnings

    return both


@pytest.fixture(params=["stand-in", "real"])
def eval_jobs(request: pytest.FixtureRequest, tmp_path: Path, nix_bin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each start of nix-eval-jobs."""
    log = tmp_path / "started"
    log.touch()
    folder = tmp_path / "programs"
    folder.mkdir()
    real = shutil.which("nix-eval-jobs")
    if request.param == "real" and real is None:
        pytest.skip("nix-eval-jobs is not installed")
    program = real if request.param == "real" else f"{sys.executable} {fake_eval_jobs.__file__}"
    wrapper = folder / "nix-eval-jobs"
    wrapper.write_text(f'#!/bin/sh\necho started >> {log}\nexec {program} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return log


@pytest.mark.parametrize("outputs", [OF_EVERY_KIND, FAILURES], ids=["every kind", "failures"])
def test_the_inventory_is_the_same_with_nix_eval_jobs(outputs: str, both: Both, eval_jobs: Path) -> None:
    expected, found, warnings = both(outputs)
    assert found == expected
    assert found.outputs
    assert warnings == []
    assert eval_jobs.read_text() == "started\n"


def test_nix_is_not_asked_again_for_what_nix_eval_jobs_answered(
    eval_jobs: Path, tmp_path: Path, nix_bin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_flake(tmp_path / "flake", '{ packages.x86_64-linux = { a = drv "a" { }; b = drv "b" { }; }; }')
    config = Config(evaluation=Evaluation(evaluator="nix-eval-jobs"))
    source = read_source(f"path:{folder}", cwd=tmp_path, config=config)
    log = tmp_path / "evaluators"
    wrapper = tmp_path / "programs/nix-instantiate"
    # The stand-in evaluates by expressions on its command line, our evaluators read them from standard input.
    wrapper.write_text(f'#!/bin/sh\n[ "$1" = --eval ] || echo $$ >> {log}\nexec {nix_bin}/nix-instantiate "$@"\n')
    wrapper.chmod(0o755)
    assert len(read_inventory(source, config).outputs) == 2
    assert len(log.read_text().split()) == 1, "one evaluator, which listed the names"


@pytest.mark.parametrize("eval_jobs", ["stand-in"], indirect=True)
@pytest.mark.parametrize(
    ("way", "warning"),
    [
        ("dies", r"nix-eval-jobs ended with exit code 1: error: while reading .* SIGKILL; Nix is asked for 9 of"),
        ("is cut off", r"nix-eval-jobs ended with exit code 1; Nix is asked for 1"),
        ("only errors", None),
        ("talks", None),
        ("lies", None),
        ("hangs", r"nix-eval-jobs reported nothing for 3 s \(evaluation.timeout\); Nix does the rest"),
        ("another Nix", r"nix-eval-jobs belongs to Nix 1\.2\.3, not to .*; Nix evaluates by itself"),
    ],
)
def test_whatever_nix_eval_jobs_does_nothing_is_lost(
    way: str, warning: str | None, both: Both, eval_jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(fake_eval_jobs.WAY, way)
    packages = " ".join(f'p{number} = drv "p{number}" {{ }};' for number in range(18))
    expected, found, warnings = both(f"{{ packages.x86_64-linux = {{ {packages} }}; }}")
    assert found == expected
    assert len(found.outputs) == 18
    assert len(warnings) == (warning is not None)
    if warning is not None:
        assert re.match(warning, warnings[0]), warnings[0]
    assert eval_jobs.read_text() == "started\n"


def test_without_nix_eval_jobs_the_error_tells_what_to_do(
    tmp_path: Path, nix_bin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_flake(tmp_path / "flake", "{ }")
    config = Config(evaluation=Evaluation(evaluator="nix-eval-jobs"))
    source = read_source(f"path:{folder}", cwd=tmp_path, config=config)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("nix", "nix-instantiate", "nix-store"):
        (programs / name).symlink_to(nix_bin / name)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ToolError, match="nix-eval-jobs is not installed") as raised:
        read_inventory(source, config)
    assert 'evaluation.evaluator = "nix"' in (raised.value.hint or "")
