"""Snapshots when several processes use their folder at once, and some of them die."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelinegen.memo.store import MemoStore
from tests.integration.memo_store.work import KEPT, expected
from tests.unit.memo.snapshots import WORLD, tree

pytestmark = pytest.mark.processes

SECONDS = 3.0


def start(task: str, folder: Path, number: int, seconds: float = SECONDS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.memo_store.work", task, str(folder), str(number), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def turns(process: subprocess.Popen[str]) -> int:
    """How often a process did its work; fails with what it says where something was wrong."""
    said, wrong = process.communicate(timeout=60)
    assert process.returncode == 0, wrong
    return int(said)


def sound(folder: Path) -> int:
    """How many snapshots there are; each is as it should be."""
    found = list(MemoStore(folder, kept=KEPT).snapshots(WORLD, tree("0")))
    for one in found:
        assert one == expected(int(one.tree.tree.removeprefix("sha256-")))
    return len(found)


def test_processes_that_write_read_prune_and_drop_at_once_see_whole_snapshots_only(tmp_path: Path) -> None:
    processes = [start("use", tmp_path, number * 3) for number in range(4)]
    assert min(turns(process) for process in processes) > 3
    assert sound(tmp_path) <= KEPT + len(processes)
    assert not list(tmp_path.glob(".*")), "something half written was left"


def test_what_is_damaged_meanwhile_is_never_believed_and_never_hurts(tmp_path: Path) -> None:
    tasks = ["write", "read", "read", "damage"]
    processes = [start(task, tmp_path, number) for number, task in enumerate(tasks)]
    assert min(turns(process) for process in processes) > 3
    assert MemoStore(tmp_path, kept=KEPT).save(expected(0)) is None
    assert sound(tmp_path) >= 1


def test_writers_that_are_killed_at_any_moment_leave_whole_snapshots_only(tmp_path: Path) -> None:
    for number in range(8):
        process = start("write", tmp_path, number, 60)
        end = time.monotonic() + 30
        while not any(tmp_path.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.3 + number * 0.0137)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        # One that was written and had no time to remove another.
        assert 1 <= sound(tmp_path) <= KEPT + 1
    assert turns(start("use", tmp_path, 0, 1.0)) >= 1
