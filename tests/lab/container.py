"""One systemd-nspawn container with a control group and a network cable of its own, gone when it should be.

A helper process per container, the *keeper*, owns the container's number, its overlay and the container. It ends
the container when a pipe from us closes, thus also when the test run is killed; it is the first process of a PID
and mount namespace, so that the kernel ends and unmounts whatever is left when it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

STOP_SECONDS = 15.0
LOCKS = Path("/run/lock/pipelinegen-lab")
"""One lock file per network number N: for 10.77.N.0/24 and all that is named lab-N."""

_KEEPER = r"""
set -eu
folder=$1 machine=$2 hostname=$3 base=$4
exec 3<&0 < /dev/null

# Every machine's systemd manages a control group of its own, or two of them would end each other's processes.
for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
  [ -e "$tree/cgroup.procs" ] || continue
  mkdir -p "$tree/$machine"
  echo $$ > "$tree/$machine/cgroup.procs"
done

# Where no overlay can be mounted (the folder lies on another overlay), a copy does.
if ! mount -t overlay overlay -o "lowerdir=$base,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
then
  cp -a --reflink=auto "$base/." "$folder/root/"
  cp -a "$folder/upper/." "$folder/root/"
fi

systemd-nspawn --quiet --directory="$folder/root" --machine="$machine" --hostname="$hostname" --boot \
  --network-veth --register=no --keep-unit --link-journal=no --resolv-conf=off --timezone=off \
  3<&- &
container=$!
{ cat <&3 > /dev/null; kill -TERM $container; sleep 10; kill -KILL $container; } 2> /dev/null &
wait $container || echo "systemd-nspawn ended with $?"
"""
"""Arguments: folder, machine, host name, base image. Runs until its standard input closes or the machine ends."""

_NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def link(number: int) -> str:
    """Our end of the container's network cable; its other end is called host0."""
    return f"ve-lab-{number}"


@contextlib.contextmanager
def free_number() -> Iterator[tuple[int, int]]:
    """A network number that no other machine of any test run uses, and the descriptor of its lock."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    for number in range(1, 255):
        with (LOCKS / str(number)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_cgroups(number)  # of a machine whose test run was killed
            except OSError:  # somebody's, or the kernel is not done with ending it
                continue
            if Path("/sys/class/net", link(number)).exists():
                continue
            yield number, lock.fileno()
            return
    raise AssertionError("254 machines are running")


@contextlib.contextmanager
def container(
    number: int, lock: int, folder: Path, hostname: str, base_image: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Boot the container; the keeper's process. Both are gone afterwards.

    Args:
        number, lock: from `free_number`.
        folder: with `upper` (what is added to the image) and the empty folders `work` and `root`; its
            console's output goes to `console.log` there.
        hostname: its name for itself.
        base_image: root folder of a Debian with systemd; not written to.
    """
    alive, ours = os.pipe()
    # A number that the keeper's shell does not use itself.
    held = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, 20)
    arguments = [str(folder), f"lab-{number}", hostname, str(base_image)]
    try:
        with (folder / "console.log").open("wb") as console:
            keeper = subprocess.Popen(
                ["unshare", *_NAMESPACES, "sh", "-c", _KEEPER, "keeper", *arguments],
                stdin=alive,
                stdout=console,
                stderr=subprocess.STDOUT,
                pass_fds=(held,),
                start_new_session=True,  # Ctrl-C is for us; the keeper hears of it through its pipe
            )
    finally:
        os.close(alive)
        os.close(held)
    try:
        yield keeper
    finally:
        os.close(ours)
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(timeout=STOP_SECONDS)
        keeper.kill()
        keeper.wait()
        _remove_cgroups(number)


def _remove_cgroups(number: int) -> None:
    """Remove what was made of control groups for a machine that is gone."""
    for tree in ("systemd", "unified", "."):
        top = Path("/sys/fs/cgroup", tree, f"lab-{number}")
        if top.is_dir():
            for folder in [*sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True), top]:
                folder.rmdir()
