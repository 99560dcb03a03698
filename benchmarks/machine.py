"""The machine that measures, and processes that are measured."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BETWEEN_LOOKS = 0.02
"""Seconds between two looks at the memory of processes that are measured."""

ROOT = Path(__file__).resolve().parents[1]


def describe() -> dict[str, Any]:
    """What was measured on, as far as it says something to others."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "nix": _nix(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _nix() -> str | None:
    try:
        done = subprocess.run(["nix", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.split()[-1]


@dataclass(frozen=True)
class Usage:
    """What a command took.

    Attributes:
        seconds: of wall time.
        largest_mib: peak of the largest of its processes, as the kernel counts it, looked at every 20 ms.
        together_mib: peak of all its processes together, looked at every 20 ms; pages that several share are shared
            out among them.
        core_seconds: of all its processes.
        stdout: what it printed.
    """

    seconds: float
    largest_mib: float
    together_mib: float
    core_seconds: float
    stdout: str


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    shares: bool = True,
) -> Usage:
    """Run a command that must succeed, and look at what it took.

    Args:
        shares: find `together_mib`, too (else 0), which takes time of the machine that is measured.

    Raises:
        RuntimeError: it failed, with the end of what it said.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        before = _core_seconds()
        started = time.perf_counter()
        process = subprocess.Popen(  # polled below
            words, cwd=cwd, env=None if env is None else dict(env), stdout=out, stderr=said
        )
        largest = together = 0
        while process.poll() is None:
            sizes = list(_memory_of_tree(process.pid, shares=shares))
            largest = max([largest, *(most for most, _ in sizes)])
            together = max(together, sum(now for _, now in sizes))
            time.sleep(BETWEEN_LOOKS)
        seconds, core_seconds = time.perf_counter() - started, _core_seconds() - before
        out.seek(0)
        said.seek(0)
        if process.returncode:
            end = said.read()[-2000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}:\n{end}")
        return Usage(seconds, largest / 1024, together / 1024, core_seconds, out.read().decode())


def _core_seconds() -> float:
    """Of all that was started here and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory_of_tree(pid: int, *, shares: bool) -> Iterator[tuple[int, int]]:
    """KiB of a process and of each that it started: the most that it ever had, and its share of what is in use."""
    with contextlib.suppress(OSError):  # it may end at any time
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8") if shares else ""
        yield _kib(status, "VmHWM:"), _kib(rollup, "Pss:")
        # Each thread has the children that it started.
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in file.read_text("utf-8").split():
                yield from _memory_of_tree(int(child), shares=shares)


def own_peak_mib() -> float:
    """The most memory that this process ever had.

    Not `getrusage`: a process takes over that number from the one that started it.
    """
    return _kib(Path("/proc/self/status").read_text("utf-8"), "VmHWM:") / 1024


def _kib(text: str, key: str) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(key)), 0)


def median(values: Iterable[float], digits: int = 3) -> float:
    """The median, rounded."""
    return round(statistics.median(values), digits)
