"""A machine with systemd, sshd and Nix, in the state of a freshly installed NixOS.

A machine is a container (see `container.py`) on an overlay of the base image, with a network of its own
(10.77.N.0/24, we are .1 and the machine .2) and root login by key. It is a stand-in for NixOS: it can be rebooted
from inside and have its power cut, and a unit of it activates at boot the system that the boot loader would take.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelinegen import process
from tests.lab.container import Container, container, free_number, gateway
from tests.lab.machine import FLEET, Result, run

BOOT_SECONDS = 60.0
PROFILE = "/nix/var/nix/profiles/system"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
BOOT_ENTRY = "/boot/loader-entry"
"""What switch-to-configuration of the example's systems leaves for the boot loader."""

_SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
"""

_NETWORK = """\
[Match]
Name=host0
[Link]
RequiredForOnline=no
[Network]
Address={address}/24
Gateway={gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
# The address outlives a cut cable, as it does on a server: connections go on when the network is back.
ConfigureWithoutCarrier=yes
IgnoreCarrierLoss=yes
"""

_NIX_CONFIG = """\
sandbox = false
build-users-group =
experimental-features = nix-command flakes
substituters = {substituters}
trusted-public-keys = {keys}
require-sigs = true
"""

_MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service", "e2scrub_all.timer")


_STAGE_2_UNIT = """\
[Unit]
Description=A stand-in for NixOS's stage 2: activates the system that the boot loader took
DefaultDependencies=no
Requires=local-fs.target
After=local-fs.target dbus.socket
Before=ssh.service multi-user.target
[Service]
Type=oneshot
RemainAfterExit=yes
StandardOutput=journal+console
ExecStart=/bin/sh /etc/nixos-stage-2
"""

_STAGE_2 = f"""\
# NixOS activates a system before systemd starts and has it start the system's units; here systemd starts first.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -e {BOOT_ENTRY} ] || exit 0
system=$(cat {BOOT_ENTRY})
echo "booting $system"
ln -sfn "$system" /run/booted-system
"$system/activate" || echo "the activation failed with $?"
# As NixOS: an activation that fails does not keep a machine from booting.
ln -sfn "$system" /run/current-system
mkdir -p /run/systemd/system
for file in "$system"/etc/systemd/system/*.service; do
  [ ! -e "$file" ] || ln -sfn "$file" /run/systemd/system/
done
systemctl daemon-reload
for file in "$system"/etc/systemd/system/*.service; do
  [ ! -e "$file" ] || systemctl start --no-block "${{file##*/}}"
done
"""


def address(number: int) -> str:
    """The machine's address on its network."""
    return f"10.77.{number}.2"


@dataclass(frozen=True)
class Host:
    """A running machine.

    Attributes:
        name: its host name.
        number: of its network: this computer is 10.77.N.1 there, the machine 10.77.N.2.
        ssh_key: private key that root's account accepts; known_hosts: file with the machine's host key.
        container: what it runs in.
        initial_system: store path of the system it started with.
    """

    name: str
    number: int
    ssh_key: Path
    known_hosts: Path
    container: Container
    initial_system: str = ""

    @property
    def address(self) -> str:
        """The machine's IPv4 address."""
        return address(self.number)

    @property
    def gateway(self) -> str:
        """This computer's address as the machine sees it; a server for it must listen there or on all."""
        return gateway(self.number)

    @property
    def store_url(self) -> str:
        """For `nix copy --to`, together with `nix_ssh_environment`."""
        return f"ssh-ng://root@{self.address}"

    @property
    def ssh_options(self) -> list[str]:
        """Options with which ssh reaches the machine and nothing of the user's settings counts."""
        return [
            *("-F", "/dev/null", "-i", str(self.ssh_key), "-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"),
            *("-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=5"),
        ]

    @property
    def nix_ssh_environment(self) -> dict[str, str]:
        """What makes Nix's own ssh reach the machine."""
        return {"NIX_SSHOPTS": process.quote(self.ssh_options)}

    def ssh(self, command: str, *, stdin: bytes | None = None, timeout: float = 30, check: bool = True) -> Result:
        """Run a shell command line on the machine, as root; see `machine.run`."""
        argv = ["ssh", *self.ssh_options, f"root@{self.address}", command]
        return run(argv, stdin=stdin, timeout=timeout, check=check)

    def read(self, command: str) -> str:
        """The stripped output of a command that must succeed, from outside."""
        return self.inside(command).stdout.strip()

    def inside(self, command: str, *, timeout: float = 30, check: bool = True) -> Result:
        """Run a shell command line on the machine as root, from outside: neither network nor sshd is needed."""
        enter = ["nsenter", "--target", str(self.container.init), "--mount", "--uts", "--ipc", "--net", "--pid"]
        return run([*enter, "--", "sh", "-c", command], env=_ENVIRONMENT, timeout=timeout, check=check)

    def current_system(self) -> str:
        """Store path of the running system."""
        return self.read("readlink -f /run/current-system")

    def profile(self) -> str:
        """Store path of the system that the profile names; the next boot need not take it."""
        return self.read(f"readlink -f {PROFILE}")

    def booted_system(self) -> str:
        """Store path of the system it was booted with."""
        return self.read("readlink -f /run/booted-system")

    def boot_default(self) -> str:
        """Store path of the system that the next boot takes."""
        return self.read(f"cat {BOOT_ENTRY}")

    def boot_id(self) -> str:
        """Changes with every boot."""
        return self.read("cat /proc/sys/kernel/random/boot_id")

    def state(self) -> str:
        """`running`, or `degraded` when a unit failed, or what else systemd says of the machine."""
        return self.inside("systemctl is-system-running", check=False).stdout.strip()

    def failed_units(self) -> list[str]:
        """Names of the failed units, sorted."""
        listed = self.read("systemctl list-units --failed --plain --no-legend")
        return sorted(line.split()[0] for line in listed.splitlines())

    def cut_network(self) -> None:
        """Take the cable out. Nothing is told to either side."""
        self.container.unplug()

    def restore_network(self) -> None:
        """Put the cable in again."""
        self.container.plug()

    def reboot_hard(self) -> None:
        """Cut the power for a moment: everything ends at once, and it boots. See `wait_up`."""
        self.container.cut_power()

    def restart(self) -> None:
        """Cut the power and wait until it is up again."""
        before = self.boot_id()
        self.reboot_hard()
        self.wait_up(after=before)

    def answers(self) -> bool:
        """Whether sshd listens: it greets whoever connects."""
        return _answers(self.address)

    def wait_up(self, *, after: str = "", seconds: float = BOOT_SECONDS) -> str:
        """Wait until it has booted and systemd is done with starting; what systemd says of it then.

        Args:
            after: `boot_id` of a boot that does not count.
            seconds: how long at most.

        Raises:
            AssertionError: it did not come up; with its console's last lines.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.container.keeper.poll() is None:
            if _answers(self.address):
                script = "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running --wait"
                said = self.ssh(script, check=False, timeout=seconds).stdout.split()
                if len(said) == 2 and said[0] != after:
                    return said[1]
            time.sleep(0.05)
        raise AssertionError("\n".join([f"{self.name} did not come up", *self.container.console.splitlines()[-30:]]))

    @contextlib.contextmanager
    def network_cut(self) -> Iterator[None]:
        """The cable is out inside, and in again behind."""
        self.cut_network()
        try:
            yield
        finally:
            self.restore_network()


@contextlib.contextmanager
def running_host(
    base_image: Path,
    name: str,
    folder: Path,
    *,
    trusted_keys: Sequence[str] = (),
    substituters: Sequence[str] = (),
    disk: str = "",
) -> Iterator[Host]:
    """Start a machine, wait until it is up, and remove it afterwards.

    Args:
        base_image: root folder of a Debian, as `ci/setup-lab` makes it; it is not written to.
        name: the machine's host name.
        folder: for its files, console log and keys (`console.log`, `id_ed25519`, `known_hosts`).
        trusted_keys: `name:base64` of the keys whose signatures its Nix accepts.
        substituters: store URLs from which its Nix fetches.
        disk: how much can be written to it, see `container`.

    Raises:
        AssertionError: it did not come up; with its console's last lines.
    """
    folder.mkdir(parents=True)
    with free_number() as (number, lock):
        ssh_key, hosts_file = folder / "id_ed25519", folder / "known_hosts"
        _prepare(folder, name, number, trusted_keys, substituters)
        with container(number, lock, folder, name, base_image, disk=disk) as machine:
            host = Host(name, number, ssh_key, hosts_file, machine)
            state = host.wait_up()
            assert state == "running", f"{name} came up {state}\n{host.read('systemctl --failed')}"
            yield replace(host, initial_system=_install(host))


def known_hosts(hosts: Sequence[Host], file: Path) -> Path:
    """One known_hosts file for several machines."""
    file.write_text("".join(host.known_hosts.read_text() for host in hosts))
    return file


def _prepare(folder: Path, name: str, number: int, trusted_keys: Sequence[str], substituters: Sequence[str]) -> None:
    """Write what the machine has besides the base image, and its keys."""
    for part in ("upper", "work", "root"):
        (folder / part).mkdir()
    etc = folder / "upper" / "etc"
    ssh_key, host_key = folder / "id_ed25519", etc / "ssh" / "ssh_host_ed25519_key"
    host_key.parent.mkdir(parents=True)
    for key in (ssh_key, host_key):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key])
    public = host_key.with_suffix(".pub").read_text().split()
    (folder / "known_hosts").write_text(f"{address(number)} {public[0]} {public[1]}\n")

    files = {
        "ssh/sshd_config.d/lab.conf": _SSHD_CONFIG,
        "systemd/network/10-lab.network": _NETWORK.format(address=address(number), gateway=gateway(number)),
        "nix/nix.conf": _NIX_CONFIG.format(substituters=" ".join(substituters), keys=" ".join(trusted_keys)),
        "hostname": name + "\n",
        "NIXOS": "",
        "systemd/system/nixos-stage-2.service": _STAGE_2_UNIT,
        "nixos-stage-2": _STAGE_2,
    }
    for path, text in files.items():
        (etc / path).parent.mkdir(parents=True, exist_ok=True)
        (etc / path).write_text(text)
    units = etc / "systemd" / "system"
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(parents=True)
    (wanted / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    (wanted / "nixos-stage-2.service").symlink_to("../nixos-stage-2.service")
    for unit in _MASKED:
        (units / unit).symlink_to("/dev/null")

    root = folder / "upper" / "root"
    (root / ".ssh").mkdir(parents=True, mode=0o700)
    root.chmod(0o700)
    shutil.copy(ssh_key.with_suffix(".pub"), root / ".ssh" / "authorized_keys")
    shutil.copytree(FLEET / "lib", root / "initial" / "lib")
    for file, copy in (("initial-system.nix", "default.nix"), ("reachable.nix", "reachable.nix")):
        shutil.copy(Path(__file__).with_name(file), root / "initial" / copy)


def _answers(address: str) -> bool:
    """Whether sshd listens: it greets whoever connects."""
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _install(host: Host) -> str:
    """Make and activate the initial system on the machine, as NixOS's installer would have; its path."""
    system = host.read(f"nix-build --no-out-link /root/initial --argstr name {host.name}")
    host.ssh(
        f"nix-env -p {PROFILE} --set {system}"
        f" && {system}/bin/switch-to-configuration switch"
        f" && ln -sfn {system} /run/booted-system"
        " && ln -sfn /run/current-system /nix/var/nix/gcroots/current-system"
    )
    return system
