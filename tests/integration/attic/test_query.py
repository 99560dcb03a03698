"""What an Attic cache is believed to hold: by batch with the right to push, else by Nix's own client."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen import process
from pipelinegen.cache.attic.backend import NO_KEY
from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.config_caches import CacheConfig
from tests.attic_server import Anonymous, Endpoint, Fault, Reply, Stall
from tests.integration.attic.pushing import Scene

pytestmark = pytest.mark.nix

RIGHTS = {"pushing, asked by batch": "r w", "pull only, asked by Nix": "r"}
each_right = pytest.mark.parametrize("right", RIGHTS.values(), ids=RIGHTS)


@each_right
def test_what_is_there_with_its_closure_is_there(scene: Scene, right: str) -> None:
    scene.push(scene.paths.app, scene.paths.big)
    scene.server.forget_requests()
    asked = [scene.paths.app, scene.paths.other, scene.paths.big]
    answers, trouble = scene.cache({"ci": right}).query(asked)
    assert (answers, trouble) == (dict(zip(asked, (True, False, True), strict=True)), None)
    assert bool(scene.server.asked(Endpoint.MISSING)) is (right == "r w")


@each_right
def test_an_output_whose_dependency_was_collected_is_not_there(scene: Scene, right: str) -> None:
    scene.push(scene.paths.app)
    scene.server.forget(scene.paths.lib)
    answers, _ = scene.cache({"ci": right}).query([scene.paths.app])
    assert answers == {scene.paths.app: False}


@each_right
def test_what_another_key_signed_is_not_there(scene: Scene, right: str) -> None:
    scene.push(scene.paths.app)
    answers, _ = scene.cache({"ci": right}, public_key="ci:" + "A" * 43 + "=").query([scene.paths.app])
    assert answers == {scene.paths.app: False}


@each_right
def test_what_was_left_to_upstream_counts_where_upstream_is_configured_and_has_it(
    scene: Scene, tmp_path: Path, right: str
) -> None:
    secret, public = tmp_path / "up.secret", tmp_path / "up.public"
    process.run(["nix-store", "--generate-binary-cache-key", "cache.nixos.org-1", secret, public])
    process.run(["nix", "--extra-experimental-features", "nix-command", "store", "sign", "-k", secret, scene.paths.lib])
    assert scene.push(scene.paths.app).ok
    assert scene.cache({"ci": right}).query([scene.paths.app])[0] == {scene.paths.app: False}, "nobody has lib"
    process.run(["nix", "copy", "--to", f"file://{tmp_path}/up", scene.paths.lib])
    config = CacheConfig(url=f"file://{tmp_path}/up", public_key=public.read_text("ascii").strip())
    upstream = (NixStoreCache("up", config),)
    assert scene.cache({"ci": right}, upstream=upstream).query([scene.paths.app])[0] == {scene.paths.app: True}


@each_right
def test_an_expired_token_of_a_private_cache_leaves_it_unknown(scene: Scene, right: str) -> None:
    scene.push(scene.paths.app)
    answers, trouble = scene.cache({"ci": right}, seconds=-60).query([scene.paths.app])
    assert answers == {scene.paths.app: None}
    assert trouble


@pytest.mark.parametrize(
    "fault",
    [Fault(Reply(500)), Fault(Reply(503, form="html")), Fault(Anonymous()), Fault(Reply(403))],
    ids=["500", "503", "401", "403"],
)
@each_right
def test_a_cache_that_does_not_say_is_unknown(scene: Scene, right: str, fault: Fault) -> None:
    scene.push(scene.paths.lib)
    scene.server.faults.add(fault)
    answers, trouble = scene.cache({"ci": right}).query([scene.paths.lib])
    assert answers == {scene.paths.lib: None}
    assert trouble


def test_a_cache_that_hangs_is_unknown(scene: Scene) -> None:
    scene.server.faults.add(Fault(Stall("head")))
    answers, trouble = scene.cache(pushing={"answer_timeout": 1}).query([scene.paths.lib])
    assert answers == {scene.paths.lib: None}
    assert "did not answer in time" in (trouble or "")


def test_a_cache_that_is_away_is_unknown(scene: Scene) -> None:
    answers, trouble = scene.cache(url="http://127.0.0.1:9/ci").query([scene.paths.lib])
    assert answers == {scene.paths.lib: None}
    assert "cannot be reached" in (trouble or "")


def test_nothing_is_believed_without_a_public_key(scene: Scene) -> None:
    scene.push(scene.paths.lib)
    assert scene.cache(public_key=None).query([scene.paths.lib]) == ({scene.paths.lib: None}, NO_KEY)


def test_a_token_that_says_it_may_push_and_may_not_still_reads(scene: Scene) -> None:
    scene.push(scene.paths.lib)
    scene.server.faults.add(Fault(Reply(403), endpoint=Endpoint.MISSING))
    answers, trouble = scene.cache().query([scene.paths.lib])
    assert (answers, trouble) == ({scene.paths.lib: True}, None)


def test_many_paths_are_asked_for_in_few_requests(scene: Scene) -> None:
    paths = [f"{Path(scene.paths.lib).parent}/{number:032d}-p" for number in range(10_000)]
    answers, trouble = scene.cache().query(paths)
    assert trouble is None
    assert set(answers.values()) == {False}
    assert len(scene.server.requests) == 2


def test_the_pipeline_sees_its_outputs_as_soon_as_they_are_visible(scene: Scene) -> None:
    scene.push(scene.paths.app)
    scene.server.faults.add(Fault(Reply(404), endpoint=Endpoint.NARINFO, path="-app", nth=[1]))
    scene.cache({"ci": "r"}).wait_until_visible([scene.paths.app], timeout=20)
