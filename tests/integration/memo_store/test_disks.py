"""Snapshots where the disk is full, or nothing may be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelinegen.errors import ToolError
from pipelinegen.memo.store import MemoStore
from tests.integration.memo_store.work import expected
from tests.unit.memo.snapshots import WORLD, fleet, tree

pytestmark = pytest.mark.processes

DISK_BYTES = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that leaves no room for anything."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(os.urandom(4096))
    return filler


def test_on_a_full_disk_what_was_kept_stays_and_nothing_half_written_does(disk: Path) -> None:
    store = MemoStore(disk / "memo")
    assert store.save(expected(0)) is None
    before = sorted(store.folder.iterdir())
    filler = fill(disk)
    why = store.save(expected(1))
    assert why is not None
    assert "No space left on device" in why
    assert sorted(store.folder.iterdir()) == before
    assert list(store.snapshots(WORLD, tree("1"))) == [expected(0)]
    filler.unlink()
    assert store.save(expected(1)) is None
    assert len(list(store.snapshots(WORLD, tree("1")))) == 2


def test_what_is_written_again_on_a_full_disk_is_not_lost(disk: Path) -> None:
    store = MemoStore(disk / "memo")
    assert store.save(expected(0)) is None
    fill(disk)
    assert store.save(fleet(40, 500, at=tree("0"))) is not None
    assert list(store.snapshots(WORLD, tree("0"))) == [expected(0)]


def test_where_nothing_may_be_written_snapshots_are_read_and_nothing_else_happens(disk: Path) -> None:
    store = MemoStore(disk / "memo")
    assert store.save(expected(0)) is None
    assert store.save(expected(1)) is None
    broken = next(iter(sorted(store.folder.iterdir())))
    broken.write_bytes(b"torn")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert len([len(one.records) for one in store.snapshots(WORLD, tree("0"))]) == 1
    assert "Read-only file system" in (store.save(expected(2)) or "")
    with pytest.raises(ToolError, match="cannot remove") as caught:
        store.drop()
    assert caught.value.why == "Read-only file system"
    assert store.describe().snapshots == 2
