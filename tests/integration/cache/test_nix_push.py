"""What pushing through Nix reports, and how its refusals are told apart, in every version of Nix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelinegen import local_store, process
from pipelinegen.cache.model import Outcome, PushProgress
from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.errors import CredentialsError, StepFailedError, TransientError
from tests.integration.cache.serving import CacheServer, serving

pytestmark = pytest.mark.nix

EXPRESSION = """
let make = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
};
in rec { lib = make "lib" "echo lib > $out"; app = make "app" "echo ${lib} > $out"; }
"""


@pytest.fixture
def paths(nix_bin: Path, tmp_path: Path) -> tuple[str, str, str]:
    """`lib`, `app` that refers to it, and the derivation of `app`."""
    file = tmp_path / "paths.nix"
    file.write_text(EXPRESSION)
    lib, app = process.run(["nix-build", "--no-out-link", file, "-A", "lib", "-A", "app"]).text.split()
    return lib, app, process.run(["nix-instantiate", file, "-A", "app"]).text.strip()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CacheServer]:
    with serving(tmp_path / "served") as made:
        yield made


def cache(url: str, **settings: object) -> NixStoreCache:
    return NixStoreCache("ci", CacheConfig.model_validate({"url": url, "writers": WriterClass.PROTECTED, **settings}))


def test_each_path_of_the_closures_is_reported(paths: tuple[str, str, str], tmp_path: Path) -> None:
    lib, app, _ = paths
    made = cache(f"file://{tmp_path / 'cache'}")
    assert {one.path: one.outcome for one in made.push([lib]).paths} == {lib: Outcome.PUSHED}
    seen: list[PushProgress] = []
    report = made.push([app], on_progress=seen.append)
    assert {one.path: one.outcome for one in report.paths} == {lib: Outcome.PRESENT, app: Outcome.PUSHED}
    assert [one.path for one in report.paths] == sorted([lib, app])
    sizes = {info.path: info.nar_size for info in local_store.closure_infos([app])}
    assert {one.path: one.nar_bytes for one in report.paths} == sizes
    assert report.ok
    assert seen[-1] == PushProgress(paths_done=1, paths=1, bytes_done=sizes[app], bytes=sizes[app], jobs=1)
    again = made.push([app])
    assert {one.outcome for one in again.paths} == {Outcome.PRESENT}


def test_a_derivation_is_pushed_as_the_file_and_a_built_output_as_what_was_built(
    paths: tuple[str, str, str], tmp_path: Path
) -> None:
    lib, app, drv = paths
    outputs = cache(f"file://{tmp_path / 'outputs'}")
    assert {one.path for one in outputs.push([f"{drv}!out"]).paths} == {lib, app}
    assert outputs.query([app, drv])[0] == {app: True, drv: False}
    files = cache(f"file://{tmp_path / 'files'}")
    assert drv in {one.path for one in files.push([drv]).paths}
    assert files.query([app])[0] == {app: False}
    assert (tmp_path / "files" / f"{Path(drv).name[:32]}.narinfo").is_file()


def test_what_is_not_in_the_store_is_not_pushed(paths: tuple[str, str, str], tmp_path: Path) -> None:
    process.run(["nix-store", "--delete", paths[1]])
    with pytest.raises(StepFailedError, match="not in this machine's store"):
        cache(f"file://{tmp_path / 'cache'}").push([paths[1]])


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("given", [True, False], ids=["a-cache", "an-empty-place"])
def test_a_refused_upload_is_a_matter_of_credentials(
    paths: tuple[str, str, str], server: CacheServer, status: int, given: bool
) -> None:
    if given:
        cache(f"file://{server.folder}").push([paths[0]])
    server.put_status = status
    with pytest.raises(CredentialsError) as caught:
        cache(server.url).push([paths[1]])
    assert f"HTTP error {status}" in str(caught.value.why)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_reading_is_a_matter_of_credentials(
    paths: tuple[str, str, str], server: CacheServer, status: int
) -> None:
    server.status = server.put_status = status
    with pytest.raises(CredentialsError) as caught:
        cache(server.url).push([paths[1]])
    assert f"HTTP error {status}" in str(caught.value.why)
    answers, trouble = cache(server.url).query([paths[1]])
    assert answers == {paths[1]: None}
    assert f"HTTP error {status}" in str(trouble)


def test_a_place_that_takes_nothing_is_no_matter_of_credentials(
    paths: tuple[str, str, str], server: CacheServer
) -> None:
    server.put_status = 405
    with pytest.raises(StepFailedError):
        cache(server.url).push([paths[1]])


def test_a_cache_that_is_away_is_worth_a_second_try(paths: tuple[str, str, str]) -> None:
    with pytest.raises(TransientError):
        cache("http://127.0.0.1:1").push([paths[1]])


def test_touching_fetches_every_archive_of_the_closures(paths: tuple[str, str, str], server: CacheServer) -> None:
    lib, app, _ = paths
    cache(f"file://{server.folder}").push([app])
    assert cache(server.url).touch([app, lib]) == 2
    assert len({path for path in server.asked if path.startswith("/nar/")}) == 2
    server.asked.clear()
    assert cache(f"file://{server.folder}").touch([app]) == 0


@pytest.mark.parametrize("lost", ["nar", "narinfo"])
def test_touching_what_is_gone_fails(paths: tuple[str, str, str], server: CacheServer, lost: str) -> None:
    lib, app, _ = paths
    cache(f"file://{server.folder}").push([app])
    info = server.folder / f"{Path(lib).name[:32]}.narinfo"
    url = next(line for line in info.read_text().splitlines() if line.startswith("URL: ")).removeprefix("URL: ")
    (info if lost == "narinfo" else server.folder / url).unlink()
    with pytest.raises(StepFailedError, match="does not serve what it should keep"):
        cache(server.url).touch([app])
