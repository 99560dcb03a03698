"""Folders for secrets are made where a secret can also be written."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelinegen.errors import ToolError
from pipelinegen.private_files import ROOM_BYTES, private_folder, write_private


@pytest.fixture
def no_room() -> Iterator[None]:
    """Files cannot grow, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES // 2, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_private_file_is_nobody_elses_and_gone_afterwards() -> None:
    with private_folder() as folder:
        file = write_private(folder / "secret", "secret")
        assert file.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [one.name for one in folder.iterdir()] == ["secret"]
    assert not folder.exists()


def test_a_private_folder_is_not_where_artifacts_of_the_job_are_taken_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project/tmp").mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "project/tmp"))
    monkeypatch.delenv("CI_PROJECT_DIR", raising=False)
    with private_folder() as folder:
        assert folder.is_relative_to(tmp_path)
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path / "project"))
    with private_folder() as folder:
        assert not folder.is_relative_to(tmp_path / "project")


@pytest.mark.usefixtures("no_room")
def test_a_place_where_nothing_can_be_written_is_none() -> None:
    with pytest.raises(ToolError, match="no place"), private_folder():
        pass


@pytest.mark.processes
def test_what_a_killed_process_left_is_removed_by_the_next_and_what_the_living_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import time\n"
        "from pipelinegen.private_files import private_folder, write_private\n"
        "with private_folder() as folder:\n"
        "    print(write_private(folder / 'secret', 'secret'), flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        secret = Path(child.stdout.readline().decode().strip())
        with private_folder():
            assert secret.exists()
        child.send_signal(signal.SIGKILL)
        child.wait(20)
    assert secret.exists()
    (tmp_path / "pipelinegen-private-link").symlink_to(tmp_path / "elsewhere")
    with private_folder() as folder:
        assert sorted(one.name for one in tmp_path.iterdir()) == sorted([folder.name, "pipelinegen-private-link"])
