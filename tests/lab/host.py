"""A machine with systemd, sshd and Nix, in the state of a freshly installed NixOS.

A machine is a container (see `container.py`) on an overlay of the base image, with a network of its own
(10.77.N.0/24, we are .1 and the machine .2) and root login by key.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import process
from tests.lab.container import container, free_number, link
from tests.lab.machine import FLEET, Result, run

BOOT_SECONDS = 60.0

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


@dataclass(frozen=True)
class Host:
    """A running machine.

    Attributes:
        name: its host name.
        number: of its network: this computer is 10.77.N.1 there, the machine 10.77.N.2.
        ssh_key: private key that root's account accepts; known_hosts: file with the machine's host key.
        initial_system: store path of the system it started with.
    """

    name: str
    number: int
    ssh_key: Path
    known_hosts: Path
    initial_system: str = ""

    @property
    def address(self) -> str:
        """The machine's IPv4 address."""
        return f"10.77.{self.number}.2"

    @property
    def gateway(self) -> str:
        """This computer's address as the machine sees it; a server for it must listen there or on all."""
        return f"10.77.{self.number}.1"

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
        """The stripped output of a command that must succeed."""
        return self.ssh(command).stdout.strip()

    def current_system(self) -> str:
        """Store path of the running system."""
        return self.read("readlink -f /run/current-system")

    def profile(self) -> str:
        """Store path of the system that the next boot would take."""
        return self.read("readlink -f /nix/var/nix/profiles/system")

    def state(self) -> str:
        """`running`, or `degraded` when a unit failed, or what else systemd says of the machine."""
        return self.ssh("systemctl is-system-running", check=False).stdout.strip()

    def failed_units(self) -> list[str]:
        """Names of the failed units, sorted."""
        listed = self.read("systemctl list-units --failed --plain --no-legend")
        return sorted(line.split()[0] for line in listed.splitlines())

    def cut_network(self) -> None:
        """Take the cable out. Nothing is told to either side."""
        run(["ip", "link", "set", link(self.number), "down"])

    def restore_network(self) -> None:
        """Put the cable in again."""
        run(["ip", "link", "set", link(self.number), "up"])

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
) -> Iterator[Host]:
    """Start a machine, wait until it is up, and remove it afterwards.

    Args:
        base_image: root folder of a Debian, as `ci/setup-lab` makes it; it is not written to.
        name: the machine's host name.
        folder: for its files, console log and keys (`console.log`, `id_ed25519`, `known_hosts`).
        trusted_keys: `name:base64` of the keys whose signatures its Nix accepts.
        substituters: store URLs from which its Nix fetches.

    Raises:
        AssertionError: it did not come up; with its console's last lines.
    """
    folder.mkdir(parents=True)
    with free_number() as (number, lock):
        host = Host(name, number, folder / "id_ed25519", folder / "known_hosts")
        _prepare(host, folder, trusted_keys, substituters)
        with container(number, lock, folder, name, base_image) as keeper:
            _connect(host, folder, keeper)
            yield Host(**{**host.__dict__, "initial_system": _install(host)})


def known_hosts(hosts: Sequence[Host], file: Path) -> Path:
    """One known_hosts file for several machines."""
    file.write_text("".join(host.known_hosts.read_text() for host in hosts))
    return file


def _prepare(host: Host, folder: Path, trusted_keys: Sequence[str], substituters: Sequence[str]) -> None:
    """Write what the machine has besides the base image."""
    for part in ("upper", "work", "root"):
        (folder / part).mkdir()
    etc = folder / "upper" / "etc"
    host_key = etc / "ssh" / "ssh_host_ed25519_key"
    host_key.parent.mkdir(parents=True)
    for key in (host.ssh_key, host_key):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", key])
    public = host_key.with_suffix(".pub").read_text().split()
    host.known_hosts.write_text(f"{host.address} {public[0]} {public[1]}\n")

    files = {
        "ssh/sshd_config.d/lab.conf": _SSHD_CONFIG,
        "systemd/network/10-lab.network": _NETWORK.format(address=host.address, gateway=host.gateway),
        "nix/nix.conf": _NIX_CONFIG.format(substituters=" ".join(substituters), keys=" ".join(trusted_keys)),
        "hostname": host.name + "\n",
        "NIXOS": "",
    }
    for path, text in files.items():
        (etc / path).parent.mkdir(parents=True, exist_ok=True)
        (etc / path).write_text(text)
    units = etc / "systemd" / "system"
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(parents=True)
    (wanted / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    for unit in _MASKED:
        (units / unit).symlink_to("/dev/null")

    root = folder / "upper" / "root"
    (root / ".ssh").mkdir(parents=True, mode=0o700)
    root.chmod(0o700)
    shutil.copy(host.ssh_key.with_suffix(".pub"), root / ".ssh" / "authorized_keys")
    shutil.copytree(FLEET / "lib", root / "initial" / "lib")
    shutil.copy(Path(__file__).with_name("initial-system.nix"), root / "initial" / "default.nix")


def _connect(host: Host, folder: Path, keeper: subprocess.Popen[bytes]) -> None:
    """Give our end of the cable its address and wait until the machine has booted."""
    end = time.monotonic() + BOOT_SECONDS
    linked = False
    while time.monotonic() < end and keeper.poll() is None:
        if not linked and Path(f"/sys/class/net/{link(host.number)}").exists():
            run(["ip", "addr", "add", f"{host.gateway}/24", "dev", link(host.number)])
            host.restore_network()
            linked = True
        if linked and _answers(host.address):
            booted = host.ssh("systemctl is-system-running --wait", check=False, timeout=BOOT_SECONDS)
            if booted.stdout.strip() == "running":
                return
            raise AssertionError(f"{host.name} came up {booted.output}\n{host.ssh('systemctl --failed').stdout}")
        time.sleep(0.05)
    console = (folder / "console.log").read_text("utf-8", "replace").splitlines()
    raise AssertionError("\n".join([f"{host.name} did not come up", *console[-30:]]))


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
        f"nix-env -p /nix/var/nix/profiles/system --set {system}"
        f" && {system}/bin/switch-to-configuration test"
        f" && ln -sfn {system} /run/booted-system"
        " && ln -sfn /run/current-system /nix/var/nix/gcroots/current-system"
    )
    return system
