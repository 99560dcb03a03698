"""A cache server in small: Attic's tables, and the scripts of its backup as they are run there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.nix.postgresql import Cluster, postgres_folder

ROOT = Path(__file__).parents[4]
SCRIPTS = ROOT / "nix" / "attic-server" / "backup"
TOOLS = ("rclone", "age", "age-keygen", "zstd", "jq", "setpriv", "flock", "sha256sum", "awk")
DAY = 86400

SCHEMA = """
CREATE TABLE seaql_migrations (version varchar PRIMARY KEY, applied_at bigint NOT NULL);
CREATE TABLE cache (
  id bigserial PRIMARY KEY, name varchar(50) NOT NULL UNIQUE, keypair varchar NOT NULL, is_public bool NOT NULL
);
CREATE TABLE nar (
  id bigserial PRIMARY KEY, state char(1) NOT NULL, nar_hash varchar NOT NULL, holders_count int NOT NULL DEFAULT 0
);
CREATE TABLE object (
  id bigserial PRIMARY KEY, cache_id bigint NOT NULL REFERENCES cache ON DELETE CASCADE,
  nar_id bigint NOT NULL REFERENCES nar ON DELETE CASCADE, store_path varchar NOT NULL, "references" varchar NOT NULL
);
CREATE TABLE chunk (
  id bigserial PRIMARY KEY, state char(1) NOT NULL, file_hash varchar, file_size bigint,
  remote_file_id varchar NOT NULL UNIQUE, holders_count int NOT NULL DEFAULT 0
);
CREATE TABLE chunkref (
  id bigserial PRIMARY KEY, nar_id bigint NOT NULL REFERENCES nar ON DELETE CASCADE, seq int NOT NULL,
  chunk_id bigint REFERENCES chunk ON DELETE SET NULL
);
"""
"""What the scripts look at, in the shape of Attic's own tables."""

HOSTILE = "a\tb\\nc\\.\n\\.\n\\! touch /tmp/never; COPY x FROM PROGRAM 'false'; ü"
"""Content that a careless reader of dumps would trip over."""


def missing() -> str | None:
    """Why the scripts cannot be run here."""
    if postgres_folder() is None:
        return "there is no PostgreSQL here"
    absent = [name for name in TOOLS if not shutil.which(name)]
    return f"there is no {', '.join(absent)} here" if absent else None


def insert(table: str, **values: object) -> str:
    """SQL for one row."""
    columns = ", ".join(f'"{name}"' for name in values)
    quoted = ", ".join("'{}'".format(str(value).replace("'", "''")) for value in values.values())
    return f"INSERT INTO {table} ({columns}) VALUES ({quoted});"  # noqa: S608  # our own tests' values


@dataclass
class Ran:
    """How a script ended."""

    status: int
    output: str
    said: str


@dataclass
class Server:
    """The cache server: its database, folders, second bucket and settings."""

    cluster: Cluster
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("second", "storage", "tools", "running"):
            (self.folder / name).mkdir()
        self.tool(
            "systemctl",
            'echo "$1" >>"$STATE/calls"; case $1 in start) touch "$STATE/active" ;; stop) rm -f "$STATE/active" ;;'
            ' is-active) [ -e "$STATE/active" ] ;; esac',
        )
        (self.running / "active").touch()
        self.settings = {
            "STATE": str(self.running),
            "ATTIC_BACKUP_SOURCE": str(self.source),
            "ATTIC_BACKUP_FOLDER": str(self.kept),
            "ATTIC_METRICS_FOLDER": str(self.folder / "metrics"),
            "ATTIC_RETRY_SECONDS": "0",
            "ATTIC_STORAGE": str(self.storage),
            "ATTIC_STORAGE_ID": "local:",
            "ATTIC_START_SECONDS": "2",
            "ATTIC_HEALTH_COMMAND": "true",
        }

    @property
    def source(self) -> Path:
        """The dump of the night."""
        return self.folder / "atticd.sql.zstd"

    @property
    def kept(self) -> Path:
        """The folder of dated dumps."""
        return self.folder / "kept"

    @property
    def second(self) -> Path:
        """The second bucket."""
        return self.folder / "second"

    @property
    def storage(self) -> Path:
        """The folder of chunks."""
        return self.folder / "storage"

    @property
    def running(self) -> Path:
        """What the machine's systemd knows: `active`, and `calls` in their order."""
        return self.folder / "running"

    def tool(self, name: str, script: str) -> None:
        """A program that comes first on PATH."""
        file = self.folder / "tools" / name
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(0o755)

    def real_tool(self, name: str) -> str:
        """The program behind it."""
        found = shutil.which(name)
        assert found is not None
        return found

    def offsite(self, recipient: str | None = None) -> None:
        """Copies go to the second bucket from now on."""
        self.settings |= {
            "ATTIC_OFFSITE": "offsite:attic",
            "RCLONE_CONFIG_OFFSITE_TYPE": "alias",
            "RCLONE_CONFIG_OFFSITE_REMOTE": str(self.second),
        }
        if recipient:
            self.settings["ATTIC_AGE_RECIPIENTS"] = recipient

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        path = f"{self.folder / 'tools'}:{os.environ['PATH']}"
        home = {"HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        return {**home, **self.cluster.environment, **self.settings, **more, "PATH": path}

    def run(self, script: str, *arguments: object, **more: str) -> Ran:
        """Runs it in a process group of its own, so that it can be killed as a whole."""
        argv = ["bash", str(SCRIPTS / f"{script}.sh"), *map(str, arguments)]
        child = subprocess.Popen(
            argv,
            env=self.environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        output, said = child.communicate(timeout=120)
        return Ran(child.returncode, output, said)

    def succeed(self, script: str, *arguments: object, **more: str) -> Ran:
        """As `run`; it must succeed."""
        ran = self.run(script, *arguments, **more)
        assert ran.status == 0, ran.said
        return ran

    def kill_at(self, command: str, number: int) -> None:
        """The next run is killed instead of its `number`-th call of this command."""
        (self.running / "count").unlink(missing_ok=True)
        self.tool(
            command,
            f'n=$(cat "$STATE/count" 2>/dev/null || echo 0); echo $((n + 1)) >"$STATE/count"\n'
            f'[ "$n" != {number - 1} ] || kill -9 0\nexec {self.real_tool(command)} "$@"',
        )

    def no_longer(self, command: str) -> None:
        """The command is itself again."""
        (self.folder / "tools" / command).unlink()

    def make_database(self, paths: int = 3, caches: int = 2) -> None:
        """Attic's tables with something in them, and the chunks in the storage."""
        self.cluster.sql("postgres", "CREATE DATABASE atticd OWNER atticd")
        rows = ["SET ROLE atticd;", SCHEMA, insert("seaql_migrations", version="m1", applied_at=1)]
        rows += [insert("cache", name=f"c{number + 1}", keypair=HOSTILE, is_public="f") for number in range(caches)]
        self.cluster.sql("atticd", "\n".join(rows))
        if caches:
            self.add_paths(paths)

    def add_paths(self, paths: int) -> None:
        """More paths in the first cache, each a NAR of two chunks."""
        for _ in range(paths):
            (last,) = self.cluster.sql("atticd", "SELECT coalesce(max(id), 0) FROM nar")
            nar = int(last) + 1
            path = f"/nix/store/p{nar}"
            rows = [
                insert("nar", state="V", nar_hash=f"sha256:{nar}", holders_count=1),
                insert("object", cache_id=1, nar_id=nar, store_path=path, references="[]"),
            ]
            for part in (1, 2):
                name = f"{nar:04x}-{part}.chunk"
                file = self.chunk(name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(name * 10)
                hashed = subprocess.run(["sha256sum", str(file)], capture_output=True, text=True, check=True).stdout[
                    :64
                ]
                file_hash, size = f"sha256:{hashed}", file.stat().st_size
                rows += [
                    insert("chunk", state="V", file_hash=file_hash, file_size=size, remote_file_id=f"local:{name}"),
                    insert("chunkref", nar_id=nar, seq=part - 1, chunk_id=2 * nar + part - 2),
                ]
            self.cluster.sql("atticd", "SET ROLE atticd;" + "\n".join(rows))

    def chunk(self, name: str) -> Path:
        """Where Attic keeps a chunk of this name."""
        return self.storage / name[0] / name[:2] / name

    def dump(self, *, age: float = 0, options: str = "-C") -> None:
        """Tonight's, or that of `age` seconds ago."""
        self.cluster.dump(self.source, options=options)
        made = time.time() - age
        os.utime(self.source, (made, made))

    def back_up(self, **more: str) -> Ran:
        """A dump, kept."""
        self.dump()
        return self.succeed("backup", **more)

    def names(self, folder: Path | None = None) -> list[str]:
        """Finished dumps in the folder, by their manifests."""
        folder = folder or self.kept
        return sorted(one.stem for one in folder.glob("[!.]*.json"))

    def manifest(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.kept / f"{name}.json").read_text())
        return content

    def figures(self, file: str) -> dict[str, float]:
        """What the exporter would read."""
        text = (self.folder / "metrics" / f"{file}.prom").read_text()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}
