"""A schedule that touches keeps closures from being collected; pushing again does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelinegen.cli import run_command_line
from pipelinegen.durations import DAY
from tests.attic_server import AtticServer, Endpoint, attic_server

pytestmark = pytest.mark.nix

FLAKE = """
{
  outputs = _:
    let
      make = name: script: derivation {
        inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ];
      };
    in {
      packages.x86_64-linux = rec {
        lib = make "lib" "echo lib > $out";
        app = make "app" "echo ${lib} > $out";
        other = make "other" "echo > $out";
      };
    };
}
"""


@pytest.fixture
def server(nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AtticServer]:
    """A server whose cache forgets after thirty days, and a project that publishes there."""
    with attic_server() as made:
        key = made.create_cache("fleet", store_dir=str(tmp_path / "nix" / "store"), retention=30 * DAY)
        monkeypatch.setenv("READ", made.token({"fleet": "r"}, seconds=400 * DAY))
        monkeypatch.setenv("PUSH", made.token({"fleet": "r w"}, seconds=400 * DAY))
        lines = ["[caches.fleet]", 'backend = "attic"', f'url = "{made.url}fleet"', 'writers = "protected"']
        lines += ["publish = true", f'public_key = "{key}"', 'token_env = "READ"', 'push_token_env = "PUSH"']
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "pipelinegen.toml").write_text("\n".join(lines))
        (folder / "flake.nix").write_text(FLAKE)
        yield made


def push(tmp_path: Path, *patterns: str, more: tuple[str, ...] = ()) -> None:
    words = [word for pattern in patterns for word in ("--targets", pattern)]
    assert run_command_line(["-C", str(tmp_path / "project"), "run", "push", "--to", "fleet", *words, *more]) == 0


def names(paths: set[str] | list[str]) -> set[str]:
    return {path.rsplit("-", 1)[-1] for path in paths}


def test_what_a_schedule_touches_stays_with_its_closure_and_the_rest_goes(server: AtticServer, tmp_path: Path) -> None:
    push(tmp_path, "packages.**")
    assert names(server.objects("fleet")) == {"app", "lib", "other"}
    server.clock.advance(20 * DAY)
    server.forget_requests()
    push(tmp_path, "packages.*.app", more=("--touch",))
    assert not server.asked(Endpoint.UPLOAD)
    server.clock.advance(20 * DAY)
    assert names(server.collect()) == {"other"}
    assert names(server.objects("fleet")) == {"app", "lib"}


def test_pushing_again_keeps_nothing_of_what_an_output_refers_to(server: AtticServer, tmp_path: Path) -> None:
    push(tmp_path, "packages.*.app")
    server.clock.advance(20 * DAY)
    push(tmp_path, "packages.*.app")
    server.clock.advance(20 * DAY)
    assert "lib" in names(server.collect())


def test_the_old_closure_of_a_new_output_is_touched_with_it(server: AtticServer, tmp_path: Path) -> None:
    push(tmp_path, "packages.*.app")
    server.clock.advance(20 * DAY)
    flake = tmp_path / "project" / "flake.nix"
    flake.write_text(FLAKE.replace("echo ${lib} >", "echo ${lib} again >"))
    push(tmp_path, "packages.*.app", more=("--touch",))
    server.clock.advance(20 * DAY)
    gone = server.collect()
    assert names(gone) == {"app"}, "only the app of before"
    assert names(server.objects("fleet")) == {"app", "lib"}
