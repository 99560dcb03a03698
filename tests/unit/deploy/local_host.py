"""A host that is this machine's shell: our scripts run for real, below a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelinegen import process
from pipelinegen.deploy.ssh import Target

OURS = ("/nix/var/nix/profiles/", "/run/current-system", "/run/booted-system", "/var/lib/pipelinegen/", "/proc/sys/")
"""Paths that scripts look at; here they are below the folder."""


@dataclass(frozen=True)
class LocalHost(Target):
    """Runs scripts in a shell of this machine.

    Attributes:
        root: what the paths of `OURS` are below.
        path: put before PATH: what the host's programs are.
    """

    address: str = "web1"
    root: Path = Path()
    path: Path | None = None
    scripts: list[str] = field(default_factory=list)

    def command(self, *, root: bool = False) -> list[str]:  # noqa: ARG002  # as root we would be anyway
        return ["sh", "-s"]

    def run(self, script: str, *arguments: str, **options: Any) -> process.Completed:
        self.scripts.append(script)
        for path in OURS:
            script = script.replace(path, f"{self.root}{path}")
        if self.path is not None:
            script = f"PATH={self.path}:$PATH\n{script}"
        return super().run(script, *arguments, **options)
