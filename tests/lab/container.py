"""One systemd-nspawn container with a control group and a network cable of its own, gone when it should be.

A helper process per container, the *keeper*, owns the container's number, its overlay and the container. It starts
the container again when that reboots, as a computer would. It ends the container when a pipe from us closes, thus
also when the test run is killed; it is the first process of a PID and mount namespace, so that the kernel ends and
unmounts whatever is left when it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.machine import run

STOP_SECONDS = 15.0
LOCKS = Path("/run/lock/pipelinegen-lab")
"""One lock file per network number N: for 10.77.N.0/24 and all that is named lab-N."""

_KEEPER = r"""
set -eu
folder=$1 machine=$2 hostname=$3 base=$4 gateway=$5 disk=$6
exec 3<&0 < /dev/null

# Every machine's systemd manages a control group of its own, or two of them would end each other's processes.
for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
  [ -e "$tree/cgroup.procs" ] || continue
  mkdir -p "$tree/$machine"
  echo $$ > "$tree/$machine/cgroup.procs"
done

# A disk of limited size holds all that is written.
disk_folder=$folder
if [ -n "$disk" ]; then
  disk_folder=$folder/disk
  mkdir "$disk_folder"
  mount -t tmpfs -o "size=$disk" tmpfs "$disk_folder"
  cp -a "$folder/upper" "$folder/work" "$disk_folder/"
fi
# Where no overlay can be mounted (the folder lies on another overlay), a copy does.
if ! mount -t overlay overlay \
  -o "lowerdir=$base,upperdir=$disk_folder/upper,workdir=$disk_folder/work" "$folder/root"
then
  [ -z "$disk" ] || exit 1
  cp -a --reflink=auto "$base/." "$folder/root/"
  cp -a "$folder/upper/." "$folder/root/"
fi

# A power cut is the end of its first process, with which the kernel ends all others.
{
  while read -r word <&3; do
    read -r container < "$folder/container"
    [ "$word" != cut ] || kill -KILL $(cat "/proc/$container/task/$container/children")
  done
  touch "$folder/stop"
  read -r container < "$folder/container"
  kill -TERM $container
  sleep 10
  kill -KILL $container
} 2> /dev/null &

while [ ! -e "$folder/stop" ]; do
  systemd-nspawn --quiet --directory="$folder/root" --machine="$machine" --hostname="$hostname" --boot \
    --network-veth --register=no --keep-unit --link-journal=no --resolv-conf=off --timezone=off \
    3<&- &
  container=$!
  echo $container > "$folder/container"
  # Both ends of the cable are new with every start.
  { while kill -0 $container && ! ip addr add "$gateway/24" dev "ve-$machine"; do sleep 0.05; done
    [ -e "$folder/unplugged" ] || ip link set "ve-$machine" up
  } 2> /dev/null &
  code=0
  wait $container || code=$?
  case $code in
    133) echo "the machine reboots" ;;
    *)
      [ -e "$folder/power-cut" ] || { echo "systemd-nspawn ended with $code"; exit; }
      rm "$folder/power-cut"
      echo "the machine starts after a power cut"
      ;;
  esac
done
"""
"""Arguments: folder, machine, host name, base image, our address, size of the disk (tmpfs's words; empty: all that
is there). Runs until its standard input closes or the machine is shut down. 133 is what systemd-nspawn ends with
where the machine asked for a reboot."""

_NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def gateway(number: int) -> str:
    """Our address on the container's network."""
    return f"10.77.{number}.1"


def link(number: int) -> str:
    """Our end of the container's network cable; its other end is called host0."""
    return f"ve-lab-{number}"


@dataclass(frozen=True)
class Container:
    """A running container.

    Attributes:
        folder: with its files.
        number: of its network.
        keeper: ends when the container ends for good.
        orders: the descriptor on which the keeper takes orders.
    """

    folder: Path
    number: int
    keeper: subprocess.Popen[bytes]
    orders: int

    @property
    def console(self) -> str:
        """What it printed so far."""
        return (self.folder / "console.log").read_text("utf-8", "replace")

    @property
    def init(self) -> int:
        """Process id, as seen here, of its first process.

        Raises:
            AssertionError: there is none just now.
        """
        pid = self.keeper.pid
        for name in ("sh", "systemd-nspawn", "systemd"):
            found = [child for child in _children(pid) if _name(child) == name]
            assert found, f"the container does not run: there is no {name}"
            pid = found[0]
        return pid

    def cut_power(self) -> None:
        """End everything in it at once; it boots again by itself, with all files as they are now.

        Unlike after a real power cut, what was written but not yet synced is there.
        """
        (self.folder / "power-cut").touch()
        os.write(self.orders, b"cut\n")

    def unplug(self) -> None:
        """Take the cable out, until `plug`. Nothing is told to either side."""
        (self.folder / "unplugged").touch()
        run(["ip", "link", "set", link(self.number), "down"], check=False)

    def plug(self) -> None:
        """Put the cable in again."""
        (self.folder / "unplugged").unlink(missing_ok=True)
        run(["ip", "link", "set", link(self.number), "up"], check=False)  # not there: it boots, and will be up


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


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
    number: int, lock: int, folder: Path, hostname: str, base_image: Path, *, disk: str = ""
) -> Iterator[Container]:
    """Boot the container. It and its keeper are gone afterwards.

    Args:
        number, lock: from `free_number`.
        folder: with `upper` (what is added to the image) and the empty folders `work` and `root`; its
            console's output goes to `console.log` there.
        hostname: its name for itself.
        base_image: root folder of a Debian with systemd; not written to.
        disk: how much can be written to it ("100m"), in memory; empty means as much as fits on the disk here.
    """
    alive, ours = os.pipe()
    # A number that the keeper's shell does not use itself.
    held = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, 20)
    arguments = [str(folder), f"lab-{number}", hostname, str(base_image), gateway(number), disk]
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
        yield Container(folder, number, keeper, ours)
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
