"""Dumps are checked and kept under names of their own, and the good ones stay."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.nix.backup.conftest import keep_old, leftovers
from tests.integration.nix.backup.server import DAY, Server

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("postgresql")]


def test_a_dump_is_kept_under_the_time_it_was_made_with_the_rows_of_every_table(server: Server) -> None:
    server.back_up()
    (name,) = server.names()
    manifest = server.manifest(name)
    assert manifest["tables"] == {"cache": 2, "chunk": 6, "chunkref": 6, "nar": 3, "object": 3, "seaql_migrations": 1}
    assert (server.kept / f"{name}.sql.zst").read_bytes() == server.source.read_bytes()
    assert (server.kept / f"{name}.sql.zst").stat().st_mode & 0o077 == 0
    figures = server.figures("attic-backup")
    assert figures["attic_backup_last_success_timestamp_seconds"] > time.time() - 60
    assert figures["attic_backup_size_bytes"] == manifest["size"]
    assert figures["attic_backup_offsite_enabled"] == 0
    assert figures["attic_backup_last_run_failed"] == 0


def test_the_same_dump_twice_is_kept_once(server: Server) -> None:
    server.back_up()
    assert "kept already" in server.succeed("backup").said
    assert len(server.names()) == 1


def broken(server: Server, kind: str) -> str:
    """Spoils tonight's dump; gives what must be said of it."""
    whole = server.source.read_bytes()
    text = subprocess.run(["zstd", "-dc", str(server.source)], capture_output=True, check=True).stdout
    match kind:
        case "cut off in the archive":
            server.source.write_bytes(whole[: len(whole) // 2])
            return "not a whole dump"
        case "cut off before it was packed":
            server.source.write_bytes(text[: text.index(b"\\.\n")])
            return "its end is missing"
        case "empty":
            server.source.write_bytes(b"")
            return "is empty"
        case "of another database":
            server.source.write_bytes(text.replace(b"public.chunkref", b"public.other"))
            return "no table chunkref"
        case "with a command for psql":
            server.source.write_bytes(text.replace(b"CREATE TABLE", b"\\! touch never\nCREATE TABLE", 1))
            return "pg_dump never writes such a line"
        case "gone":
            server.source.unlink()
            return "did pg_dump fail?"
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "cut off in the archive",
        "cut off before it was packed",
        "empty",
        "of another database",
        "with a command for psql",
        "gone",
    ],
)
def test_a_dump_that_is_no_good_is_refused_and_the_one_before_stays(server: Server, kind: str) -> None:
    server.back_up()
    good = server.names()
    before = server.figures("attic-backup")["attic_backup_last_success_timestamp_seconds"]
    server.dump(age=-5)
    expected = broken(server, kind)
    ran = server.run("backup")
    assert ran.status == 1
    assert expected in ran.said
    assert server.names() == good
    assert leftovers(server.kept) == []
    figures = server.figures("attic-backup")
    assert figures["attic_backup_last_run_failed"] == 1
    assert figures["attic_backup_last_success_timestamp_seconds"] == before


def test_a_dump_that_is_too_old_is_kept_and_reported(server: Server) -> None:
    server.dump(age=3 * DAY)
    ran = server.run("backup")
    assert ran.status == 1
    assert "dumping has stopped" in ran.said
    assert len(server.names()) == 1
    made = server.figures("attic-backup")["attic_backup_last_success_timestamp_seconds"]
    assert time.time() - made == pytest.approx(3 * DAY, abs=60)


@pytest.fixture
def small_disk(server: Server) -> Iterator[Path]:
    """A disk with little room for the kept dumps."""
    server.kept.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(server.kept)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no small disk can be mounted here")
    yield server.kept
    subprocess.run(["umount", "-l", str(server.kept)], check=True)


def test_a_full_disk_fails_the_run_and_leaves_what_is_kept(server: Server, small_disk: Path) -> None:
    server.back_up()
    good = server.names()
    server.cluster.sql(
        "atticd", "INSERT INTO nar (state, nar_hash) SELECT 'V', md5(n::text) FROM generate_series(1, 9000) n"
    )
    server.dump(age=-5)
    ran = server.run("backup")
    assert ran.status == 1
    assert "is the disk full?" in ran.said
    assert server.names() == good
    assert leftovers(small_disk) == []
    server.succeed(
        "restore", "--file", server.kept / f"{good[0]}.sql.zst", "--yes", ATTIC_BACKUP_FOLDER=str(server.folder / "k")
    )


def test_dumps_older_than_the_days_go_when_as_many_newer_ones_are_there(server: Server) -> None:
    old = keep_old(server, list(range(1, 41)))
    server.back_up()
    assert set(server.names()) & set(old) == set(old[:30])
    assert len(server.names()) == 31
    assert not (server.kept / f"{old[35]}.sql.zst").exists()
    assert server.figures("attic-backup")["attic_backup_kept_count"] == 31


def test_no_dump_goes_after_months_without_any(server: Server) -> None:
    old = keep_old(server, list(range(200, 220)))
    server.back_up()
    assert set(old) < set(server.names())


@pytest.mark.parametrize("years", [10, -10], ids=["forwards", "backwards"])
def test_no_dump_goes_when_the_clock_jumps(server: Server, years: int) -> None:
    old = keep_old(server, list(range(1, 25)))
    server.dump(age=-years * 365 * DAY)
    server.run("backup")
    assert len(server.names()) == 25
    assert set(old) < set(server.names())
    server.back_up()
    assert len(server.names()) == 26


def test_dumps_of_a_database_that_was_lost_do_not_push_out_the_good_ones(server: Server) -> None:
    good = keep_old(server, list(range(40, 75)))
    keep_old(server, list(range(1, 40)), caches=0)
    server.back_up()
    assert set(good) & set(server.names()) == set(good[:29])
