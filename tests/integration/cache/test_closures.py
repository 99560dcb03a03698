"""Closures in a cache that deletes path by path: real Nix asks a real server, and real signatures count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pipelinegen import process, remote_store
from pipelinegen.cache.attic.query import closures_held
from tests.integration.cache.serving import CacheServer, serving

pytestmark = pytest.mark.nix

EXPRESSION = """
let make = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
};
in rec {
  base = make "base" "echo base > $out";
  left = make "left" "echo ${base} > $out";
  right = make "right" "echo ${base} $out > $out";
  top = make "top" "echo ${left} ${right} > $out";
  other = make "other" "echo > $out";
}
"""
NAMES = ("base", "left", "right", "top", "other")


class World:
    """Five built paths, and a cache that holds all of them, signed."""

    def __init__(self, folder: Path, server: CacheServer) -> None:
        self.server = server
        file = folder / "paths.nix"
        file.write_text(EXPRESSION)
        attributes = [word for name in NAMES for word in ("-A", name)]
        built = process.run(["nix-build", "--no-out-link", file, *attributes]).text.split()
        self.paths = dict(zip(NAMES, built, strict=True))
        self.key = self._key(folder / "first", "ci-1")
        self.other_key = self._key(folder / "other", "ci-1")
        self.second_key = self._key(folder / "second", "ci-2")
        self.put(self.key)
        self.asked_elsewhere: list[list[str]] = []

    def _key(self, folder: Path, name: str) -> tuple[Path, str]:
        folder.mkdir()
        process.run(["nix-store", "--generate-binary-cache-key", name, folder / "secret", folder / "public"])
        return folder / "secret", (folder / "public").read_text("ascii").strip()

    def put(self, key: tuple[Path, str] | None, names: Sequence[str] = NAMES) -> None:
        url = f"file://{self.server.folder}" + (f"?secret-key={key[0]}" if key else "")
        remote_store.copy([self.paths[name] for name in names], to=url)

    def narinfo(self, name: str) -> Path:
        return self.server.folder / f"{Path(self.paths[name]).name[:32]}.narinfo"

    def sign_anew(self, name: str, key: tuple[Path, str]) -> None:
        """Replace what the cache says of a path by the same with another signature."""
        self.narinfo(name).unlink()
        self.put(key, [name])

    def ask(
        self, *names: str, elsewhere: Mapping[str, bool | None] | None = None, keys: Sequence[str] | None = ()
    ) -> tuple[dict[str, bool | None], str | None]:
        by_path = {path: name for name, path in self.paths.items()}

        def others(paths: Sequence[str]) -> Mapping[str, bool | None]:
            self.asked_elsewhere.append([by_path[path] for path in paths])
            return {self.paths[name]: answer for name, answer in (elsewhere or {}).items()}

        answers, trouble = closures_held(
            [self.paths[name] for name in names],
            store_url=self.server.url,
            public_keys=[self.key[1]] if keys == () else keys,
            elsewhere=others,
        )
        return {by_path[path]: answer for path, answer in answers.items()}, trouble


@pytest.fixture
def world(nix_bin: Path, tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path / "served") as server:
        yield World(tmp_path, server)


def test_whole_closures_are_held_and_each_path_is_fetched_once(world: World) -> None:
    world.server.asked.clear()
    assert world.ask(*NAMES) == (dict.fromkeys(NAMES, True), None)
    assert world.asked_elsewhere == []
    fetched = [path for path in world.server.asked if path.endswith(".narinfo")]
    assert sorted(fetched) == sorted(f"/{world.narinfo(name).name}" for name in NAMES)


def test_what_was_deleted_deep_below_spoils_what_refers_to_it(world: World) -> None:
    world.narinfo("left").unlink()
    answers, trouble = world.ask(*NAMES, elsewhere={"left": False})
    assert answers == {"base": True, "left": False, "right": True, "top": False, "other": True}
    assert trouble is None
    assert world.asked_elsewhere == [["left"]]


@pytest.mark.parametrize("said", [True, None])
def test_what_is_left_to_another_cache_is_asked_for_there(world: World, said: bool | None) -> None:
    world.narinfo("base").unlink()
    answers, _ = world.ask("top", "right", "base", "other", elsewhere={"base": said})
    assert answers == {"top": said, "right": said, "base": False, "other": True}


def test_what_another_key_of_the_same_name_signed_is_not_held(world: World) -> None:
    world.sign_anew("left", world.other_key)
    answers, _ = world.ask(*NAMES, elsewhere={"left": False})
    assert answers == {"base": True, "left": False, "right": True, "top": False, "other": True}
    assert world.ask(*NAMES, keys=[world.other_key[1]], elsewhere=dict.fromkeys(NAMES, False))[0] == {
        "base": False, "left": False, "right": False, "top": False, "other": False,
    }  # fmt: skip


def test_each_of_several_keys_counts(world: World) -> None:
    world.sign_anew("left", world.second_key)
    keys = [world.key[1], world.second_key[1]]
    assert world.ask(*NAMES, keys=keys) == (dict.fromkeys(NAMES, True), None)


def test_unsigned_paths_are_held_where_no_signature_is_needed(world: World) -> None:
    for name in NAMES:
        world.narinfo(name).unlink()
    world.put(None)
    assert world.ask("top", elsewhere={})[0] == {"top": False}
    assert world.ask("top", keys=None) == ({"top": True}, None)


def test_a_cache_that_refuses_knows_nothing_and_says_why(world: World) -> None:
    world.server.status = 401
    answers, trouble = world.ask("top", "other")
    assert answers == {"top": None, "other": None}
    assert trouble is not None
    assert "401" in trouble


def test_a_cache_that_stops_answering_leaves_doubt(world: World) -> None:
    world.server.asked.clear()
    world.server.fails_after = 2
    answers, trouble = world.ask("top")
    assert answers == {"top": None}
    assert trouble


def test_it_needs_no_walk_ahead_to_find_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_store, "remember_closures", lambda *_, **__: [])
    world.narinfo("base").unlink()
    answers, _ = world.ask("top", "other", elsewhere={"base": False})
    assert answers == {"top": False, "other": True}


def test_nothing_asked_is_nothing_answered(world: World) -> None:
    world.server.asked.clear()
    assert world.ask() == ({}, None)
    assert world.server.asked == []
