"""A PostgreSQL of our own, on a socket in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def postgres_folder() -> Path | None:
    """Where PostgreSQL's programs are: Debian keeps them off PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name), reverse=True)
    found = shutil.which("initdb")
    folders = [*debian, *([Path(found).parent] if found else [])]
    return next((one for one in folders if (one / "postgres").exists() and (one / "pg_isready").exists()), None)


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL that listens on a socket in `folder` alone."""

    folder: Path
    user: str
    """The system's user that it runs as; empty: ours."""

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need."""
        return {"PGHOST": str(self.folder), "PGUSER": "postgres", "ATTIC_POSTGRES_USER": self.user}

    def sql(self, database: str, text: str) -> list[str]:
        """Rows, as lines."""
        argv = ["psql", "-XqtA", "-v", "ON_ERROR_STOP=1", "-d", database]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(argv, input=text, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def databases(self) -> set[str]:
        """Names of those that are not PostgreSQL's own."""
        return set(self.sql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate")) - {"postgres"}

    def clear(self) -> None:
        """Drop every database."""
        for name in self.databases():
            self.sql("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def dump(self, file: Path, *, options: str = "-C") -> None:
        """As services.postgresqlBackup makes it."""
        environment = {**os.environ, **self.environment}
        command = f"set -o pipefail; pg_dump {options} atticd | zstd -q -c -6 --rsyncable >{file}"
        subprocess.run(["bash", "-c", command], env=environment, check=True)

    def content(self, database: str = "atticd") -> str:
        """Everything in it, as text."""
        argv = ["pg_dump", "--data-only", "--inserts", database]
        environment = {**os.environ, **self.environment}
        text = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
        return "\n".join(line for line in text.splitlines() if "restrict" not in line)


def _as(user: str) -> list[str]:
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user else []


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A new one with the role `atticd`; it is gone afterwards."""
    programs = postgres_folder()
    assert programs is not None
    # PostgreSQL refuses to be root.
    user = "postgres" if os.geteuid() == 0 else ""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # pytest's folders are closed to others
    try:
        if user:
            shutil.chown(folder, user, user)
        data = folder / "data"
        argv = [
            *_as(user),
            str(programs / "initdb"),
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
        ]
        subprocess.run(argv, cwd=folder, capture_output=True, check=True)
        settings = ["listen_addresses=", "fsync=off", "max_connections=50", f"unix_socket_directories={folder}"]
        server = [*_as(user), str(programs / "postgres"), "-D", str(data)]
        for setting in settings:
            server += ["-c", setting]
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(server, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            made = Cluster(folder, user)
            ready = [str(programs / "pg_isready"), "-q", "-h", str(folder)]
            for _ in range(100):
                if subprocess.run(ready, check=False).returncode == 0:
                    break
                time.sleep(0.1)
            made.sql("postgres", "CREATE ROLE atticd LOGIN")
            yield made
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(30)
    finally:
        shutil.rmtree(folder)
