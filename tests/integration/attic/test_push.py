"""Pushing to Attic from a real store, with every version of Nix that this machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen import process
from pipelinegen.cache.model import FailureClass, Outcome, PushProgress
from tests.attic_server import (
    Damage,
    Endpoint,
    Fault,
    Lose,
    Reply,
)
from tests.attic_server.faults import Damaged
from tests.integration.attic.pushing import Scene, report_of

pytestmark = pytest.mark.nix

UPLOAD = Endpoint.UPLOAD


def test_the_whole_closure_arrives_and_is_fetched_again(scene: Scene) -> None:
    told: list[PushProgress] = []
    report = scene.cache().push([scene.paths.app, scene.paths.big], on_progress=told.append)
    assert report.ok
    assert {one.path for one in report.of(Outcome.PUSHED)} == {scene.paths.lib, scene.paths.app, scene.paths.big}
    assert scene.server.objects("ci") == {scene.paths.lib, scene.paths.app, scene.paths.big}
    assert report.verified == 2
    assert scene.server.completed.index(scene.paths.lib) < scene.server.completed.index(scene.paths.app)
    assert told[-1].paths_done == told[-1].paths == 3
    assert told[-1].bytes_done == told[-1].bytes


def test_a_second_push_sends_nothing(scene: Scene) -> None:
    scene.push(scene.paths.app)
    scene.server.forget_requests()
    report = scene.push(scene.paths.app)
    assert len(report.of(Outcome.PRESENT)) == 2
    assert not scene.server.asked(UPLOAD)


def test_what_the_server_has_under_another_name_is_deduplicated(scene: Scene) -> None:
    key = scene.server.create_cache("other", store_dir=str(Path(scene.paths.lib).parent))
    scene.push(scene.paths.lib)
    other = scene.cache({"*": "r w"}, url=f"{scene.server.url}other", public_key=key)
    assert other.push([scene.paths.lib]).paths[0].outcome is Outcome.DEDUPLICATED


def test_real_nix_substitutes_it_back_with_signatures_required(scene: Scene, tmp_path: Path) -> None:
    scene.push(scene.paths.app)
    before = {path: process.run(["nix-store", "--dump", path]).stdout for path in (scene.paths.app, scene.paths.lib)}
    process.run(["nix-store", "--delete", scene.paths.app, scene.paths.lib])
    host = scene.server.url.split("/")[2].partition(":")[0]
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {host} login x password {scene.server.token({'ci': 'r'})}\n")
    options = ["--option", "substituters", f"{scene.server.url}ci", "--option", "trusted-public-keys", scene.key]
    process.run(["nix-store", "--realise", *options, "--option", "netrc-file", netrc, scene.paths.app])
    for path, content in before.items():
        assert process.run(["nix-store", "--dump", path]).stdout == content


def test_a_proxy_with_little_room_for_headers_gets_the_info_in_the_body(scene: Scene) -> None:
    scene.server.faults.add(Fault(Reply(431, form="html"), head_above=4096 + 600))
    report = scene.push(scene.paths.many)
    assert report.ok, "sixty references are too many for a header"


def test_what_the_server_loses_is_sent_again(scene: Scene) -> None:
    scene.server.faults.add(Fault(Lose(), endpoint=UPLOAD, path="-lib", nth=[1]))
    report = scene.push(scene.paths.app)
    assert report.ok
    assert report_of(report, scene.paths.lib).attempts == 2
    assert scene.server.objects("ci") == {scene.paths.lib, scene.paths.app}


@pytest.mark.parametrize("damage", [Damage.TRUNCATED, Damage.CORRUPT, Damage.MISSING])
def test_a_root_that_is_not_what_it_was_is_reported(scene: Scene, damage: Damage) -> None:
    scene.server.faults.add(Fault(Damaged(damage), endpoint=UPLOAD, path="-lib"))
    lib = report_of(scene.push(scene.paths.lib), scene.paths.lib)
    assert (lib.outcome, lib.failure) == (Outcome.FAILED, FailureClass.LOST)
    assert lib.attempts == 2, "it was sent once more, as far as that helps"


def test_a_path_that_was_changed_here_is_not_sent(scene: Scene) -> None:
    file = Path(scene.paths.lib)
    file.chmod(0o644)
    file.write_text("LIB\n")
    lib = report_of(scene.push(scene.paths.lib, scene.paths.other), scene.paths.lib)
    assert (lib.outcome, lib.failure) == (Outcome.FAILED, FailureClass.LOCAL)
    assert scene.server.objects("ci") == {scene.paths.other}


NAMES = ("question?", "a?b=c", "x+y", "-dash", "_", "9")


def test_a_closure_with_a_derivation_and_names_of_all_kinds_arrives_and_is_seen(scene: Scene) -> None:
    expression = """
      let make = name: text: derivation {
        inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo ${text} > $out" ];
      };
      in names: make "root" (toString ([
        (builtins.unsafeDiscardOutputDependency (make "made" "made").drvPath)
        (builtins.toFile "file" "named by its content")
      ] ++ map (name: make name name) names) + " $out")
    """
    names = " ".join(f'"{name}"' for name in NAMES)
    root = process.run(["nix-build", "--no-out-link", "-E", f"({expression}) [ {names} ]"]).text.strip()
    report = scene.push(root)
    assert report.ok
    assert len(report.paths) == len(NAMES) + 3
    assert report.verified == 1
    scene.cache().wait_until_visible([root], timeout=1)


def sign_as_upstream(folder: Path, path: str) -> None:
    secret, public = folder / "up.secret", folder / "up.public"
    process.run(["nix-store", "--generate-binary-cache-key", "cache.nixos.org-1", secret, public])
    process.run(["nix", "--extra-experimental-features", "nix-command", "store", "sign", "-k", secret, path])


def test_what_upstream_signed_is_left_to_it_unless_asked_for(scene: Scene, tmp_path: Path) -> None:
    sign_as_upstream(tmp_path, scene.paths.lib)
    report = scene.push(scene.paths.app)
    assert report_of(report, scene.paths.lib).outcome is Outcome.UPSTREAM
    assert scene.server.objects("ci") == {scene.paths.app}
    assert scene.push(scene.paths.app, include_upstream=True).ok
    assert scene.server.objects("ci") == {scene.paths.app, scene.paths.lib}


def test_touching_downloads_every_archive_of_the_closure(scene: Scene) -> None:
    scene.push(scene.paths.app)
    scene.server.forget_requests()
    assert scene.cache({"ci": "r"}).touch([scene.paths.app]) == 2
    assert len(scene.server.asked(Endpoint.NAR)) == 2
