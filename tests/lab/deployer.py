"""Deploying to a machine of the lab with the command that a job runs, and looking at what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.host import BOOT_ENTRY, PROFILE, Host
from tests.lab.machine import FLEET, Result
from tests.lab.store import PrivateStore

SYSTEMS = Path(__file__).with_name("systems.nix")
RUNTIME = "/run/pipelinegen"
RECORDS = "/var/lib/pipelinegen"
ROOTS = "/nix/var/nix/gcroots/pipelinegen"

SHORT = {"activation_timeout": "8 seconds", "confirm_timeout": "6 seconds", "settle": "1 second", "min_free_mb": 1}
"""Less patience than in earnest, for a host's settings."""

_PATIENCE = """\
import sys
from pipelinegen.deploy import supervised
supervised.REACH_TIMEOUT = {seconds}
from pipelinegen.cli import main
sys.argv[0] = "pipelinegen"
main()
"""


@dataclass(frozen=True)
class Situation:
    """What a machine is found in.

    Attributes:
        runs, profile, boots: store paths of the system that runs, that the profile names, that the next boot takes.
        failed: its failed units.
        ours: what of us is there that must not be when nothing is going on: units, held locks, unknown files.
        litter: what is left where nobody could clean up, until a later deployment does.
    """

    runs: str
    profile: str
    boots: str
    failed: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    litter: tuple[str, ...] = ()


_LOOK = f"""\
readlink -f /run/current-system
readlink -f {PROFILE}
cat {BOOT_ENTRY}
systemctl list-units --failed --plain --no-legend | sed 's/ .*//; s/^/failed /'
systemctl list-units --all --plain --no-legend 'pipelinegen-*' | sed 's/ .*//; s/^/ours unit /'
for file in {RUNTIME}/* {RECORDS}/* {ROOTS}/* {ROOTS}-*; do
  case $file in
    {RUNTIME}/lock) flock --nonblock $file true || echo "ours $file is held" ;;
    {RECORDS}/activations | {RECORDS}/deployed) ;;
    {RUNTIME}/pipelinegen-* | {RECORDS}/deployed.pipelinegen-* | {RUNTIME}/holder | {ROOTS}/*-new | {ROOTS}/*-previous)
      [ ! -e "$file" ] && [ ! -L "$file" ] || echo "litter $file"
      ;;
    *) [ ! -e "$file" ] && [ ! -L "$file" ] || echo "ours $file" ;;
  esac
done
"""


def look(host: Host) -> Situation:
    """What the machine is found in, asked from outside."""
    runs, profile, boots, *rest = host.read(_LOOK).splitlines()

    def those(word: str) -> tuple[str, ...]:
        return tuple(sorted(line.removeprefix(word + " ") for line in rest if line.startswith(word + " ")))

    return Situation(runs, profile, boots, those("failed"), those("ours"), those("litter"))


def record(host: Host, file: str) -> dict[str, str]:
    """One of our files of `key=value` lines on the machine; empty where it is not there."""
    text = host.inside(f"cat {file}", check=False).stdout.partition("\nend=")[0]
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def last_record(host: Host) -> dict[str, str]:
    """The record of the last activation that was begun."""
    name = host.read(f"ls -1t {RECORDS}/activations 2> /dev/null | head -n 1")
    return record(host, f"{RECORDS}/activations/{name}") if name else {}


def status(host: Host) -> dict[str, str]:
    """What the supervisor that works just now says."""
    return record(host, f"$(ls -1td {RUNTIME}/pipelinegen-*/status | head -n 1)")


def until(condition: Callable[[], object], what: str, *, seconds: float = 40, pause: float = 0.05) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: it never did.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(pause)


@dataclass
class Job:
    """A `run deploy` on its way."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):  # closed meanwhile
            self.said.extend(iter(self.process.stderr.readline, ""))

    @property
    def stderr(self) -> str:
        """What it said so far."""
        return "".join(list(self.said))

    def until_said(self, words: str, *, seconds: float = 60) -> None:
        """Wait until its log holds these words."""
        until(lambda: words in self.stderr or self.over, f"{words!r} in its log", seconds=seconds)
        assert words in self.stderr, self.stderr

    @property
    def over(self) -> bool:
        """Whether it ended."""
        return self.process.poll() is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, and all that it started where the signal is SIGKILL: a runner that goes away takes all along."""
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                for pid in _descendants(self.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            self.process.send_signal(number)

    def wait(self, *, seconds: float = 100) -> Result:
        """How it ended."""
        code = self.process.wait(seconds)
        self._reader.join(10)
        return Result(code, "", self.stderr)


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        found = [int(word) for word in children.read_text().split()]
    except OSError:
        return []
    return [*found, *(deeper for child in found for deeper in _descendants(child))]


@dataclass
class Deployer:
    """A job's store, a machine, and a configuration that names it.

    Attributes:
        store: the job's; its systems are built with `build`.
        host: the machine.
        folder: for the configuration and the report.
        patience: seconds that are waited for a host that does not answer, where it is not 90.
        built: systems that were built before, by name.
    """

    store: PrivateStore
    host: Host
    folder: Path
    patience: float | None = None
    built: dict[str, str] = field(default_factory=dict)

    def build(self, system: str) -> str:
        """Store path of a system of `systems.nix`, built in the store."""
        if system not in self.built:
            arguments = ("--argstr", "name", self.host.name, "--arg", "fleet", str(FLEET))
            ran = self.store.run("nix-build", "--no-out-link", SYSTEMS, "-A", system, *arguments)
            self.built[system] = ran.stdout.strip()
        return self.built[system]

    def configure(self, **more: object) -> None:
        """Write the configuration; `more` are keys of the host."""
        keys = {
            "address": self.host.address,
            "ssh_key_file": str(self.host.ssh_key),
            "known_hosts_file": str(self.host.known_hosts),
            **SHORT,
            **more,
        }
        plain = {key: value for key, value in keys.items() if not _is_tables(value)}
        lines = [f"[hosts.{self.host.name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items())]
        for key in keys.keys() - plain.keys():
            for table in keys[key]:  # type: ignore[attr-defined]
                lines += [f"[[hosts.{self.host.name}.{key}]]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
        (self.folder / "pipelinegen.toml").write_text("\n".join(lines) + "\n")

    def arguments(self, path: str, *options: str) -> tuple[str, ...]:
        """What follows `pipelinegen`."""
        report = str(self.folder / "report.json")
        return ("run", "deploy", self.host.name, "--system", path, "--report", report, *options)

    def deploy(self, path: str, *options: str) -> Result:
        """Deploy with the command that a job runs, and wait."""
        with self.started(path, *options) as job:
            return job.wait()

    @contextlib.contextmanager
    def started(self, path: str, *options: str) -> Iterator[Job]:
        """Deploy, and do something meanwhile; the job is ended afterwards if it runs still."""
        (self.folder / "report.json").unlink(missing_ok=True)
        for part in ("nix", "cache"):
            (self.store.folder / part).mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-m", "pipelinegen"]
        if self.patience is not None:
            program = [sys.executable, "-c", _PATIENCE.format(seconds=self.patience)]
        argv = self.store.command([*program, *self.arguments(path, *options)])
        with subprocess.Popen(
            argv, cwd=self.folder, env=self.store.environment(), stderr=subprocess.PIPE, text=True
        ) as process:
            job = Job(process)
            try:
                yield job
            finally:
                job.kill()

    def report(self) -> dict[str, Any]:
        """The last report."""
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return report

    def copy(self, path: str) -> None:
        """Copy a closure to the machine with plain Nix."""
        to = ("--no-check-sigs", "--to", self.host.store_url)
        self.store.run("nix", "copy", *to, path, env=self.host.nix_ssh_environment)

    def by_hand(self, path: str, *, action: str = "switch") -> None:
        """Bring the machine to a system without us, as an administrator would."""
        self.copy(path)
        profile = f"nix-env -p {PROFILE} --set {path} && " if action in {"switch", "boot"} else ""
        self.host.inside(f"{profile}{path}/bin/switch-to-configuration {action}")

    def unchanged(self) -> bool:
        """Whether the machine runs and boots what it did in the beginning, and nothing of ours is there."""
        return look(self.host) == as_installed(self.host)

    def phase_now(self) -> str:
        """In which phase the supervisor on the machine is; empty where none works."""
        return status(self.host).get("phase", "")

    def phase(self, name: str, *, seconds: float = 40) -> None:
        """Wait until the supervisor on the machine is in a phase."""
        until(lambda: self.phase_now() == name, f"phase {name}", seconds=seconds)

    def works(self) -> None:
        """Assert that a good deployment works now, and cleans up what lies there for long."""
        better = self.build("better")
        self.configure()
        self.host.inside(
            f"find {ROOTS} {RUNTIME}/pipelinegen-* -exec touch --no-dereference --date '2 days ago' {{}} + || true"
        )
        result = self.deploy(better)
        assert result.returncode == 0, result.output
        found = look(self.host)
        assert found == Situation(better, better, better), found

    def quiet(self, *, seconds: float = 40) -> None:
        """Wait until no supervisor works on the machine any more."""
        command = "systemctl list-units --plain --no-legend --state=active 'pipelinegen-*'"
        until(lambda: not self.host.read(command), "the supervisor's end", seconds=seconds, pause=0.2)


def as_installed(host: Host) -> Situation:
    """A machine to which nothing was deployed."""
    return Situation(host.initial_system, host.initial_system, host.initial_system)


_RESET = f"""\
set -e
systemctl stop 'pipelinegen-*' 2> /dev/null
rm -rf {RUNTIME} {RECORDS} {ROOTS}* /var/filler /nix/var/filler /var/log/nixos-rebuild {PROFILE}*
nix-env -p {PROFILE} --set $system
$system/bin/switch-to-configuration switch
# As if it had been booted with it: what the tests before have booted must not count.
ln -sfn $system /run/booted-system
nix-store --verify --quiet
nix-store --gc --quiet
"""


def reset(host: Host) -> None:
    """Bring a machine back to what it was installed with, whatever was done to it; it may be rebooted for that."""
    host.restore_network()
    mounts = (
        "grep -c -e /bin/false -e ' /boot ' -e switch-to-configuration -e sshd -e ' /nix/store ' /proc/self/mountinfo"
    )
    if host.inside(mounts, check=False).stdout.strip() != "0" or not host.answers():
        host.restart()
    host.inside(f"system={host.initial_system}\n{_RESET}")
    until(host.answers, "sshd answers")
    found = look(host)
    assert found == as_installed(host), found


def allow_sudo(host: Host) -> None:
    """Give the machine a user `deploy`, and what the image lacks: sudo, here without any question of whether."""
    host.inside(
        """
        id deploy 2> /dev/null || useradd --create-home deploy
        mkdir -p /home/deploy/.ssh && cp /root/.ssh/authorized_keys /home/deploy/.ssh/ && chown -R deploy /home/deploy
        cp /usr/bin/setpriv /usr/local/bin/become && chmod 4755 /usr/local/bin/become
        printf '%s\\n' '#!/bin/sh' '[ "$1" = -n ] || exit 1; shift; [ "$1" != -- ] || shift' \
          'exec /usr/local/bin/become --reuid 0 --regid 0 --clear-groups "$@"' > /usr/local/bin/sudo
        chmod 755 /usr/local/bin/sudo
        """
    )


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
