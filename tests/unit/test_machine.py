"""What a machine or a container lets us use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelinegen import machine

GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal:  16777216 kB\nMemFree: 1 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1 = "9:name=systemd:/\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("files", "memory"),
    [
        pytest.param({}, 16384, id="no control groups"),
        pytest.param(
            {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 16384, id="version 2, no limit"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": f"{2 * GIB}\n"}, 2048, id="version 2"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": f"{4 * GIB}\n",
                "sys/fs/cgroup/a/memory.max": f"{3 * GIB}\n",
            },
            3072,
            id="version 2, a group above has less",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/outside/x\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"},
            1024,
            id="version 2, in a container",
        ),
        pytest.param(
            {"proc/self/cgroup": V1, "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{GIB}\n"},
            1024,
            id="version 1",
        ),
        pytest.param(
            {"proc/self/cgroup": V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n"},
            1024,
            id="version 1, in a container",
        ),
        pytest.param(
            {"proc/self/cgroup": V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
            16384,
            id="version 1, no limit",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, 1024, id="a path above"
        ),
    ],
)
def test_the_smallest_limit_of_memory_counts(tmp_path: Path, files: dict[str, str], memory: int) -> None:
    assert machine.memory_mb(write(tmp_path, files)) == memory


def test_a_machine_that_says_nothing_has_no_known_memory(tmp_path: Path) -> None:
    assert machine.memory_mb(tmp_path) is None


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        pytest.param({}, 8, id="no control groups"),
        pytest.param({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 8, id="no quota"),
        pytest.param({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, 2, id="two"),
        pytest.param({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "20000 100000\n"}, 1, id="a fifth"),
        pytest.param({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "torn"}, 8, id="a torn file"),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
            id="version 1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
            id="version 1, no quota",
        ),
    ],
)
def test_a_quota_counts_as_so_many_cores(
    tmp_path: Path, files: dict[str, str], cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert machine.cores(write(tmp_path, files)) == cores
