"""What stores say of paths, here and elsewhere, in every version of Nix."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelinegen import local_store, nar, nix, process, remote_store
from pipelinegen.errors import CommandError, StepFailedError
from tests.integration.cache.serving import CacheServer, serving

pytestmark = pytest.mark.nix

EXPRESSION = """
let make = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
};
in rec {
  lib = make "lib" "echo lib > $out";
  app = make "app" "echo ${lib} $out > $out";
  fixed = derivation {
    name = "fixed"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo -n hi > $out" ];
    outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";
  };
  source = make "source" "echo ${(make "lib" "echo lib > $out").drvPath} > $out";
}
"""
FIXED_CA = "fixed:sha256:193s6bfb4ncbr0d3rpb177cac43b2z2h3afxi7grcswgci346hwg"


class Built:
    """Built paths: `app` refers to itself and to `lib`, `source` to a derivation."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "paths.nix"
        self.file.write_text(EXPRESSION)
        self.lib, self.app, self.fixed, self.source = process.run(
            ["nix-build", "--no-out-link", self.file, "-A", "lib", "-A", "app", "-A", "fixed", "-A", "source"]
        ).text.split()
        self.lib_drv, self.app_drv = process.run(["nix-instantiate", self.file, "-A", "lib", "-A", "app"]).text.split()
        self.key, public = folder / "key", folder / "key.public"
        process.run(["nix-store", "--generate-binary-cache-key", "ci-1", self.key, public])
        self.public = public.read_text("ascii").strip()


@pytest.fixture
def built(nix_bin: Path, tmp_path: Path) -> Built:
    return Built(tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CacheServer]:
    with serving(tmp_path / "served") as made:
        yield made


def put(built: Built, server: CacheServer, *paths: str) -> None:
    remote_store.copy(paths, to=f"file://{server.folder}?secret-key={built.key}")


def test_closures_come_with_all_that_nix_knows_references_first(built: Built) -> None:
    process.run(
        ["nix", "--extra-experimental-features", "nix-command", "store", "sign", "-k", built.key, built.app, built.lib]
    )
    lib, app = local_store.closure_infos([built.app])
    assert (lib.path, app.path) == (built.lib, built.app)
    assert set(app.references) == {built.app, built.lib}
    assert app.others == (built.lib,)
    assert app.deriver == built.app_drv
    assert app.signatures[0].startswith("ci-1:")
    assert app.ca is None
    archive = b"".join(nar.chunks(Path(built.app)))
    assert app.nar_size == len(archive)
    assert app.nar_hash == f"sha256:{hashlib.sha256(archive).hexdigest()}"


def test_how_a_path_is_named_by_its_content_is_known(built: Built) -> None:
    (fixed,) = local_store.closure_infos([built.fixed])
    assert fixed.ca == FIXED_CA


def test_a_derivation_means_the_file_and_what_it_is_made_of(built: Built) -> None:
    assert [info.path for info in local_store.closure_infos([built.app_drv])] == [built.lib_drv, built.app_drv]
    together = local_store.closure_infos([built.app, built.lib_drv])
    assert {info.path for info in together} == {built.lib, built.app, built.lib_drv}


def test_a_derivation_that_an_output_refers_to_belongs_to_its_closure(built: Built) -> None:
    assert [info.path for info in local_store.closure_infos([built.source])] == [built.lib_drv, built.source]


def test_no_paths_have_no_closure(built: Built) -> None:
    assert local_store.closure_infos([]) == []


def test_paths_that_are_not_here_are_named(built: Built) -> None:
    process.run(["nix-store", "--delete", built.fixed])
    with pytest.raises(StepFailedError) as caught:
        local_store.closure_infos([built.app, built.fixed])
    assert caught.value.where == built.fixed


def test_thousands_of_paths_fit_many_command_lines(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("ARGUMENT_BYTES", "MANY"):
        monkeypatch.setattr(nix, limit, 10)
    infos = local_store.closure_infos([built.source, built.app, built.lib, built.lib_drv])
    assert {info.path for info in infos} == {built.lib, built.app, built.lib_drv, built.source}


def test_another_store_says_what_it_holds_and_what_not(built: Built, server: CacheServer, tmp_path: Path) -> None:
    put(built, server, built.app, built.source)
    asked = [built.app, built.fixed, built.lib_drv, built.app_drv]
    found = remote_store.infos(asked, store=server.url, memory=tmp_path / "memory")
    assert [found[path] is not None for path in asked] == [True, False, True, False]
    here = {info.path: info for info in local_store.closure_infos([built.app, built.source])}
    app = found[built.app]
    assert app is not None
    assert app.model_copy(update={"signatures": ()}) == here[built.app]
    assert app.signatures[0].startswith("ci-1:")
    assert remote_store.absent_paths(asked, store=server.url) == [built.fixed, built.app_drv]


def test_what_was_asked_in_one_question_is_not_asked_again(built: Built, server: CacheServer, tmp_path: Path) -> None:
    put(built, server, built.app)
    memory = tmp_path / "memory"
    first = remote_store.infos([built.app, built.fixed], store=server.url, memory=memory)
    server.asked.clear()
    assert remote_store.infos([built.app, built.fixed], store=server.url, memory=memory) == first
    keys = [built.public]
    assert remote_store.trusted([built.app], store=server.url, public_keys=keys, memory=memory) == {built.app}
    assert not [path for path in server.asked if path.endswith(".narinfo")]
    remote_store.infos([built.app], store=server.url, memory=tmp_path / "another")
    assert [path for path in server.asked if path.endswith(".narinfo")]


def test_a_walk_ahead_finds_what_is_there_and_remembers_it(built: Built, server: CacheServer, tmp_path: Path) -> None:
    put(built, server, built.app, built.source)
    (server.folder / f"{Path(built.lib).name[:32]}.narinfo").unlink()
    found = remote_store.remember_closures(
        [built.app, built.source, built.fixed], store=server.url, memory=tmp_path / "memory"
    )
    assert set(found) >= {built.app, built.source}
    before = len(server.asked)
    remote_store.infos(found, store=server.url, memory=tmp_path / "memory")
    assert not [path for path in server.asked[before:] if path.endswith(".narinfo")]


def test_exactly_the_paths_with_an_accepted_signature_are_trusted(
    built: Built, server: CacheServer, tmp_path: Path
) -> None:
    put(built, server, built.lib)
    remote_store.copy([built.app, built.fixed, built.source], to=f"file://{server.folder}")
    paths = [built.lib, built.app, built.fixed, built.source]
    trusted = remote_store.trusted(paths, store=server.url, public_keys=[built.public], memory=tmp_path / "memory")
    # What is named by its content needs no signature.
    assert trusted == {built.lib, built.fixed}


def test_the_bad_ones_are_found_whatever_words_nix_uses(
    built: Built, server: CacheServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_store, "_UNTRUSTED", remote_store._LISTED)
    test_exactly_the_paths_with_an_accepted_signature_are_trusted(built, server, tmp_path)


def test_a_store_that_is_away_is_an_error(built: Built, tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        remote_store.infos([built.app], store="http://127.0.0.1:1", memory=tmp_path / "memory")
    with pytest.raises(CommandError):
        remote_store.trusted(
            [built.app], store="http://127.0.0.1:1", public_keys=[built.public], memory=tmp_path / "memory"
        )


@pytest.mark.parametrize("harm", ["none", "lost", "cut", "unsigned"])
def test_what_a_cache_serves_is_compared_with_what_it_promised(built: Built, server: CacheServer, harm: str) -> None:
    put(built, server, built.lib)
    (archive,) = (server.folder / "nar").iterdir()
    if harm == "lost":
        archive.unlink()
    elif harm == "cut":
        archive.write_bytes(archive.read_bytes()[:-20])
    elif harm == "unsigned":
        for narinfo in server.folder.glob("*.narinfo"):
            lines = narinfo.read_text().splitlines()
            narinfo.write_text("".join(f"{line}\n" for line in lines if not line.startswith("Sig:")))
    said = remote_store.damage([built.lib], store=server.url, public_keys=[built.public])
    assert (said is None) == (harm == "none")
    unsigned_is_fine = remote_store.damage([built.lib], store=server.url)
    assert (unsigned_is_fine is None) == (harm in {"none", "unsigned"})
