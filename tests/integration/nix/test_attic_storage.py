"""What the cache server counts, with the real tables of Attic in a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.nix.postgresql import Cluster, cluster, postgres_folder
from tests.integration.test_metrics_sent import free_port, server

ROOT = Path(__file__).parents[3]
HERE = ROOT / "nix" / "attic-server" / "monitoring"
LAB = Path(os.environ.get("PIPELINEGEN_LAB", "/var/cache/pipelinegen-lab"))
ATTICD = LAB / "attic" / "bin" / "atticd"
# Any 32 bytes, for a server that signs nothing here.
SECRET = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

pytestmark = pytest.mark.processes

ROWS = """
INSERT INTO cache (name, keypair, is_public, store_dir, priority, upstream_cache_key_names, created_at, deleted_at,
  retention_period)
SELECT name, '', false, '/nix/store', 41, '[]', now(), CASE WHEN name = 'gone' THEN now() END, period
FROM (VALUES ('ci', 10 * 86400), ('empty', NULL), ('gone', NULL), ('main', NULL), ('forever', 0))
  AS caches (name, period);

INSERT INTO nar (state, nar_hash, nar_size, compression, num_chunks, holders_count, created_at)
SELECT state, 'sha256:' || size, size, 'zstd', 1, 0, now()
FROM (VALUES ('V', 1000), ('V', 200), ('P', 7)) AS nars (state, size);

-- Two store paths of `ci` have one archive; one was made long ago and is still fetched, one is not.
INSERT INTO object (cache_id, nar_id, store_path_hash, store_path, "references", sigs, created_at, last_accessed_at)
SELECT cache.id, nar.id, hash, '/nix/store/' || hash || '-x', '[]', '[]', now() - made * interval '1 day',
  now() - fetched * interval '1 day'
FROM (VALUES ('ci', 1000, 'a', 12, 1), ('ci', 1000, 'b', 13, 13), ('ci', 200, 'c', 1, NULL),
  ('main', 200, 'a', 40, NULL), ('forever', 200, 'a', 900, NULL)) AS objects (cache, size, hash, made, fetched)
JOIN cache ON cache.name = cache JOIN nar ON nar_size = size;

INSERT INTO chunk (state, chunk_hash, chunk_size, file_hash, file_size, compression, remote_file, remote_file_id,
  holders_count, created_at)
SELECT state, 'sha256:' || id, 100, NULL, size, 'zstd', '{}', id, holders, now() - age * interval '1 hour'
FROM (VALUES ('used', 'V', 60, 0, 50), ('orphan', 'V', 5, 0, 50), ('held', 'V', 5, 1, 50), ('fresh', 'P', NULL, 1, 1),
  ('stuck', 'P', NULL, 1, 30), ('gone', 'D', 9, 0, 50)) AS chunks (id, state, size, holders, age);
INSERT INTO chunkref (nar_id, seq, chunk_id)
SELECT nar.id, 0, chunk.id FROM nar, chunk WHERE nar_size = 1000 AND remote_file_id = 'used';
"""


def migrate(postgres: Cluster) -> None:
    """Attic's own tables, made by the real server."""
    settings = postgres.folder / "server.toml"
    settings.write_text(
        f'[database]\nurl = "postgresql:///atticd?host={postgres.folder}&user=postgres"\n'
        f'[storage]\ntype = "local"\npath = "{postgres.folder}"\n[jwt.signing]\n'
        f'token-hs256-secret-base64 = "{SECRET}"\n'
        "[chunking]\nnar-size-threshold = 65536\nmin-size = 16384\navg-size = 65536\nmax-size = 262144\n"
    )
    subprocess.run([ATTICD, "-f", settings, "--mode", "db-migrations"], capture_output=True, check=True)


def count(place: Path, metrics: Path, retention: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the script as the unit does, against the PostgreSQL whose socket is in a folder."""
    environment = {
        "PATH": os.environ["PATH"],
        "PGHOST": str(place),
        "PGUSER": "postgres",
        "ATTIC_STORAGE_SQL": str(HERE / "storage.sql"),
        "ATTIC_RETENTION": str(retention),
        "ATTIC_POSTGRES_USER": "",
        "ATTIC_METRICS_FOLDER": str(metrics),
        **more,
    }
    return subprocess.run([HERE / "storage.sh"], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def database() -> Iterator[Cluster]:
    if postgres_folder() is None:
        pytest.skip("needs Debian's postgresql")
    if not ATTICD.exists():
        pytest.skip(f"needs Attic's server in {ATTICD}")
    with cluster() as made:
        made.sql("postgres", "CREATE DATABASE atticd")
        migrate(made)
        yield made


def values(file: Path) -> dict[str, float]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def check_with_promtool(file: Path) -> None:
    """Prometheus's own reader takes it, and has nothing to say about names and help."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool of Debian's prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=file.read_text(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_server_without_caches_has_figures(database: Cluster, tmp_path: Path) -> None:
    done = count(database.folder, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = values(tmp_path / "attic-storage.prom")
    assert not [name for name in found if "cache=" in name]
    assert found['attic_storage_chunks{state="valid"}'] == 0
    assert found["attic_storage_orphan_chunks"] == 0


def test_what_caches_hold_is_counted(database: Cluster, tmp_path: Path) -> None:
    database.sql("atticd", f"BEGIN; {ROWS} COMMIT;")
    started = time.time()
    done = count(database.folder, tmp_path, retention=30 * 86400)
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "attic-storage.prom"
    check_with_promtool(file)
    found = values(file)
    assert found.pop("attic_storage_last_success_timestamp_seconds") >= int(started)
    assert found.pop("attic_storage_database_bytes") > 1_000_000
    overdue = {
        name: round(found.pop(f'attic_storage_overdue_seconds{{cache="{name}"}}') / 86400)
        for name in ("ci", "empty", "forever", "main")
    }
    assert overdue == {"ci": 3, "empty": 0, "forever": 0, "main": 10}
    assert found == {
        'attic_storage_objects{cache="ci"}': 3,
        'attic_storage_objects{cache="empty"}': 0,
        'attic_storage_objects{cache="forever"}': 1,
        'attic_storage_objects{cache="main"}': 1,
        'attic_storage_bytes{cache="ci"}': 1200,
        'attic_storage_bytes{cache="empty"}': 0,
        'attic_storage_bytes{cache="forever"}': 200,
        'attic_storage_bytes{cache="main"}': 200,
        'attic_storage_nars{state="deduplicated"}': 0,
        'attic_storage_nars{state="deleted"}': 0,
        'attic_storage_nars{state="pending"}': 1,
        'attic_storage_nars{state="valid"}': 2,
        'attic_storage_chunks{state="deduplicated"}': 0,
        'attic_storage_chunks{state="deleted"}': 1,
        'attic_storage_chunks{state="pending"}': 2,
        'attic_storage_chunks{state="valid"}': 3,
        'attic_storage_chunk_bytes{state="deduplicated"}': 0,
        'attic_storage_chunk_bytes{state="deleted"}': 9,
        'attic_storage_chunk_bytes{state="pending"}': 0,
        'attic_storage_chunk_bytes{state="valid"}': 70,
        "attic_storage_orphan_chunks": 1,
        "attic_storage_stuck_chunks": 1,
    }
    assert file.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["attic-storage.prom"]


def test_the_exporter_of_postgresql_needs_no_right_but_to_connect(
    database: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("prometheus-postgres-exporter")
    if program is None:
        pytest.skip("needs Debian's prometheus-postgres-exporter")
    database.sql("atticd", 'CREATE ROLE "postgres-exporter" LOGIN')
    source = f"user=postgres-exporter database=atticd host={database.folder} sslmode=disable"
    monkeypatch.setenv("DATA_SOURCE_NAME", source)
    address = f"127.0.0.1:{free_port()}"
    with server(f"http://{address}", program, f"--web.listen-address={address}") as url:
        lines = httpx.get(f"{url}/metrics", timeout=20).text.splitlines()
    assert "pg_up 1" in lines
    assert [line for line in lines if line.startswith("pg_stat_database_xact_commit{datid=")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root takes the name of another")
def test_root_asks_under_the_name_of_postgresql(database: Cluster, tmp_path: Path) -> None:
    done = count(database.folder, tmp_path, ATTIC_POSTGRES_USER="postgres")
    assert (done.returncode, done.stderr) == (0, "")
    assert count(database.folder, tmp_path, ATTIC_POSTGRES_USER="nobody-of-that-name").returncode != 0


def test_figures_stay_as_they_were_where_the_database_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "attic-storage.prom").write_text("attic_storage_orphan_chunks 4\n")
    assert count(tmp_path, tmp_path).returncode != 0
    assert (tmp_path / "attic-storage.prom").read_text() == "attic_storage_orphan_chunks 4\n"
