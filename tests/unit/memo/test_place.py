"""Which part of the folder that GitLab caches belongs to which pipelines."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.ci_env import CiEnv
from pipelinegen.memo.place import cache_folder


@pytest.mark.parametrize(
    ("env", "left", "part"),
    [
        (CiEnv(), False, ""),
        (CiEnv(gitlab=True, ref_protected=True), False, ""),
        (CiEnv(gitlab=True, ref_protected=True), True, ""),
        (CiEnv(gitlab=True), False, "unprotected"),
        (CiEnv(gitlab=True), True, ""),
    ],
    ids=[
        "a laptop",
        "a protected ref",
        "a protected ref again",
        "an unprotected ref",
        "an unprotected ref with the cache of protected ones",
    ],
)
def test_an_unprotected_ref_has_a_part_of_its_own_unless_protected_ones_left_theirs(
    env: CiEnv, left: bool, part: str, tmp_path: Path
) -> None:
    if left:
        (tmp_path / "memo").mkdir()
        (tmp_path / "memo" / "1.memo.json.gz").write_bytes(b"")
    assert cache_folder(env, tmp_path) == tmp_path / part
