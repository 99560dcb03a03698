"""Folders for secrets are made where a secret can also be written."""

from __future__ import annotations

import resource
from collections.abc import Iterator

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


@pytest.mark.usefixtures("no_room")
def test_a_place_where_nothing_can_be_written_is_none() -> None:
    with pytest.raises(ToolError, match="no place"), private_folder():
        pass
