"""Git without this machine's settings."""

from __future__ import annotations

import pytest

from tests.gitrepo import ISOLATED


@pytest.fixture(autouse=True)
def _isolated_git(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nix runs git itself; it takes submodules from folders only where that is allowed.
    settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    for name, value in (ISOLATED | settings).items():
        monkeypatch.setenv(name, value)
