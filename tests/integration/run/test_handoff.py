"""Derivations and work go through the folder whole, or with a clear error."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelinegen import nix
from pipelinegen.errors import CommandError, TransientError, UsageError
from pipelinegen.plan.model import Work
from pipelinegen.run.handoff import import_derivations, read_work, rooted, write_handoff
from tests.integration.run.conftest import NIX_CONFIG, Store

pytestmark = pytest.mark.nix

WORK = Work(flake="git+file:///repo")


def forget(store: Store, *drv_paths: str) -> None:
    """Take derivations out of the store, referrers first."""
    for drv_path in drv_paths:
        store.delete(drv_path)


def test_what_is_written_is_read_and_imported_by_a_store_that_lacks_it(store: Store, tmp_path: Path) -> None:
    drvs = store.instantiate("app", "lib")
    written = write_handoff(tmp_path / "handoff", WORK, [drvs["app"]])
    work = read_work(tmp_path / "handoff")
    assert work == written
    forget(store, drvs["app"], drvs["lib"])
    assert not store.valid(drvs["lib"])
    assert import_derivations(tmp_path / "handoff", work, [drvs["app"]])
    assert store.valid(drvs["app"])
    assert store.valid(drvs["lib"])


def test_nothing_is_imported_that_is_there(store: Store, tmp_path: Path) -> None:
    drvs = store.instantiate("app")
    work = write_handoff(tmp_path, WORK, list(drvs.values()))
    (tmp_path / "derivations.export.gz").unlink()
    assert not import_derivations(tmp_path, work, list(drvs.values()))


def test_the_same_derivations_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    drvs = list(store.instantiate("app", "top", "two").values())
    for folder, order in (("one", drvs), ("two", [*reversed(drvs), drvs[0]])):
        write_handoff(tmp_path / folder, WORK, order)
    for name in ("work.json", "derivations.export.gz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_without_derivations_there_is_no_export(store: Store, tmp_path: Path) -> None:
    work = write_handoff(tmp_path, WORK, [])
    assert work.derivations is None
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["work.json"]
    assert not import_derivations(tmp_path, work, [])


def test_an_export_too_long_for_one_command_line_is_whole(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nix, "ARGUMENT_BYTES", 200)
    drvs = store.instantiate("top", "app", "local", "lib")
    work = write_handoff(tmp_path, WORK, [drvs["top"]])
    forget(store, drvs["top"], drvs["app"], drvs["local"], drvs["lib"])
    assert import_derivations(tmp_path, work, [drvs["top"]])
    assert all(store.valid(drv) for drv in drvs.values())


def cut_packed(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_inside(data: bytes) -> bytes:
    plain = gzip.decompress(data)
    return gzip.compress(plain[: len(plain) // 2])


def flip(data: bytes) -> bytes:
    plain = bytearray(gzip.decompress(data))
    plain[len(plain) // 2] ^= 0xFF
    return gzip.compress(bytes(plain))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut_packed, id="cut off"),
        pytest.param(cut_inside, id="cut off before it was packed"),
        pytest.param(flip, id="one byte flipped"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"nonsense", id="something else"),
        pytest.param(lambda _: gzip.compress(bytes(8)), id="an export of nothing"),
    ],
)
def test_a_damaged_export_is_a_clear_error(store: Store, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    drvs = store.instantiate("app", "lib")
    work = write_handoff(tmp_path, WORK, [drvs["app"]])
    file = tmp_path / "derivations.export.gz"
    file.write_bytes(damage(file.read_bytes()))
    forget(store, drvs["app"], drvs["lib"])
    with pytest.raises(UsageError, match="the export of the derivations is") as raised:
        import_derivations(tmp_path, work, [drvs["app"]])
    assert raised.value.where == str(file)
    assert 'handoff.derivations = "evaluate"' in (raised.value.hint or "")
    assert not store.valid(drvs["app"])


def test_no_room_for_the_derivations_is_no_fault_of_the_export(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drvs = store.instantiate("lib")
    work = write_handoff(tmp_path, WORK, list(drvs.values()))
    forget(store, *drvs.values())
    tools = tmp_path / "bin"
    tools.mkdir()
    real = shutil.which("nix-store")
    full = "echo 'error: writing to file: No space left on device' >&2; exit 1"
    (tools / "nix-store").write_text(f'#!/bin/sh\n[ "$1" != --import ] || {{ {full}; }}\nexec {real} "$@"\n')
    (tools / "nix-store").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(TransientError) as raised:
        import_derivations(tmp_path, work, list(drvs.values()))
    assert "No space left" in (raised.value.why or "")


def test_a_missing_export_is_a_clear_error(store: Store, tmp_path: Path) -> None:
    drvs = store.instantiate("lib")
    work = write_handoff(tmp_path, WORK, list(drvs.values()))
    (tmp_path / "derivations.export.gz").unlink()
    forget(store, *drvs.values())
    with pytest.raises(UsageError, match="missing or damaged") as raised:
        import_derivations(tmp_path, work, list(drvs.values()))
    assert "run the parent pipeline's `inspect` again" in (raised.value.hint or "")
    assert 'handoff.derivations = "evaluate"' in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        pytest.param(None, "No such file", "where the artifact has expired", id="nothing there"),
        pytest.param("", "torn", "where the artifact has expired", id="empty"),
        pytest.param('{"format_version": "1.0", "flake"', "torn", "where the artifact has expired", id="cut off"),
        pytest.param('{"format_version": "2.0", "flake": "."}', "version '2.0'", "gitlab.image", id="a newer one"),
        pytest.param('{"format_version": "2.0", "x": 1}', "version '2.0'", "gitlab.image", id="a newer, other one"),
    ],
)
def test_work_that_cannot_be_read_is_a_clear_error(tmp_path: Path, text: str | None, why: str, hint: str) -> None:
    if text is not None:
        (tmp_path / "work.json").write_text(text)
    with pytest.raises(UsageError) as raised:
        read_work(tmp_path)
    assert raised.value.where == str(tmp_path / "work.json")
    assert why in (raised.value.why or "")
    assert hint in (raised.value.hint or "")


def test_somebody_whom_the_nix_daemon_does_not_trust_is_told_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drvs = store.instantiate("app", "lib")
    work = write_handoff(tmp_path, WORK, [drvs["app"]])
    store.empty()
    with daemon_that_trusts_nobody(store, monkeypatch), pytest.raises(CommandError) as raised:
        import_derivations(tmp_path, work, [drvs["app"]])
    assert "trusted-users" in (raised.value.hint or "")
    assert 'handoff.derivations = "evaluate"' in (raised.value.hint or "")


@contextlib.contextmanager
def daemon_that_trusts_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Nix daemon of this store for which we are anybody."""
    socket = store.root / "state" / "daemon-socket" / "socket"
    config = NIX_CONFIG + "trusted-users =\nallowed-users = *\n"
    with subprocess.Popen(["nix-daemon"], env={**os.environ, "NIX_CONFIG": config}) as daemon:
        try:
            for _ in range(100):
                if socket.exists():
                    break
                time.sleep(0.1)
            monkeypatch.setenv("NIX_REMOTE", "daemon")
            yield
        finally:
            monkeypatch.delenv("NIX_REMOTE")
            daemon.terminate()


def test_derivations_in_use_survive_the_garbage_collector(store: Store) -> None:
    drvs = store.instantiate("app", "lib")
    with rooted([drvs["app"]]):
        subprocess.run(["nix-store", "--gc"], check=True, capture_output=True)
        assert store.valid(drvs["lib"])
    subprocess.run(["nix-store", "--gc"], check=True, capture_output=True)
    assert not store.valid(drvs["lib"])
