"""The same in real repositories, and compared with what Nix itself says of the same flake."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest

from pipelinegen import nix
from pipelinegen.changes.ignore import irrelevant
from pipelinegen.config import Config
from pipelinegen.inventory.model import FlakeOutput
from pipelinegen.inventory.read import read_source
from pipelinegen.memo.inspect import Inspection, inspect, open_memo
from tests.integration.memo.flakes import IGNORED
from tests.integration.memo.repository import Repository

pytestmark = pytest.mark.nix

STEPS = 20

LEAST_KNOWN = 10
"""Answers that the memo must have given in the end."""


@pytest.mark.parametrize("seed", [1])
def test_the_memo_says_what_nix_says_of_a_repository(seed: int, nix_bin: Path, tmp_path: Path) -> None:
    random = Random(seed)  # noqa: S311  # reproducible
    config = Config(ignore_paths=IGNORED)
    repository = Repository(seed, tmp_path, relative_inputs=not nix.version().startswith("2.8."))
    known = 0
    for step in range(STEPS):
        source = read_source(repository.reference, cwd=tmp_path, config=config)
        memo = open_memo(tmp_path / "cache", source, config, ignored=lambda path: irrelevant([path], IGNORED))
        inspection = inspect(source, config, memo)
        wrong = [
            output.attr
            for output in _some(inspection, random)
            if output.drv_path != _nix_eval(repository.reference, f"{output.drv_attr}.drvPath")
        ]
        assert (step, repository.happened, wrong) == (step, repository.happened, [])
        for failure in inspection.inventory.failures[:1]:
            assert _nix_eval(repository.reference, f"{failure.attr}.drvPath") is None
        known += inspection.counts.known
        repository.go_on()
    assert known >= LEAST_KNOWN


def _some(inspection: Inspection, random: Random) -> list[FlakeOutput]:
    """All that are known from the memo, and one that was evaluated."""
    outputs = [output for output in inspection.inventory.outputs if output.unavailable is None]
    evaluated = [output for output in outputs if not inspection.known(output.path)]
    return [output for output in outputs if inspection.known(output.path)] + random.sample(
        evaluated, len(evaluated[:1])
    )


def _nix_eval(reference: str, attribute: str) -> str | None:
    command = ["nix", "eval", "--raw", "--no-write-lock-file", "--option", "eval-cache", "false"]
    ended = subprocess.run(
        [*command, f"{reference}#{attribute}"], capture_output=True, text=True, check=False, timeout=120
    )
    return ended.stdout if ended.returncode == 0 else None
