"""The one way to a host: ssh without questions, with a known host key, each command on a fresh connection.

Scripts travel on standard input and run in a POSIX shell, so that nothing depends on how the user's login
shell quotes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import process
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import clean
from pipelinegen.deploy.keys import key_files
from pipelinegen.errors import CommandError, ConfigError, TransientError

LOST = 255
"""What ssh itself exits with when there is no connection; our scripts never do."""

MOST_BYTES = 32 << 20
"""Of an answer: paths and sizes of two large closures are less. Who answers without end is not heard out."""

_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")

_ENVELOPE = """\
set -eu
PATH=${{PATH:-/usr/bin:/bin}}:/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin
PATH=$PATH:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
main() {{
{script}
}}
main {arguments} < /dev/null
"""
"""A command in the script that reads its standard input must not eat the rest of the script."""


class UnreachableError(TransientError):
    """The host could not be asked: no connection, or it was lost. What ran there may still run."""


class _TooMuchError(process.EndNowError):
    """The host answers more than it can have been asked for."""


@dataclass(frozen=True)
class Target:
    """Where and how to log in.

    Attributes:
        address, user, port: as in the configuration.
        key_file: private key, readable for us alone; null leaves it to the user's ssh configuration.
        known_hosts: the only host keys that are believed; null leaves it to the user's files.
    """

    address: str
    user: str = "root"
    port: int = 22
    key_file: Path | None = None
    known_hosts: Path | None = None

    @property
    def login(self) -> str:
        """`user@address`."""
        return f"{self.user}@{self.address}"

    @property
    def options(self) -> tuple[str, ...]:
        """ssh's options. An old connection must not prove that a new one is possible: no ControlMaster."""
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "ControlMaster": "no",
            "ControlPath": "none",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ForwardAgent": "no",
            "LogLevel": "ERROR",
        }
        if self.key_file is not None:
            settings |= {"IdentityFile": str(self.key_file), "IdentitiesOnly": "yes"}
        if self.known_hosts is not None:
            settings |= {"UserKnownHostsFile": str(self.known_hosts), "GlobalKnownHostsFile": "/dev/null"}
        pairs = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ("-T", "-p", str(self.port), *pairs)

    def command(self, *, root: bool = False) -> list[str]:
        """The ssh command that reads a script from its standard input; with `sudo -n` where that is needed."""
        sudo = ["sudo", "-n", "--"] if root and self.user != "root" else []
        return ["ssh", *self.options, "--", self.login, *sudo, "sh", "-s"]

    @property
    def store_url(self) -> str:
        """The host's store, for `nix copy --to` with `nix_environment`.

        As root also for another user, whose unsigned paths the host's own daemon would refuse.
        """
        address = f"[{self.address}]" if ":" in self.address else self.address
        sudo = "" if self.user == "root" else "?remote-program=sudo%20-n%20nix-daemon"
        return f"ssh-ng://{self.user}@{address}{sudo}"

    @property
    def nix_environment(self) -> dict[str, str]:
        """Our environment, with what makes Nix's own ssh do as ours. Nix splits the variable at spaces."""
        return process.environment(extra={"NIX_SSHOPTS": " ".join(self.options)})

    def run(
        self,
        script: str,
        *arguments: str,
        root: bool = False,
        allowed: Sequence[int] = (0,),
        timeout: float = 60,
        on_line: Callable[[str], None] | None = None,
        on_idle: Callable[[], None] | None = None,
    ) -> process.Completed:
        """Run a POSIX shell script on the host, over a connection of its own.

        Args:
            script: shell lines; `$1` and on are `arguments`. `set -eu` holds.
            root: as root, by `sudo -n` where the user is another.
            allowed: exit codes that are no error.
            timeout: seconds for everything.

        Raises:
            UnreachableError: no connection, or it was lost, or `timeout` passed, or the answer is of more than
                `MOST_BYTES`.
            CommandError: the script ended with another code.
        """
        answer = bytearray()

        def take(chunk: bytes) -> None:
            answer.extend(chunk)
            if len(answer) > MOST_BYTES:
                raise _TooMuchError

        try:
            completed = process.run(
                self.command(root=root),
                stdin=envelope(script, *arguments).encode(),
                allowed="any",
                timeout=timeout,
                on_stdout=take,
                on_line=on_line,
                on_idle=on_idle,
            )
        except _TooMuchError:
            raise UnreachableError(
                f"{self.login} does not answer as it should", why=f"it answers more than {MOST_BYTES >> 20} MiB"
            ) from None
        except TransientError as error:
            raise UnreachableError(f"{self.login} does not answer", why=error.message) from error
        if completed.returncode == LOST:
            said = [clean(line, colour=False) for line in completed.stderr_tail if line.strip()]
            raise UnreachableError(
                f"{self.login} cannot be reached", why="\n".join(said[-3:]) or None, hint=_hint("\n".join(said))
            )
        if completed.returncode not in allowed:
            raise CommandError(
                f"a command on {self.address} failed with exit code {completed.returncode}",
                command=process.quote(self.command(root=root)),
                returncode=completed.returncode,
                stderr_tail=completed.stderr_tail,
            )
        return dataclasses.replace(completed, stdout=bytes(answer))


_HINTS = (
    (
        "HOST IDENTIFICATION HAS CHANGED",
        "the host was installed anew (then its line in known_hosts_file must be, too), or somebody else answers there",
    ),
    (
        "Host key verification failed",
        "the host's key is not in known_hosts_file; compare it with `ssh-keyscan HOST`, then add that line",
    ),
    ("Load key", "the private key cannot be used: ssh_key_file must hold it whole, without a passphrase"),
    ("Permission denied", "the host does not accept this key for this user (ssh_key_file, user)"),
    ("Too many authentication failures", "the host does not accept this key for this user (ssh_key_file, user)"),
    ("Could not resolve hostname", "nobody knows this name here: is `address` right, and DNS reachable from here?"),
    ("Connection refused", "the machine is there, but no sshd listens on this port (address, port)"),
    ("No route to host", "is the host on, and reachable from where this runs (network, firewall)?"),
    ("Network is unreachable", "is the host on, and reachable from where this runs (network, firewall)?"),
    ("timed out", "is the host on, and reachable from where this runs (network, firewall)?"),
    ("Connection closed", "sshd hung up: its log on the host says why (limits, allowed users)"),
    ("Connection reset", "sshd hung up: its log on the host says why (limits, allowed users)"),
)
"""Words of OpenSSH's client, and what to do; the first that is found counts."""


def envelope(script: str, *arguments: str) -> str:
    """The text for a POSIX shell's standard input that runs `script` as `run` does."""
    return _ENVELOPE.format(script=script, arguments=shlex.join(arguments))


def _hint(said: str) -> str | None:
    return next((hint for words, hint in _HINTS if words in said), None)


@contextlib.contextmanager
def connection(host: HostConfig, *, where: str) -> Iterator[Target]:
    """How to reach a configured host, with private copies of the key and the host keys meanwhile.

    Raises:
        ConfigError: the address is none.
        CredentialsError: a key is missing or cannot be used, see `key_files`.
    """
    address = host.address.removeprefix("[").removesuffix("]")
    if not _ADDRESS.fullmatch(address):
        raise ConfigError(f"{host.address!r} is no host name or address", where=where)
    with key_files(host) as keys:
        yield Target(address=address, user=host.user, port=host.port, key_file=keys.key, known_hosts=keys.known_hosts)
