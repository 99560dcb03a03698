"""Starts a job's script in a process with a store of its own, without loading pipelinegen anew for each job.

A server process loads all of pipelinegen once and forks for every job: the job has fresh memory, its own mount
namespace, environment, folder and streams, and starts in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import pkgutil
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pipelinegen

PROGRAM = "pipelinegen"


@dataclass(frozen=True)
class Order:
    """What to start.

    Attributes:
        script: lines of the job's script.
        store: folder with the store that the job sees on `/nix`.
        directory: where it runs.
        environment: all that it sees.
        log: file for both of its streams.
        lab: folder that it finds as `/nix/lab`, for builders that leave or look for something.
        shell: run even a single line of pipelinegen by the shell, with the pipelinegen on PATH.
    """

    script: tuple[str, ...]
    store: Path
    directory: Path
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    lab: Path | None = None
    shell: bool = False


def start(order: Order) -> ForkServerProcess:
    """Start a job; its exit code is the process's, also that of its own process group."""
    prepare(order.store, order.lab)
    process = _server().Process(target=_run, args=(order,))
    process.start()
    return process


def prepare(store: Path, lab: Path | None) -> None:
    """Make a store's folder, with `/nix/lab` as what is seen inside."""
    (store / "nix").mkdir(parents=True, exist_ok=True)
    link = store / "nix" / "lab"
    if lab is not None and not (link.is_symlink() and link.readlink() == lab):
        link.unlink(missing_ok=True)
        link.symlink_to(lab)


@functools.cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    modules = [module.name for module in pkgutil.walk_packages(pipelinegen.__path__, "pipelinegen.")]
    context.set_forkserver_preload([__name__, *(name for name in modules if not name.endswith("__main__"))])
    return context


def _run(order: Order) -> None:
    """In the forked process."""
    os.setsid()
    _enter(order.store / "nix")
    os.chdir(order.directory)
    os.environ.clear()
    os.environ.update(order.environment)
    streams = {0: os.open(os.devnull, os.O_RDONLY), 1: os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)}
    for number, file in streams.items():
        os.dup2(file, number)
        os.close(file)
    os.dup2(1, 2)
    words = None if order.shell or len(order.script) != 1 else _plain_words(order.script[0])
    if words is None:
        os.execvp("sh", ["sh", "-euc", "\n".join(order.script)])  # noqa: S606  # it becomes the job
    from pipelinegen.cli import run_command_line

    code = run_command_line(words[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def _plain_words(line: str) -> list[str] | None:
    """The arguments of a line that only calls pipelinegen and means the same without a shell."""
    words = shlex.split(line)
    same = shlex.join(words) == line
    return words if same and words[0] == PROGRAM else None


_NEW_MOUNT_NAMESPACE = 0x00020000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
"""From linux/sched.h and linux/mount.h."""


def _enter(nix: Path) -> None:
    """Mount a store on `/nix` for this process and its children alone, as `unshare -m` and `mount` do."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_NEW_MOUNT_NAMESPACE), "unshare")
    _check(libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None), "make mounts private")
    _check(libc.mount(os.fsencode(nix), b"/nix", None, _BIND, None), "mount /nix")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
