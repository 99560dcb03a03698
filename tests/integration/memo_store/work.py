"""A process that uses a folder of snapshots together with others, and says when something is wrong.

Arguments: what to do (see `main`), the folder, a number that tells the processes apart, for how many seconds.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from pipelinegen.memo.model import Snapshot
from pipelinegen.memo.store import SUFFIX, MemoStore
from tests.unit.memo.snapshots import WORLD, fleet, tree

KEPT = 4
TREES = 8


def expected(number: int) -> Snapshot:
    """The only right snapshot of tree `number`."""
    return fleet(3 + number, 200, at=tree(str(number)))


def write(store: MemoStore, turn: int) -> None:
    why = store.save(expected(turn % TREES))
    if why is not None:
        raise AssertionError(why)


def read(store: MemoStore, turn: int) -> None:
    """Look into every snapshot that is given: each is as it was saved."""
    for found in store.snapshots(WORLD, tree(str(turn % TREES))):
        right = expected(int(found.tree.tree.removeprefix("sha256-")))
        if found != right:
            raise AssertionError(f"not what was saved of {found.tree}")


def damage(store: MemoStore, turn: int) -> None:
    """Tear a file, flip a bit of it, or put something else there; in place, as a broken disk does."""
    for file in sorted(store.folder.glob(f"*{SUFFIX}"))[turn % KEPT :: KEPT]:
        with contextlib.suppress(FileNotFoundError), file.open("r+b") as stream:
            size = os.fstat(stream.fileno()).st_size
            if turn % 3 == 0:
                stream.truncate(size * (turn % 7) // 7)
            else:
                stream.seek(max(size // 2, 10))
                stream.write(b"\0" if turn % 3 == 1 else b"something else " * 10)
    time.sleep(0.01)


def main() -> None:
    """`use`: write, read and drop in turn; `write`: only that; `read` and `damage`: beside each other."""
    task, folder, number, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    store = MemoStore(folder, kept=KEPT)
    turn = number
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        turn += 1
        if task in {"use", "write"}:
            write(store, turn)
        if task in {"use", "read"}:
            read(store, turn)
        if task == "damage":
            damage(store, turn)
        if task == "use" and turn % 17 == 0:
            store.drop(WORLD)
        if store.describe().trouble:
            raise AssertionError(store.describe().trouble)
    sys.stdout.write(str(turn - number))


if __name__ == "__main__":
    main()
