"""Real Nix fetches from both servers what it built, with signatures required, and gets the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from pipelinegen import process
from pipelinegen.errors import CommandError
from tests.attic_server import AtticServer
from tests.attic_server.real import Settings
from tests.integration.attic.client import Attic, Client
from tests.integration.attic.conftest import KINDS, running

pytestmark = pytest.mark.nix

EXPRESSION = """
let make = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
};
in rec {
  lib = make "lib" "echo lib > $out";
  large = make "large" "i=0; while [ $i -lt 20000 ]; do echo $i-${lib}; i=$((i+1)); done > $out";
  app = make "app" "echo ${large} ${lib} $out > $out";
}
"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def server(kind: str, folder: Path, compression: Literal["none", "xz"] = "none") -> Iterator[Attic]:
    with running(kind, folder, Settings(), compression) as attic:
        yield attic


@pytest.fixture
def built(nix_bin: Path, tmp_path: Path) -> list[str]:
    """The closure of three paths, references first."""
    file = tmp_path / "paths.nix"
    file.write_text(EXPRESSION)
    app = process.run(["nix-build", "--no-out-link", file, "-A", "app"]).text.strip()
    closure = process.run(["nix-store", "--query", "--requisites", app]).text.split()
    assert len(closure) == 3
    return closure


def upload(client: Client, paths: list[str], *, preamble: bool = False, turned: bool = False) -> dict[str, bytes]:
    """Send paths of our store, their references sorted (or the other way round); returns their NARs."""
    nars: dict[str, bytes] = {}
    for path in paths:
        nars[path] = process.run(["nix-store", "--dump", path]).stdout
        references = process.run(["nix-store", "--query", "--references", path]).text.split()
        deriver = process.run(["nix-store", "--query", "--deriver", path]).text.strip()
        info = client.info(
            nars[path],
            store_path_hash=Path(path).name[:32],
            store_path=path,
            references=sorted((Path(one).name for one in references), reverse=turned),
            deriver=Path(deriver).name,
        )
        assert client.put(nars[path], info, preamble=preamble).status_code == 200
    return nars


def fetch(client: Client, key: str, path: str, folder: Path) -> None:
    """Forget the path and all it needs, then have Nix get it from the cache."""
    process.run(["nix-store", "--delete", "--ignore-liveness", *_closure(path)])
    netrc = folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login nobody password {client.token}\n")
    options = ["--option", "substituters", f"{client.attic.url}{client.cache}"]
    options += ["--option", "trusted-public-keys", key, "--option", "require-sigs", "true"]
    options += ["--option", "netrc-file", str(netrc), "--option", "narinfo-cache-negative-ttl", "0"]
    process.run(["nix-store", "--realise", path, *options], timeout=60)


def _closure(path: str) -> list[str]:
    return process.run(["nix-store", "--query", "--requisites", path]).text.split()


@pytest.mark.parametrize("compression", ["none", "xz"])
@pytest.mark.parametrize("preamble", [False, True], ids=["header", "preamble"])
def test_what_nix_fetches_back_is_what_it_built(
    kind: str, built: list[str], tmp_path: Path, compression: Literal["none", "xz"], preamble: bool
) -> None:
    with server(kind, tmp_path / "attic", compression) as attic:
        key = attic.create_cache("ci", store_dir=str(Path(built[0]).parent))
        client = Client(attic, "ci", attic.token({"ci": "r w"}))
        nars = upload(client, built, preamble=preamble)
        fetch(client, key, built[-1], tmp_path)
        assert {path: process.run(["nix-store", "--dump", path]).stdout for path in built} == nars
        assert _closure(built[-1]) == built
        process.run(["nix-store", "--verify-path", *built])


def test_nix_refuses_what_was_sent_with_its_references_in_another_order(
    kind: str, built: list[str], tmp_path: Path
) -> None:
    # The server signs them in the order in which they came; Nix verifies them sorted.
    with server(kind, tmp_path / "attic") as attic:
        key = attic.create_cache("ci", store_dir=str(Path(built[0]).parent))
        client = Client(attic, "ci", attic.token({"ci": "r w"}))
        upload(client, built, turned=True)
        with pytest.raises(CommandError):
            fetch(client, key, built[-1], tmp_path)


def test_nix_refuses_what_another_key_signed(kind: str, built: list[str], tmp_path: Path) -> None:
    with server(kind, tmp_path / "attic") as attic:
        attic.create_cache("ci", store_dir=str(Path(built[0]).parent))
        client = Client(attic, "ci", attic.token({"ci": "r w cr"}))
        upload(client, built)
        before = client.config().json()["public_key"]
        assert client.config("PATCH", json={"keypair": "Generate"}).status_code == 200
        with pytest.raises(CommandError):
            fetch(client, before, built[-1], tmp_path)


def test_nix_is_redirected_to_the_storage_without_its_token(built: list[str], tmp_path: Path, nix_bin: Path) -> None:
    with server("double", tmp_path / "attic", "xz") as attic:
        assert isinstance(attic, AtticServer)
        attic.redirect_nars = True
        key = attic.create_cache("ci", store_dir=str(Path(built[0]).parent))
        client = Client(attic, "ci", attic.token({"ci": "r w"}))
        nars = upload(client, built)
        # Nix takes the password for every port of a host; a storage has another name.
        attic.storage_url = attic.storage_url.replace("127.0.0.1", "localhost")
        fetch(client, key, built[-1], tmp_path)
        assert {path: process.run(["nix-store", "--dump", path]).stdout for path in built} == nars
        small = sum(len(nar) < attic.chunk_threshold for nar in nars.values())
        assert 0 < small < len(nars)
        assert [request.status for request in attic.storage_requests] == [200] * small
        assert not [one for one in attic.storage_requests if "authorization" in one.headers]


def test_json_of_a_cache_can_be_read_by_nix_too(kind: str, nix_bin: Path, tmp_path: Path) -> None:
    with server(kind, tmp_path / "attic") as attic:
        attic.create_cache("ci", public=True)
        url = f"{attic.url}_api/v1/cache-config/ci"
        words = ["nix-instantiate", "--eval", "--json", "-E"]
        told = process.run([*words, f'builtins.fromJSON (builtins.readFile (builtins.fetchurl "{url}"))']).text
        assert json.loads(told)["api_endpoint"] == attic.url
