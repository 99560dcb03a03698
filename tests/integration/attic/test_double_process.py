"""The double in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from tests.attic_server import Fault, Reply
from tests.attic_server.process import server_process

pytestmark = pytest.mark.processes


def test_it_serves_is_steered_and_goes_away(tmp_path: Path) -> None:
    with server_process(tmp_path / "attic", caches={"ci": False, "open": True}, redirect_nars=True) as server:
        headers = {"Authorization": f"Bearer {server.token({'ci': 'r'})}"}
        url = f"{server.url}ci/attic-cache-info"
        assert httpx.get(url, headers=headers).json()["public_key"] == server.public_keys["ci"]
        assert httpx.get(f"{server.url}open/nix-cache-info").status_code == 200
        server.set_faults(Fault(Reply(503, form="html"), nth=[1]))
        assert [httpx.get(url, headers=headers).status_code for _ in range(2)] == [503, 200]
        server.advance(4000)
        assert httpx.get(url, headers=headers).status_code == 401
        figures = server.stats()
        assert figures["statuses"] == {"200": 3, "401": 1, "503": 1}
        assert figures["acted"] == [1]
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
