"""Copies in the second bucket, and what becomes of a backup that is killed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.nix.backup.conftest import keep_old, leftovers, new_identity, recipient_of
from tests.integration.nix.backup.server import Server

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("postgresql")]


def test_a_copy_is_encrypted_and_holds_the_dump(server: Server, identity: Path, tmp_path: Path) -> None:
    server.back_up()
    (name,) = server.names()
    assert server.names(server.second / "attic") == [name]
    sent = server.second / "attic" / f"{name}.sql.zst.age"
    assert sent.read_bytes().startswith(b"age-encryption.org")
    plain = tmp_path / "plain"
    subprocess.run(["age", "-d", "-i", str(identity), "-o", str(plain), str(sent)], check=True)
    assert plain.read_bytes() == server.source.read_bytes()
    assert b"keypair" not in (server.second / "attic" / f"{name}.json").read_bytes()
    assert leftovers(server.kept) == []
    figures = server.figures("attic-backup")
    assert figures["attic_backup_offsite_last_success_timestamp_seconds"] > time.time() - 60


def test_a_copy_that_is_there_is_not_sent_again(server: Server, identity: Path) -> None:
    server.back_up()
    before = {one.name: one.stat().st_mtime_ns for one in (server.second / "attic").iterdir()}
    assert "off-site already" in server.succeed("backup").said
    assert {one.name: one.stat().st_mtime_ns for one in (server.second / "attic").iterdir()} == before


def test_a_new_recipient_can_open_the_newest_copy_after_the_next_run(server: Server, identity: Path) -> None:
    server.back_up()
    second = new_identity(server.folder / "second-identity")
    server.settings["ATTIC_AGE_RECIPIENTS"] += f" {recipient_of(second)}"
    server.succeed("backup")
    for one in (identity, second):
        server.succeed("restore", "--offsite", "latest", "--identity", one, "--yes")


def test_a_copy_that_was_not_encrypted_goes_when_there_are_recipients(server: Server) -> None:
    server.offsite()
    server.back_up()
    (name,) = server.names()
    assert (server.second / "attic" / f"{name}.sql.zst").exists()
    server.offsite(recipient_of(new_identity(server.folder / "identity")))
    server.succeed("backup")
    there = {one.name for one in (server.second / "attic").iterdir()}
    assert there == {f"{name}.sql.zst.age", f"{name}.json"}


def test_copies_off_site_are_kept_for_as_long_or_left_to_the_bucket(server: Server) -> None:
    server.offsite()
    old = keep_old(server, list(range(1, 41)), server.second / "attic")
    server.back_up(ATTIC_OFFSITE_PRUNE="0")
    assert len(server.names(server.second / "attic")) == 41
    server.succeed("backup")
    assert set(server.names(server.second / "attic")) & set(old) == set(old[:30])
    assert not (server.second / "attic" / f"{old[35]}.sql.zst").exists()


def test_sending_is_tried_again(server: Server, identity: Path) -> None:
    server.tool(
        "rclone",
        f'case "$*" in *copyto*) n=$(cat "$STATE/n" 2>/dev/null || echo 0); echo $((n + 1)) >"$STATE/n"\n'
        f'[ "$n" -ge 2 ] || exit 1 ;; esac\nexec {server.real_tool("rclone")} "$@"',
    )
    ran = server.back_up()
    assert "attempt 2 of 4 failed" in ran.said
    assert server.names(server.second / "attic") == server.names()


@pytest.mark.parametrize("kind", ["unreachable", "no room", "cuts off", "no key"])
def test_a_second_bucket_that_is_no_good_fails_the_run_and_the_dump_is_kept(
    server: Server, identity: Path, kind: str
) -> None:
    secret = "s3cret-k3y"
    key = server.folder / "key"
    key.write_text(f"AWS_ACCESS_KEY_ID=id\nAWS_SECRET_ACCESS_KEY='{secret}'\nOTHER=$(touch {server.folder}/never)\n")
    server.settings["ATTIC_RETRIES"] = "2"
    match kind:
        case "unreachable":
            server.settings |= {
                "ATTIC_OFFSITE_SECRETS_FILE": str(key),
                "RCLONE_CONFIG_OFFSITE_TYPE": "s3",
                "RCLONE_CONFIG_OFFSITE_PROVIDER": "Other",
                "RCLONE_CONFIG_OFFSITE_ENDPOINT": "http://127.0.0.1:9",
            }
            rclone = server.real_tool("rclone")
            server.tool("rclone", f'echo "$*" >>"$STATE/argv"; env >"$STATE/environment"; exec {rclone} "$@"')
            server.tool("age", f'env >"$STATE/of-others"; exec {server.real_tool("age")} "$@"')
        case "no room":
            server.settings["RCLONE_CONFIG_OFFSITE_REMOTE"] = "/dev/full"
        case "cuts off":
            rclone = server.real_tool("rclone")
            server.tool(
                "rclone",
                f'{rclone} "$@" || exit; case "$*" in *copyto*) '
                f"find {server.second} -type f -exec truncate -s 10 {{}} + ;; esac",
            )
        case "no key":
            server.settings["ATTIC_OFFSITE_SECRETS_FILE"] = str(server.folder / "absent")
    server.dump()
    ran = server.run("backup")
    assert ran.status == 1
    assert len(server.names()) == 1
    assert ("cannot read the secrets" if kind == "no key" else "is kept here and is not off-site") in ran.said
    assert server.figures("attic-backup")["attic_backup_last_success_timestamp_seconds"] > 0
    assert server.figures("attic-backup")["attic_backup_offsite_last_success_timestamp_seconds"] == 0
    assert server.figures("attic-backup")["attic_backup_last_run_failed"] == 1
    assert leftovers(server.kept) == []
    assert not (server.folder / "never").exists()
    if kind == "unreachable":
        assert secret in (server.running / "environment").read_text()
        assert secret not in (server.running / "argv").read_text() + ran.said
        assert secret not in (server.running / "of-others").read_text()


KILLED = [
    *(("cp", 1), ("mv", 1), ("mv", 2), ("age", 1), ("sync", 1), ("sync", 2)),
    *(("rclone", number) for number in range(1, 6)),
]


@pytest.mark.parametrize(("command", "number"), KILLED, ids=str)
def test_a_backup_that_is_killed_is_finished_by_the_next(
    server: Server, identity: Path, command: str, number: int
) -> None:
    server.dump()
    server.kill_at(command, number)
    assert server.run("backup").status == -9
    for name in server.names():
        assert (server.kept / f"{name}.sql.zst").read_bytes() == server.source.read_bytes()
    server.no_longer(command)
    server.succeed("backup")
    (name,) = server.names()
    assert server.names(server.second / "attic") == [name]
    assert leftovers(server.kept) == []
    server.succeed("restore", "--offsite", name, "--identity", identity, "--yes")
