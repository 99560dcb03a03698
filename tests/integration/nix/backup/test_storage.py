"""Chunks that the database knows and the storage has not."""

from __future__ import annotations

import shutil

import pytest

from tests.integration.nix.backup.server import Server

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("postgresql")]


def test_a_storage_with_every_chunk_is_said_to_be_whole_and_orphans_are_listed(server: Server) -> None:
    (server.storage / "VERSION").write_text("1")
    orphan = server.chunk("ffff-1.chunk")
    orphan.parent.mkdir(parents=True)
    orphan.write_text("x")
    found = server.folder / "orphans"
    ran = server.succeed("verify-storage", "--orphans", found)
    assert "every chunk is there" in ran.said
    assert found.read_text() == "ffff-1.chunk\n"


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_paths_whose_chunks_are_lost_are_named_and_forgotten_when_told(server: Server, damage: str) -> None:
    chunk = server.chunk("0002-1.chunk")
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:5])
    before = server.cluster.content()
    ran = server.run("verify-storage")
    assert ran.status == 1
    assert ran.output == "c1 /nix/store/p2\n"
    assert server.cluster.content() == before
    ran = server.succeed("verify-storage", "--repair")
    assert ran.output == "c1 /nix/store/p2\n"
    assert server.cluster.sql("atticd", "SELECT store_path FROM object ORDER BY 1") == [
        "/nix/store/p1",
        "/nix/store/p3",
    ]
    assert server.cluster.sql("atticd", "SELECT id FROM nar ORDER BY 1") == ["1", "3"]
    assert "local:0002-1.chunk" not in server.cluster.sql("atticd", "SELECT remote_file_id FROM chunk")
    assert (server.running / "calls").read_text().split() == ["stop", "start", "is-active"]
    assert "every chunk is there" in server.succeed("verify-storage").said


def test_an_empty_bucket_is_taken_for_the_wrong_one_unless_told(server: Server) -> None:
    shutil.rmtree(server.storage)
    server.storage.mkdir()
    ran = server.run("verify-storage", "--repair")
    assert ran.status == 1
    assert "is this the right bucket and key?" in ran.said
    assert server.cluster.sql("atticd", "SELECT count(*) FROM object") == ["3"]
    server.succeed("verify-storage", "--repair", "--even-most")
    assert server.cluster.sql("atticd", "SELECT (SELECT count(*) FROM object) + (SELECT count(*) FROM chunk)") == ["0"]
    assert server.cluster.sql("atticd", "SELECT count(*) FROM cache") == ["2"]


def test_chunks_of_a_storage_that_is_gone_are_lost_when_told(server: Server) -> None:
    server.cluster.sql("atticd", "UPDATE chunk SET remote_file_id = 's3:r/old/' || id WHERE id IN (1, 2)")
    ran = server.succeed("verify-storage", "--repair")
    assert "2 chunks are in another storage" in ran.said
    assert server.succeed("verify-storage", "--repair", "--elsewhere").output == "c1 /nix/store/p1\n"


def test_a_storage_that_cannot_be_listed_says_nothing_about_chunks(server: Server) -> None:
    ran = server.run("verify-storage", "--repair", "--even-most", ATTIC_STORAGE="/nowhere/at/all", ATTIC_RETRIES="1")
    assert ran.status == 1
    assert "cannot be listed" in ran.said
    assert server.cluster.sql("atticd", "SELECT count(*) FROM object") == ["3"]
