"""This machine's file system as a container would have it: with the CI image's files, and nothing kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_ENTER = r"""
set -eu
folder=$1 command=$2
shift 2
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
for place in nix tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
chmod 0755 nix
# What was hidden by the new /tmp, if it lies there.
for place; do
  [ -e "./$place" ] || { mkdir -p "./$place"; mount --bind "$place" "./$place"; }
done
mount --rbind /dev dev
mount -t proc proc proc
exec chroot . /bin/bash -euc "$command"
"""

_PROGRAM = (str(Path(__file__).parents[3]), sys.prefix)
"""Where pipelinegen and its Python are: a checkout may be anywhere."""

STUBS = ("attic", "nix-eval-jobs", "nixos-rebuild")
"""Programs that Debian does not have."""


def possible(folder: Path) -> bool:
    """Whether we may make such a root in `folder`."""
    return os.geteuid() == 0 and enter(folder, "true", {"PATH": os.environ["PATH"]}).returncode == 0


def enter(folder: Path, command: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of bash in a root of its own, as the first process of its namespaces.

    Args:
        folder: an empty folder, mounted over while the command runs.
    """
    start = ["unshare", "--mount", "--pid", "--fork", "bash", "-c", _ENTER, "bash", str(folder), command, *_PROGRAM]
    return subprocess.run(start, env=dict(environment), capture_output=True, text=True, check=False, timeout=120)


def prepared(files: Mapping[str, str], path: str) -> str:
    """Commands that put the image's files into the root, and what it has besides."""
    lines = [f"mkdir -p /{Path(name).parent}; printf %s {_quoted(text)} > /{name}" for name, text in files.items()]
    lines += ["mkdir -p /var/empty /etc/ssl/certs", "ln -sf ca-certificates.crt /etc/ssl/certs/ca-bundle.crt"]
    lines += [f"printf '#!/bin/sh\\n' > {path}/{name}; chmod 0755 {path}/{name}" for name in STUBS]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
