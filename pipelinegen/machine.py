"""What this machine lets us use: cores and memory, less what a container was given.

The limits of control groups: cgroup v2 (`memory.max`, `cpu.max`) and v1 (`memory.limit_in_bytes`,
`cpu.cfs_quota_us`), from the kernel's `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_V1_WITHOUT_LIMIT = 1 << 60
"""Version 1 says "no limit" by the largest number of bytes that is a multiple of a page."""


def cores(root: Path = Path("/")) -> int:
    """How many processes can run at once, at least 1.

    Args:
        root: where `proc` and `sys` are.
    """
    # Not there on macOS.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _groups(root, "cpu"):
        words = _words(folder / "cpu.max")
        words = words or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        # Without a limit the quota is `max`, in version 1 -1.
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            allowed = min(allowed, max(1, round(int(words[0]) / int(words[1]))))
    return allowed


def memory_mb(root: Path = Path("/")) -> int | None:
    """The memory in MiB that we and our children may use; null where nobody says."""
    limits = [int(words[1]) * 1024 for words in _lines(root / "proc/meminfo") if words[0] == "MemTotal:"]
    if not limits and root == Path("/"):
        limits = _physical()
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [int(word) for word in _words(folder / name) if word.isdigit()]
    known = [limit for limit in limits if limit < _V1_WITHOUT_LIMIT]
    return min(known) >> 20 if known else None


def _physical() -> list[int]:
    try:
        return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (ValueError, OSError):
        return []


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of our control group and of all above it: each may hold a limit."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            top = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            top = root / "sys/fs/cgroup" / controller
        else:
            continue
        # In a container the path may be that of the machine outside, while only the container's own is seen.
        folder = top / path.lstrip("/")
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent
        yield top


def _lines(file: Path) -> list[list[str]]:
    return [words for line in _text(file).splitlines() if (words := line.split())]


def _words(file: Path) -> tuple[str, ...]:
    return tuple(_text(file).split())


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
