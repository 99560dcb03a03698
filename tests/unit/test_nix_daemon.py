"""When Nix listens to this user, as far as no process is needed to know it."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from pipelinegen.nix_daemon import _listed, listens_to_us

GROUP = grp.getgrgid(os.getegid()).gr_name


@pytest.mark.parametrize("remote", ["", "auto", "local", "ssh-ng://builder", "/some/store", "local?root=/x"])
def test_a_store_that_is_ours_or_far_away_has_no_daemon_of_this_machine(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "daemon-socket").mkdir()
    (tmp_path / "daemon-socket" / "socket").touch()
    monkeypatch.setenv("NIX_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("NIX_REMOTE", remote)
    assert listens_to_us()


def test_without_a_socket_there_is_no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_STATE_DIR", str(tmp_path / "absent"))
    for name in ("NIX_REMOTE", "NIX_DAEMON_SOCKET_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert listens_to_us()


def test_a_socket_that_this_user_may_not_look_for_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIX_REMOTE", raising=False)
    monkeypatch.setenv("NIX_STATE_DIR", "/nowhere/at/all")
    # For root, too, a name that is too long is refused as a folder of others is for everybody else.
    monkeypatch.setenv("NIX_DAEMON_SOCKET_PATH", f"/{'x' * 300}")
    assert listens_to_us()


@pytest.mark.parametrize(
    ("users", "listed"),
    [
        ("*", True),
        (f"@{GROUP}", True),
        ("someone-else @no-such-group-anywhere", False),
        ("", False),
        (f"someone-else @no-such-group-anywhere @{GROUP}", True),
    ],
    ids=["everybody", "group", "others", "nobody", "the last of several"],
)
def test_a_list_of_trusted_users(users: str, listed: bool) -> None:
    assert _listed(users) is listed
