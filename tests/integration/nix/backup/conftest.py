"""A PostgreSQL for all of these tests, and a cache server with something in it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.nix.backup.server import DAY, Server, missing
from tests.integration.nix.postgresql import Cluster, cluster


@pytest.fixture(scope="package")
def postgres() -> Iterator[Cluster]:
    if problem := missing():
        pytest.skip(problem)
    with cluster() as made:
        yield made


@pytest.fixture
def server(postgres: Cluster, tmp_path: Path) -> Server:
    """A cache server with two caches and three paths, and nothing backed up."""
    postgres.clear()
    made = Server(postgres, tmp_path)
    made.make_database()
    return made


@pytest.fixture
def identity(server: Server) -> Path:
    """A secret key of age; copies are encrypted for it from now on."""
    file = new_identity(server.folder / "identity")
    server.offsite(recipient_of(file))
    return file


def new_identity(file: Path) -> Path:
    subprocess.run(["age-keygen", "-o", str(file)], capture_output=True, check=True)
    return file


def recipient_of(identity: Path) -> str:
    return subprocess.run(
        ["age-keygen", "-y", str(identity)], capture_output=True, text=True, check=True
    ).stdout.strip()


def leftovers(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir() if one.name.startswith(".") and one.name != ".lock"]


def keep_old(server: Server, days: list[int], folder: Path | None = None, *, caches: int = 1) -> list[str]:
    """Dumps of so many days ago less an hour, as the script would have kept them; the names of the given days.

    Less an hour: one of exactly so many days would be kept or not by the second in which the test runs.
    """
    folder = folder or server.kept
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for day in days:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - day * DAY + 3600))
        name = f"atticd-{stamp}-{day & 0xFFFFFFFF:08x}"
        (folder / f"{name}.sql.zst").write_text("dump")
        manifest = {"sha256": "x", "tables": {"cache": caches}, "copy": {"file": f"{name}.sql.zst", "size": 4}}
        (folder / f"{name}.json").write_text(json.dumps(manifest))
        names.append(name)
    return names
