"""The repository's own flake evaluates and offers what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen import __version__
from tests.integration.nix.flake import EVALUATED, MACHINES, ROOT, evaluate, nix

pytestmark = pytest.mark.nix

NIX_FILES = [
    ROOT / "flake.nix",
    *(file for folder in ("examples", "nix", "tests") for file in sorted((ROOT / folder).rglob("*.nix"))),
]


@pytest.mark.parametrize("file", NIX_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_nix_file_parses(nix_bin: Path, file: Path) -> None:
    assert nix(nix_bin / "nix-instantiate", "--parse", file)


def test_the_flake_offers_the_program_and_a_check_per_test(nix_bin: Path, flake: tuple[str, ...]) -> None:
    names = "outputs: builtins.mapAttrs (_: builtins.attrNames) outputs"
    for system in ("x86_64-linux", "aarch64-linux"):
        assert evaluate(flake, "checks", names)[system] == sorted([*MACHINES, *EVALUATED])
        assert evaluate(flake, "packages", names)[system] == ["ci-image", "default", "pipelinegen"]
        assert evaluate(flake, "devShells", names)[system] == ["default"]
    assert evaluate(flake, "packages.x86_64-linux.default", "package: package.version") == __version__
