"""Whose work is believed, and who leaves what where: forks, merge requests and protected refs on one Attic server."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelinegen import process
from pipelinegen.cache.read import reader
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, Handoff, WriterClass
from pipelinegen.console import Console
from pipelinegen.errors import UsageError
from pipelinegen.job_names import slug
from pipelinegen.plan.model import Realise, Stage, Unit, Work
from pipelinegen.run.build import run_unit
from pipelinegen.run.handoff import write_handoff
from pipelinegen.run.push import run_push
from pipelinegen.run.result import StepResult
from tests.attic_server import AtticServer, attic_server
from tests.integration.run.conftest import Store

pytestmark = pytest.mark.nix

FORK, OPEN, MAIN = PipelineClass.FORK, PipelineClass.UNPROTECTED, PipelineClass.PROTECTED


@dataclass
class Scene:
    store: Store
    server: AtticServer
    config: Config
    folder: Path
    log: io.StringIO = field(default_factory=io.StringIO)

    def build(
        self, name: str, kind: PipelineClass, drv: str, fetch: tuple[str, ...] = (), needs: str = ""
    ) -> StepResult:
        """A job on a runner that has nothing but the handoff and the artifacts of the job that it needs."""
        unit = Unit(
            job=f"build {name}",
            stage=Stage.BUILD,
            targets=(name,),
            builds=(Realise(drv_path=drv, outputs=("out",)),),
            fetch=fetch,
        )
        work = write_handoff(self.folder / "handoff", Work(flake=".", units=(unit,)), [drv])
        self.store.empty()
        outputs = self.folder / f"outputs-{name}"
        if needs:
            shutil.copytree(self.folder / f"outputs-{needs}" / slug(f"build {needs}"), outputs / slug(f"build {needs}"))
        console = Console(self.log)
        return run_unit(
            work, unit, folder=self.folder / "handoff", config=self.config, kind=kind, console=console, outputs=outputs
        )


@pytest.fixture
def scene(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with attic_server(tmp_path / "attic") as server:
        caches = {}
        for name, writers in (("main", WriterClass.PROTECTED), ("open", WriterClass.UNPROTECTED)):
            key = server.create_cache(name, store_dir=str(store.root / "store"))
            # One token for all reading, since Nix sends one per host; every job here has all of them.
            monkeypatch.setenv("READ", server.token({"main": "r", "open": "r"}))
            monkeypatch.setenv(f"PUSH_{name}", server.token({name: "r w"}))
            caches[name] = CacheConfig(
                url=f"{server.url}{name}",
                backend="attic",
                writers=writers,
                public_key=key,
                token_env="READ",
                push_token_env=f"PUSH_{name}",
            )
        handoff = Handoff(mode="cache", protected="main", unprotected="open", visible_timeout=10)
        yield Scene(store, server, Config(caches=caches, handoff=handoff), tmp_path)
    assert not server.troubles


def test_jobs_of_a_fork_hand_over_as_artifacts_and_write_to_no_cache(scene: Scene) -> None:
    drvs = scene.store.instantiate("lib", "app")
    lib, app = (scene.store.output(drvs[name]) for name in ("lib", "app"))
    assert scene.build("lib", FORK, drvs["lib"]).built == (drvs["lib"],)
    scene.store.instantiate("lib", "app")
    assert scene.build("app", FORK, drvs["app"], fetch=(lib,), needs="lib").built == (drvs["app"],)
    assert (scene.folder / "outputs-app" / slug("build app") / f"{Path(app).name[:32]}.narinfo").exists()
    assert scene.server.objects("main") == scene.server.objects("open") == set()
    assert not scene.server.uploads
    with pytest.raises(UsageError, match="another project"):
        run_push("open", [app], config=scene.config, kind=FORK, console=Console(scene.log))


def test_a_fork_uses_what_other_merge_requests_made(scene: Scene) -> None:
    drvs = scene.store.instantiate("lib", "app")
    lib = scene.store.output(drvs["lib"])
    scene.build("lib", OPEN, drvs["lib"])
    assert scene.server.objects("open") == {lib}
    scene.store.instantiate("lib", "app")
    before = len(scene.server.requests)
    assert scene.build("app", FORK, drvs["app"], fetch=(lib,)).built == (drvs["app"],)
    assert scene.server.objects("open") == {lib}
    # The caches were asked what need not be left as an artifact, by reading alone.
    assert "without 1 that a trusted cache has" in scene.log.getvalue()
    sent = {request.headers.get("authorization", "") for request in scene.server.requests[before:]}
    assert sent
    assert not any(_holds(value, os.environ[f"PUSH_{name}"]) for value in sent for name in ("main", "open"))


def _holds(authorization: str, token: str) -> bool:
    scheme, _, rest = authorization.partition(" ")
    return token in (base64.b64decode(rest).decode() if scheme.lower() == "basic" else rest)


def test_a_path_that_a_merge_request_forged_is_built_again_on_main(scene: Scene) -> None:
    drvs = scene.store.instantiate("lib", "app")
    lib, app = (scene.store.output(drvs[name]) for name in ("lib", "app"))
    forged = scene.folder / "forged"
    forged.write_text("forged\n")
    scene.server.put("open", lib, process.run(["nix-store", "--dump", forged]).stdout)

    asked = reader(scene.config, MAIN).ask([lib])
    assert asked.where(lib) is None
    assert "open" not in asked.caches, "it is not even asked"
    assert reader(scene.config, OPEN).ask([lib]).where(lib) == "open", "the server signs whatever may be pushed"

    # A merge request only deceives itself.
    assert scene.build("app", OPEN, drvs["app"], fetch=(lib,)).built == (drvs["app"],)
    assert Path(lib).read_text() == "forged\n"
    assert scene.server.objects("open") == {lib, app}

    # Even where a plan says that it is there to be fetched.
    scene.store.instantiate("lib", "app")
    result = scene.build("app", MAIN, drvs["app"], fetch=(lib,))
    assert set(result.built) == {drvs["lib"], drvs["app"]}
    assert Path(lib).read_text() == "lib\n"
    assert scene.server.objects("main") == {app, lib}
