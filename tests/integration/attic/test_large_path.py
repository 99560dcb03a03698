"""However large a path is, pushing it takes little memory."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelinegen import nar
from pipelinegen.path_info import PathInfo
from tests.attic_server.process import REPOSITORY, server_process

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("large-path")]

SIZE = 2 << 30
MOST = 100_000_000
"""Bytes that the pushing process may have in memory, Python included."""

# Not `ru_maxrss`: a process takes over that of the one that started it.
PUSH = """
import json, re, sys
from pathlib import Path
from pydantic import SecretStr
from pipelinegen.cache.attic import loop
from pipelinegen.cache.attic.client import AtticClient
from pipelinegen.cache.attic.protocol import address
from pipelinegen.cache.attic.push import find_missing, limits_for, send_missing
from pipelinegen.path_info import PathInfo

order = json.load(sys.stdin)
limits = limits_for(4, 1, 300)

async def push():
    async with AtticClient(address(order["url"]), SecretStr(order["token"])) as client:
        infos = [PathInfo.model_validate(order["info"])]
        missing = await find_missing(client, infos, limits, include_upstream=False, fixed=True)
        return await send_missing(missing, limits, lambda _: None)

[report] = loop.run(push()).values()
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps({"report": report.model_dump(mode="json"), "peak": int(peak[1]) * 1024}))
"""


def large_path(folder: Path) -> PathInfo:
    """A path of zeros, which take no room here."""
    path = folder / f"{'0' * 32}-large"
    with path.open("wb") as file:
        file.truncate(SIZE)
    digest, size = hashlib.sha256(), 0
    for chunk in nar.chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return PathInfo(path=str(path), nar_hash=f"sha256:{digest.hexdigest()}", nar_size=size)


def test_two_gibibytes_leave_through_less_than_a_hundred_megabytes_of_memory(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 2 * SIZE:
        pytest.skip(f"the server needs 2 GiB for what it gets, and {tmp_path} has less than 4")
    info = large_path(tmp_path)
    kept = tmp_path / "server"
    try:
        with server_process(kept, caches={"ci": False}) as server:
            order = {"url": f"{server.url}ci", "token": server.token({"ci": "r w"}), "info": info.model_dump()}
            pushed = subprocess.run(
                [sys.executable, "-c", PUSH],
                cwd=REPOSITORY,
                input=json.dumps(order),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            assert server.stats()["objects"] == {"ci": 1}
    finally:
        shutil.rmtree(kept, ignore_errors=True)  # it is large, and temporary folders are kept for a while
    result = json.loads(pushed.stdout)
    assert result["report"]["outcome"] == "pushed"
    assert result["report"]["sent_bytes"] == info.nar_size > SIZE
    assert result["peak"] < MOST
