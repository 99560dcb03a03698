"""Unit tests start no process by accident: one that means to says so with the marker `processes`."""

from __future__ import annotations

import subprocess
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def no_accidental_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make starting a process an error."""
    if request.node.get_closest_marker("processes"):
        return

    def refuse(*arguments: object, **_: object) -> NoReturn:
        raise AssertionError(f"a unit test without the marker `processes` starts {arguments[1:] or arguments}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
