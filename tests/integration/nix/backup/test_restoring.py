"""The way back: the same content, or nothing is changed; and the monthly trial of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.nix.backup.conftest import leftovers, new_identity
from tests.integration.nix.backup.server import DAY, Server

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("postgresql")]


@pytest.mark.parametrize("options", ["-C", "", "-C --no-owner"], ids=["as by default", "without -C", "without owners"])
def test_a_database_that_was_dropped_is_the_same_after_the_restore(server: Server, options: str) -> None:
    server.cluster.sql("atticd", "UPDATE nar SET holders_count = 0; ALTER DATABASE atticd SET work_mem = '8MB'")
    before = server.cluster.content()
    server.dump(options=options)
    server.succeed("backup")
    server.cluster.clear()
    ran = server.run("restore", "--latest")
    if "--no-owner" in options:
        assert "do not belong to atticd" in ran.said
        assert server.cluster.databases() == set()
        return
    assert ran.status == 0, ran.said
    assert server.cluster.content() == before
    assert server.cluster.databases() == {"atticd"}
    assert (server.running / "calls").read_text().split() == ["stop", "start", "is-active"]
    assert leftovers(server.kept) == []


def test_a_dump_that_is_here_is_listed_and_restored_without_the_keys_of_any_bucket(server: Server) -> None:
    server.back_up()
    server.offsite()
    absent = str(server.folder / "absent")
    server.settings |= {"ATTIC_OFFSITE_SECRETS_FILE": absent, "ATTIC_STORAGE_SECRETS_FILE": absent}

    listed = server.run("restore", "--list")
    assert (listed.status, listed.output.split()) == (1, [*server.names(), "here"])
    assert f"cannot read the secrets in {absent}" in listed.said
    server.succeed("restore", "--latest", "--yes")


def test_nobody_holds_anything_in_a_restored_database(server: Server) -> None:
    assert server.cluster.sql("atticd", "SELECT sum(holders_count) FROM nar") == ["3"]
    server.back_up()
    server.succeed("restore", "--latest", "--yes")
    assert server.cluster.sql("atticd", "SELECT sum(holders_count) FROM nar") == ["0"]


def test_a_database_with_content_is_replaced_only_when_told_and_is_kept(server: Server) -> None:
    server.back_up()
    server.add_paths(1)
    now = server.cluster.content()
    ran = server.run("restore", "--latest")
    assert ran.status == 1
    assert "the database atticd has 2 caches and 4 paths" in ran.said
    assert server.cluster.content() == now
    assert not (server.running / "calls").exists()
    server.succeed("restore", "--latest", "--yes")
    assert server.cluster.sql("atticd", "SELECT count(*) FROM object") == ["3"]
    (kept,) = server.cluster.databases() - {"atticd"}
    assert kept.startswith("atticd_before_")
    assert server.cluster.content(kept) == now


def test_a_database_that_somebody_is_connected_to_is_replaced_all_the_same(server: Server) -> None:
    server.back_up()
    environment = {**os.environ, **server.cluster.environment}
    with subprocess.Popen(
        ["psql", "-d", "atticd", "-c", "SELECT pg_sleep(600)"], env=environment, stdout=-3, stderr=-3
    ) as connected:
        while not server.cluster.sql(
            "postgres", "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6%' AND datname = 'atticd'"
        ):
            time.sleep(0.05)
        server.succeed("restore", "--latest", "--yes")
        assert connected.wait(10) != 0


def test_dumps_here_and_off_site_are_listed(server: Server, identity: Path) -> None:
    server.back_up()
    (name,) = server.names()
    assert server.succeed("restore", "--list").output == f"{name} here\n{name} off-site\n"


def test_everything_lost_is_restored_from_the_copy_alone(server: Server, identity: Path) -> None:
    server.back_up()
    server.cluster.sql("atticd", "UPDATE nar SET holders_count = 0")
    before = server.cluster.content()
    server.cluster.clear()
    shutil.rmtree(server.kept)
    server.source.unlink()
    server.succeed("restore", "--offsite", "latest", "--identity", identity)
    assert server.cluster.content() == before


@pytest.mark.parametrize("kind", ["another identity", "no identity", "changed there", "no such copy", "cut off here"])
def test_what_cannot_be_used_changes_nothing(server: Server, identity: Path, kind: str) -> None:
    server.back_up()
    (name,) = server.names()
    before = server.cluster.content()
    arguments: list[object] = ["--offsite", name, "--identity", identity]
    match kind:
        case "another identity":
            arguments[3] = new_identity(server.folder / "other")
            expected = "cannot be decrypted"
        case "no identity":
            arguments = arguments[:2]
            expected = "--identity FILE is needed"
        case "changed there":
            with (server.second / "attic" / f"{name}.sql.zst.age").open("r+b") as file:
                file.seek(300)
                file.write(b"!")
            expected = "is not what was sent"
        case "no such copy":
            arguments[1] = "atticd-20200101T000000Z-00000000"
            expected = "there is no such copy off-site"
        case _:
            kept = server.kept / f"{name}.sql.zst"
            kept.write_bytes(kept.read_bytes()[:100])
            arguments = ["--latest"]
            expected = "is not what its manifest says"
    ran = server.run("restore", *arguments, "--yes")
    assert ran.status == 1
    assert expected in ran.said
    assert server.cluster.content() == before
    assert server.cluster.databases() == {"atticd"}
    assert not (server.running / "calls").exists()
    assert leftovers(server.kept) == []


@pytest.mark.parametrize("there", [True, False], ids=["there was one", "there was none"])
def test_a_server_that_does_not_come_up_gets_its_old_database_back(server: Server, there: bool) -> None:
    server.back_up()
    server.add_paths(1)
    before = server.cluster.content()
    if not there:
        server.cluster.clear()
    ran = server.run("restore", "--latest", "--yes", ATTIC_HEALTH_COMMAND="false")
    assert ran.status == 1
    assert "does not come up" in ran.said
    assert server.cluster.databases() == ({"atticd"} if there else set())
    if there:
        assert server.cluster.content() == before
    assert (server.running / "active").exists()


@pytest.mark.parametrize(
    ("command", "number"), [*(("psql", one) for one in (6, 7, 8, 11, 12)), ("systemctl", 1), ("systemctl", 2)], ids=str
)
def test_a_restore_that_is_killed_leaves_the_old_or_the_new_and_can_be_run_again(
    server: Server, command: str, number: int
) -> None:
    server.cluster.sql("atticd", "UPDATE nar SET holders_count = 0")
    server.back_up()
    new = server.cluster.content()
    server.add_paths(1)
    old = server.cluster.content()
    own = (server.folder / "tools" / "systemctl").read_text()
    if command == "systemctl":
        server.tool(command, f'[ "$(wc -l <"$STATE/calls")" != {number} ] || kill -9 0\n{own}')
        (server.running / "calls").write_text("\n")
    else:
        # Where another user runs psql, that one cannot count.
        command = "setpriv" if server.cluster.user else command
        server.kill_at(command, number)
    assert server.run("restore", "--latest", "--yes").status == -9
    assert server.cluster.content() in (old, new)
    server.no_longer(command)
    server.tool("systemctl", own)
    server.succeed("restore", "--latest", "--yes")
    assert server.cluster.content() == new
    assert (server.running / "active").exists()
    assert "atticd_restoring" not in server.cluster.databases()
    assert leftovers(server.kept) == []


@pytest.mark.parametrize("where", ["here", "off-site", "off-site, without the identity"])
def test_a_drill_restores_on_trial_and_reads_chunks(server: Server, where: str, request: pytest.FixtureRequest) -> None:
    more = {}
    if where != "here":
        identity = request.getfixturevalue("identity")
        more = {"ATTIC_AGE_IDENTITY": str(identity)} if where == "off-site" else {}
    server.back_up()
    before = server.cluster.content()
    ran = server.succeed("drill", **more)
    assert "can be restored" in ran.said
    assert ("without an identity" in ran.said) == (where == "off-site, without the identity")
    figures = server.figures("attic-drill")
    assert figures["attic_drill_last_run_failed"] == 0
    assert figures["attic_drill_last_success_timestamp_seconds"] > time.time() - 60
    assert figures["attic_drill_read_chunks"] == 6
    assert server.cluster.content() == before
    assert server.cluster.databases() == {"atticd"}
    assert leftovers(server.kept) == []


@pytest.mark.parametrize(
    "kind", ["wrong rows", "lost chunk", "changed chunk", "too old", "copy gone", "forged", "no room", "none"]
)
def test_a_drill_reports_what_is_wrong(server: Server, identity: Path, kind: str) -> None:
    if kind == "too old":
        server.dump(age=3 * DAY)
        server.run("backup")
    elif kind != "none":
        server.back_up()
    match kind:
        case "wrong rows":
            for folder in (server.second / "attic", server.kept):
                file = folder / f"{server.names()[0]}.json"
                file.write_text(file.read_text().replace('"object": 3', '"object": 4'))
            expected = "the rows of its tables are"
        case "lost chunk":
            server.chunk("0001-1.chunk").unlink()
            expected = "1 of 6 chunks are lost"
        case "changed chunk":
            server.chunk("0002-2.chunk").write_text("something else")
            expected = "1 of 6 chunks are lost"
        case "forged":
            forge(server, "ALTER ROLE atticd CREATEROLE")
            expected = "is not what was kept here"
        case "no room":
            server.tool("df", "echo Avail; echo 1000000")
            expected = "there is no room for a second database: 1000000 bytes are free"
        case "copy gone":
            shutil.rmtree(server.second / "attic")
            expected = "there is no copy off-site"
        case "too old":
            expected = "too old"
        case _:
            expected = "there is no copy off-site"
    ran = server.run("drill", ATTIC_AGE_IDENTITY=str(identity))
    assert ran.status == 1
    assert expected in ran.said
    assert server.figures("attic-drill")["attic_drill_last_run_failed"] == 1
    assert server.figures("attic-drill")["attic_drill_last_success_timestamp_seconds"] == 0
    assert server.cluster.databases() == {"atticd"}
    assert server.cluster.sql("postgres", "SELECT rolcreaterole FROM pg_roles WHERE rolname = 'atticd'") == ["f"]


def forge(server: Server, statement: str) -> None:
    """Replace the copy off-site as somebody would who has the key of that bucket; recipients are no secret."""
    (name,) = server.names()
    copy = server.second / "attic" / f"{name}.sql.zst.age"
    script = subprocess.run(["zstd", "-dc", str(server.source)], capture_output=True, check=True).stdout
    forged = server.folder / "forged.sql.zst"
    end = b"-- PostgreSQL database dump complete"
    script = script.replace(end, f"DO $$ BEGIN {statement}; END $$;\n".encode() + end)
    subprocess.run(["zstd", "-q", "-o", str(forged)], input=script, check=True)
    subprocess.run(["age", "-r", server.settings["ATTIC_AGE_RECIPIENTS"], "-o", str(copy), str(forged)], check=True)
    manifest = json.loads((server.second / "attic" / f"{name}.json").read_text())
    manifest["sha256"] = hashlib.sha256(forged.read_bytes()).hexdigest()
    manifest["copy"] |= {"sha256": hashlib.sha256(copy.read_bytes()).hexdigest(), "size": copy.stat().st_size}
    (server.second / "attic" / f"{name}.json").write_text(json.dumps(manifest))


def test_a_chunk_that_was_collected_since_the_backup_is_no_loss(server: Server) -> None:
    server.back_up()
    server.chunk("0001-1.chunk").unlink()
    server.cluster.sql(
        "atticd", "DELETE FROM object WHERE nar_id = 1; DELETE FROM nar WHERE id = 1; DELETE FROM chunk WHERE id = 1"
    )
    assert (
        "5 chunks read" in server.succeed("drill").said or server.figures("attic-drill")["attic_drill_lost_chunks"] == 0
    )
