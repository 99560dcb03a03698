"""Archives of store paths are those of Nix, to the byte."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelinegen import nar, process
from pipelinegen.errors import StepFailedError

pytestmark = pytest.mark.nix

Tree = bytes | tuple[bytes, bool] | dict[bytes, "Tree"]
"""The target of a link; content and whether it is a program; a folder."""

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 47} & set(name) and name not in {b".", b".."})
LEAVES = st.one_of(
    st.tuples(st.binary(max_size=40), st.booleans()),
    st.binary(min_size=1, max_size=20).filter(lambda target: 0 not in target),
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)


def write(path: bytes, tree: Tree) -> None:
    if isinstance(tree, bytes):
        os.symlink(tree, path)  # noqa: PTH211
    elif isinstance(tree, tuple):
        content, program = tree
        with open(path, "wb") as file:  # noqa: PTH123  # names are bytes
            file.write(content)
        os.chmod(path, 0o755 if program else 0o644)  # noqa: PTH101
    else:
        os.mkdir(path)  # noqa: PTH102
        for name, inner in tree.items():
            write(path + b"/" + name, inner)


def dump(path: Path) -> bytes:
    return process.run(["nix-store", "--dump", path]).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("nix-store") is None:
        pytest.skip("there is no Nix here")
    return tmp_path_factory.mktemp("nar")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=TREES, size=st.sampled_from([1, 7, 64, nar.CHUNK_BYTES]))
def test_an_archive_is_that_of_nix_for_any_tree(folder: Path, tree: Tree, size: int) -> None:
    path = folder / "tree"
    try:
        write(os.fsencode(path), tree)
        assert b"".join(nar.chunks(path, size=size)) == dump(path)
    finally:
        remove(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(os.fsencode(path))
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("mode", [0o700, 0o610, 0o655, 0o444], ids=oct)
def test_a_program_is_what_its_owner_may_run(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    path.chmod(mode)
    assert b"".join(nar.chunks(path)) == dump(path)


def test_folders_may_lie_in_each_other_more_deeply_than_functions_call_each_other(tmp_path: Path) -> None:
    path = tmp_path / "deep"
    folders = [path, *(path.joinpath(*["d"] * depth) for depth in range(1, 1500))]
    try:
        for folder in folders:
            folder.mkdir()
        assert hashlib.sha256(b"".join(nar.chunks(path))).digest() == hashlib.sha256(dump(path)).digest()
    finally:
        # Those who clean up after tests do call functions in each other.
        for folder in reversed(folders):
            folder.rmdir()


def test_many_small_files_make_few_large_pieces(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"file {number}").write_bytes(bytes(number % 400))
    sizes = [len(piece) for piece in nar.chunks(tmp_path, size=1 << 16)]
    assert max(sizes) <= 1 << 16
    assert all(size > 1 << 15 for size in sizes[:-1])


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in nar.chunks(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total > 64 << 20
    assert peak < 4 << 20


def begun(path: Path) -> Iterator[bytes]:
    """The archive of a file of which some was read already."""
    pieces = nar.chunks(path, size=1000)
    next(pieces)
    next(pieces)
    return pieces


@pytest.mark.parametrize("size", [2000, 20_000], ids=["shrunk", "grown"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10_000))
    pieces = begun(path)
    os.truncate(path, size)
    with pytest.raises(StepFailedError, match="changed while it was read") as caught:
        list(pieces)
    assert caught.value.where == str(path)


def test_a_pipe_is_an_error_that_names_it_and_nobody_waits_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    caught: list[StepFailedError] = []

    def read() -> None:
        try:
            list(nar.chunks(tmp_path))
        except StepFailedError as error:
            caught.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert [error.where for error in caught] == [str(tmp_path / "pipe")]


def test_what_is_not_there_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError) as caught:
        list(nar.chunks(tmp_path / "nothing"))
    assert caught.value.where == str(tmp_path / "nothing")
    assert caught.value.why == "No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0)
    with pytest.raises(StepFailedError) as caught:
        list(nar.chunks(tmp_path))
    assert caught.value.where == str(path)
    assert caught.value.why == "Permission denied"
