"""A pipeline that ran with Attic's caches, and what is asked of it afterwards."""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.attic_server import Endpoint, Request
from tests.lab.delivery import Ran
from tests.lab.process_watch import ProcessWatch
from tests.lab.store import PrivateStore

TARGETS = ("database", "backup", "hello 2.0", "check database-stores", "host db1")
"""What `attic_delivery` leaves of the fleet."""


@dataclass(frozen=True)
class Delivered(Ran):
    """A pipeline that ran, and the world behind it.

    Attributes:
        folder: of all its files.
        watch: what processes showed meanwhile.
        running: the system that runs on the machine.
        held: cache → the store paths in it; nothing for the real server, which lists none.
        requests: what the server was asked meanwhile; likewise.
    """

    folder: Path
    watch: ProcessWatch
    running: str | None
    held: dict[str, frozenset[str]]
    requests: list[Request]

    @property
    def wanted(self) -> frozenset[str]:
        """The derivations that it takes to make the targets."""
        return frozenset().union(*(self.offer.closures[target] for target in TARGETS))

    @property
    def uploads(self) -> Counter[str]:
        """Store path → how often somebody began to send it."""
        return Counter(one.path for one in self.requests if one.endpoint is Endpoint.UPLOAD)

    def report(self, job: str, file: str = "push.json") -> dict[str, Any]:
        """A report that a job left."""
        report: dict[str, Any] = json.loads((self.result.jobs[job].artifacts / file).read_text())
        return report

    def outcomes(self, job: str) -> dict[str, set[str]]:
        """Outcome → the paths of a push job's report that had it."""
        return outcomes(self.report(job))

    def builder(self, target: str) -> PrivateStore:
        """The store of the job that made a target."""
        drv = self.offer.drvs[target]
        return self.stores.store(next(job for job, built in self.stores.built_by_job().items() if drv in built))

    def leaks(self, secrets: Mapping[str, str]) -> list[str]:
        """Where one of these texts stands that people, the server or other processes get to see."""
        found = [f"{name} in {where}" for where, text in self.seen() for name, one in secrets.items() if one in text]
        return found + [f"{name} in a command line: {line}" for name, line in sorted(self.watch.exposed)]


def outcomes(report: Mapping[str, Any]) -> dict[str, set[str]]:
    """Outcome → the paths that had it, from the report of a push."""
    found: dict[str, set[str]] = {}
    for one in report["items"]:
        found.setdefault(one["outcome"], set()).add(one["name"])
    return found


def closure(store: PrivateStore, path: str) -> set[str]:
    """A path with all that it refers to, in a store that has it."""
    return set(store.run("nix-store", "-qR", path).stdout.split())


def once(drvs: frozenset[str]) -> Counter[str]:
    """What `JobStores.builds` says where each was built in exactly one job."""
    return Counter(dict.fromkeys(drvs, 1))


def parts(token: str) -> list[tuple[str, str]]:
    """What of a token must not be seen: whatever is cut out of it or around it."""
    _, payload, signature = token.split(".")
    # As the password of a user whose name and colon are of a length that three divides, such as Nix's `pipelinegen:`.
    password = base64.b64encode(token.encode()).decode()[:-4]
    return [("token", token), ("payload", payload), ("signature", signature), ("password", password)]


def holding(folder: Path, secrets: Mapping[str, str]) -> list[str]:
    """Which files below a folder hold which of the secrets, also packed."""
    wanted = {name: text.encode() for name, text in secrets.items()}
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_symlink() or not file.is_file():
            continue
        data = file.read_bytes()
        with contextlib.suppress(OSError, EOFError):
            if file.suffix in {".gz", ".bz2"}:
                data = (gzip if file.suffix == ".gz" else bz2).decompress(data)
        found += [f"{name} in {file.relative_to(folder)}" for name, text in wanted.items() if text in data]
    return found
