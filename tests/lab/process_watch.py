"""What command lines and environments of processes show to others while something runs."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Self

SECONDS = 0.01
"""Between two looks at the list of processes: what lives shorter may not be seen."""


class ProcessWatch:
    """Looks at all processes of this computer until it is told to stop.

    Args:
        secrets: name → text that no command line may hold.
        marker: a variable by whose value our processes are known: `NAME=` and how the value begins.
        others: the same of processes that another test has started meanwhile, and looks at itself: where it stands
            without the marker, a process is none of ours.

    Attributes:
        exposed: (name of a secret, command line that held it).
        commands: the command lines of our processes.
        held: name of a job (CI_JOB_NAME) → names of the secrets in the environments of its processes.
    """

    def __init__(self, secrets: Mapping[str, str], marker: str, others: str | None = None) -> None:
        self.exposed: set[tuple[str, str]] = set()
        self.commands: set[str] = set()
        self.held: dict[str, set[str]] = defaultdict(set)
        self._secrets = {name: text.encode() for name, text in secrets.items()}
        self._marker = b"\0" + marker.encode()
        self._others = None if others is None else b"\0" + others.encode()
        self._known: dict[str, bytes] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS):
            known: dict[str, bytes] = {}
            for entry in os.scandir("/proc"):
                if not entry.name.isdigit():
                    continue
                try:
                    # It changes when a process becomes another program.
                    known[entry.name] = line = Path(entry.path, "cmdline").read_bytes()
                    if self._known.get(entry.name) != line:
                        self._look(line, b"\0" + Path(entry.path, "environ").read_bytes())
                except OSError:
                    continue  # it has ended
            self._known = known

    def _look(self, line: bytes, environment: bytes) -> None:
        if self._others is not None and self._others in environment and self._marker not in environment:
            return
        shown = line.replace(b"\0", b" ").decode("utf-8", "replace").strip()
        self.exposed.update((name, shown) for name, text in self._secrets.items() if text in line)
        if self._marker not in environment:
            return
        self.commands.add(shown)
        job = next((one[12:] for one in environment.split(b"\0") if one.startswith(b"CI_JOB_NAME=")), b"")
        self.held[job.decode()].update(name for name, text in self._secrets.items() if text in environment)


def pids_of(marker: str, job: str) -> list[int]:
    """The processes of a job that run pipelinegen itself.

    Args:
        marker: as for `ProcessWatch`.
        job: how the job's name begins.
    """
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            environment = b"\0" + (process / "environ").read_bytes()
            line = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = f"\0{marker}".encode() in environment and f"\0CI_JOB_NAME={job}".encode() in environment
        if ours and line[1:3] == [b"-m", b"pipelinegen"]:
            found.append(int(process.name))
    return found
