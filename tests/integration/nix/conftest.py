"""The NixOS in which modules are evaluated, and the flake that offers them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.nix.flake import copied
from tests.integration.nix.modules import UNIVERSES, Nixos, real, stand_in


@pytest.fixture(params=UNIVERSES)
def nixos(request: pytest.FixtureRequest, nix_bin: Path) -> Nixos:
    """Each test runs in the stand-in, and in NixOS's own modules where a folder with them is given."""
    found = stand_in(nix_bin) if request.param == "stand-in" else real(nix_bin)
    assert found is not None
    return found


@pytest.fixture
def flake(tmp_path: Path) -> tuple[str, ...]:
    """Arguments of `nix eval` for the repository's flake, with the stand-in as its input."""
    return copied(tmp_path)
