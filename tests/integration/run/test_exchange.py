"""Outputs on their way between jobs that share no store, in each mode: once made, everywhere had, nothing missing."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelinegen import process
from pipelinegen.cache.read import CacheReader
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, Handoff, WriterClass
from pipelinegen.console import Console
from pipelinegen.errors import StepFailedError
from pipelinegen.job_names import slug
from pipelinegen.plan.model import Realise, Stage, Unit, Work
from pipelinegen.run.artifacts import leave
from pipelinegen.run.build import run_unit
from pipelinegen.run.build_log import name_of
from pipelinegen.run.handoff import write_handoff
from pipelinegen.run.push import run_push
from pipelinegen.run.result import StepResult
from tests.integration.run.conftest import NIX_CONFIG, Caches, Store

pytestmark = pytest.mark.nix

OURS = PipelineClass.PROTECTED


def unit(job: str, *drvs: str, fetch: tuple[str, ...] = (), needs: tuple[str, ...] = (), output: str = "out") -> Unit:
    builds = tuple(Realise(drv_path=drv, outputs=(output,)) for drv in drvs)
    return Unit(job=f"build {job}", stage=Stage.BUILD, targets=(job,), builds=builds, fetch=fetch, needs=needs)


@dataclass
class Pipeline:
    """Runs units one after another, each on a store that holds nothing; what they left is all they share."""

    store: Store
    config: Config
    folder: Path
    log: io.StringIO = field(default_factory=io.StringIO)
    built: Counter[str] = field(default_factory=Counter)

    @property
    def shared(self) -> bool:
        return self.config.handoff.mode == "runner"

    def hand_out(self, *drv_paths: str) -> None:
        """As `generate` does at the beginning."""
        write_handoff(self.folder / "handoff", Work(flake="."), drv_paths)
        self.work = write_handoff(self.folder / "handoff", Work(flake="."), drv_paths)
        self.start()

    def start(self) -> None:
        """A new runner."""
        if not self.shared:
            self.store.empty()

    def artifacts(self, job: str) -> Path:
        return self.folder / "uploaded" / slug(job)

    def download(self, jobs: tuple[str, ...]) -> Path:
        """The working folder of a new job: exactly the artifacts of the jobs that it needs."""
        folder = self.folder / "work"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for job in jobs:
            if self.artifacts(job).exists():
                shutil.copytree(self.artifacts(job), folder / slug(job))
        return folder

    def run(self, one: Unit, *, ok: bool = True) -> StepResult:
        """The job of one unit."""
        self.start()
        outputs = self.download(one.needs)
        result = run_unit(
            self.work,
            one,
            folder=self.folder / "handoff",
            config=self.config,
            kind=OURS,
            console=Console(self.log),
            outputs=outputs,
        )
        assert result.ok is ok, self.log.getvalue()
        self.built.update(result.built)
        if (outputs / slug(one.job)).exists():
            shutil.copytree(outputs / slug(one.job), self.artifacts(one.job), dirs_exist_ok=True)
        return result

    def push(self, *paths: str, needs: tuple[str, ...]) -> StepResult:
        self.start()
        outputs = self.download(needs)
        return run_push("public", paths, config=self.config, kind=OURS, console=Console(self.log), outputs=outputs)


@pytest.fixture(params=["cache", "artifacts", "runner"])
def pipeline(request: pytest.FixtureRequest, store: Store, caches: Caches, tmp_path: Path) -> Pipeline:
    return made(request.param, store, caches, tmp_path)


@pytest.fixture
def by_artifacts(store: Store, caches: Caches, tmp_path: Path) -> Pipeline:
    return made("artifacts", store, caches, tmp_path)


@pytest.fixture
def by_cache(store: Store, caches: Caches, tmp_path: Path) -> Pipeline:
    return made("cache", store, caches, tmp_path)


def made(mode: str, store: Store, caches: Caches, folder: Path) -> Pipeline:
    handoff = caches.config.handoff.model_copy(update={"mode": mode})
    return Pipeline(store, caches.config.model_copy(update={"handoff": handoff}), folder)


def publish(pipeline: Pipeline, store: Store, *paths: str) -> None:
    """Put paths of the local store into a cache that the pipeline trusts."""
    run_push("public", paths, config=pipeline.config, kind=OURS, console=Console(io.StringIO())).raise_if_failed()
    assert all(store.valid(path) for path in paths)


def narinfo(caches: Caches, cache: str, path: str) -> Path:
    return caches.folder / cache / f"{Path(path).name[:32]}.narinfo"


def test_what_one_job_makes_all_others_have_and_nothing_is_made_twice(
    pipeline: Pipeline, store: Store, caches: Caches
) -> None:
    drvs = store.instantiate("lib", "app", "local", "top")
    out = {name: store.output(drv) for name, drv in drvs.items()}
    pipeline.hand_out(drvs["top"])
    pipeline.run(unit("lib", drvs["lib"]))
    pipeline.run(unit("app", drvs["app"], fetch=(out["lib"],), needs=("build lib",)))
    pipeline.run(unit("local", drvs["local"]))
    # It gets the library with the application, though it does not need the library's job.
    pipeline.run(unit("top", drvs["top"], fetch=(out["app"], out["local"]), needs=("build app", "build local")))
    assert pipeline.built == Counter(drvs.values())
    assert "is built here instead" not in pipeline.log.getvalue()
    pipeline.push(out["top"], needs=("build top",)).raise_if_failed()
    assert all(caches.holds("public", path) for path in out.values())
    assert pipeline.built == Counter(drvs.values())


def test_a_shared_part_that_a_cache_has_is_neither_made_nor_left_again(
    pipeline: Pipeline, store: Store, caches: Caches
) -> None:
    drvs = store.instantiate("lib", "app", "local", "top")
    out = {name: store.output(drv) for name, drv in drvs.items()}
    store.build(drvs["lib"])
    store.build(drvs["local"])
    publish(pipeline, store, out["lib"], out["local"])
    pipeline.hand_out(drvs["top"])
    pipeline.run(unit("app", drvs["app"], fetch=(out["lib"],)))
    pipeline.run(unit("top", drvs["top"], fetch=(out["app"], out["local"]), needs=("build app",)))
    assert pipeline.built == Counter([drvs["app"], drvs["top"]])
    if pipeline.config.handoff.mode == "artifacts":
        left = {file.name[:32] for file in pipeline.artifacts("build top").glob("*.narinfo")}
        assert left == {Path(out[name]).name[:32] for name in ("app", "top")}
        assert len(list(pipeline.artifacts("build top").glob("nar/*"))) == 2


def test_an_output_that_nobody_uses_is_not_missed(pipeline: Pipeline, store: Store, caches: Caches) -> None:
    drvs = store.instantiate("once", "usesDev")
    dev, unused = store.output(drvs["once"], "dev"), store.output(drvs["once"])
    store.build(drvs["once"])
    publish(pipeline, store, dev)
    assert not caches.holds("public", unused)
    pipeline.hand_out(drvs["usesDev"])
    if pipeline.shared:
        store.delete(unused)
    pipeline.run(unit("uses-dev", drvs["usesDev"], fetch=(dev,)))
    assert pipeline.built == Counter([drvs["usesDev"]])


def test_a_root_whose_reference_the_cache_lost_is_made_again_with_all_it_needs(
    pipeline: Pipeline, store: Store, caches: Caches
) -> None:
    drvs = store.instantiate("lib", "app", "local", "top")
    out = {name: store.output(drv) for name, drv in drvs.items()}
    store.build(drvs["app"])
    publish(pipeline, store, out["app"])
    narinfo(caches, "public", out["lib"]).unlink()
    store.delete(out["app"], out["lib"])
    pipeline.hand_out(drvs["top"])
    # As it is planned: the cache does not hold the application's closure. Once the library is there, Nix may
    # fetch the application after all.
    once = Counter(drvs[name] for name in ("lib", "local", "top"))
    pipeline.run(unit("app", drvs["lib"], drvs["app"]))
    pipeline.run(unit("top", drvs["local"], drvs["top"], fetch=(out["app"],), needs=("build app",)))
    assert once <= pipeline.built <= once + Counter([drvs["app"]])
    # And where the cache lost it only after that.
    if not pipeline.shared:
        pipeline.built.clear()
        result = pipeline.run(unit("alone", drvs["local"], drvs["top"], fetch=(out["app"],)))
        assert result.ok
        handed_over = pipeline.config.handoff.mode == "cache"
        assert pipeline.built[drvs["lib"]] == (0 if handed_over else 1)


def test_a_retry_builds_only_what_was_not_finished(by_cache: Pipeline, store: Store, caches: Caches) -> None:
    drvs = store.instantiate("lib", "local", "once", "usesDev", "app")
    out = {name: store.output(drv) for name, drv in drvs.items()}
    stop = store.root / "store.stop"
    stop.touch()
    by_cache.hand_out(*drvs.values())
    one = Unit(
        job="build all",
        stage=Stage.BUILD,
        targets=("all",),
        builds=tuple(
            Realise(drv_path=drv, outputs=("dev",) if name == "once" else ("out",)) for name, drv in drvs.items()
        ),
    )
    by_cache.run(one, ok=False)
    assert by_cache.built == Counter(drvs[name] for name in ("lib", "local", "app"))
    assert all(caches.holds("ours", out[name]) for name in ("lib", "local", "app"))
    stop.unlink()
    by_cache.built.clear()
    # `local` may not be substituted, says its derivation: it is fetched all the same.
    by_cache.run(one)
    assert by_cache.built == Counter(drvs[name] for name in ("once", "usesDev"))


def test_a_retry_with_artifacts_begins_anew(by_artifacts: Pipeline, store: Store) -> None:
    drvs = store.instantiate("lib", "broken")
    by_artifacts.hand_out(*drvs.values())
    for _ in range(2):
        by_artifacts.run(unit("both", *drvs.values()), ok=False)
    assert by_artifacts.built == Counter({drvs["lib"]: 2})
    left = {file.name[:32] for file in by_artifacts.artifacts("build both").glob("*.narinfo")}
    assert left == {Path(store.output(drvs["lib"])).name[:32]}, "what was finished is there for people"


def test_outputs_too_large_for_an_archive_fail_the_job_and_name_the_way_out(
    by_artifacts: Pipeline, store: Store
) -> None:
    gitlab = by_artifacts.config.gitlab.model_copy(update={"max_artifact_mb": 1})
    by_artifacts.config = by_artifacts.config.model_copy(update={"gitlab": gitlab})
    drvs = store.instantiate("noise")
    by_artifacts.hand_out(*drvs.values())
    with pytest.raises(StepFailedError, match="larger than what GitLab takes") as raised:
        by_artifacts.run(unit("noise", *drvs.values()))
    assert raised.value.why == "3 MiB, packed, of 1 paths; gitlab.max_artifact_mb is 1"
    assert 'handoff.mode = "cache"' in (raised.value.hint or "")
    assert not (by_artifacts.folder / "work" / slug("build noise")).exists(), "nothing is uploaded in vain"


def test_outputs_too_large_for_an_archive_do_no_harm_where_nobody_needs_them(
    by_artifacts: Pipeline, store: Store
) -> None:
    gitlab = by_artifacts.config.gitlab.model_copy(update={"max_artifact_mb": 1})
    by_artifacts.config = by_artifacts.config.model_copy(update={"gitlab": gitlab})
    drvs = store.instantiate("noise")
    by_artifacts.hand_out(*drvs.values())
    by_artifacts.run(unit("noise", *drvs.values()).model_copy(update={"taken": False}))
    assert "3 MiB, packed, of 1 paths; gitlab.max_artifact_mb is 1; no other job needs" in by_artifacts.log.getvalue()
    assert not by_artifacts.artifacts("build noise").exists()


def test_without_caches_what_the_machines_own_have_is_not_left(
    by_artifacts: Pipeline, store: Store, caches: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    drvs = store.instantiate("lib", "app", "local", "top")
    out = {name: store.output(drv) for name, drv in drvs.items()}
    store.build(drvs["lib"])
    publish(by_artifacts, store, out["lib"])
    public = caches.config.caches["public"]
    settings = f"substituters = {public.url}\ntrusted-public-keys = {public.public_key}\n"
    monkeypatch.setenv("NIX_CONFIG", NIX_CONFIG.replace("substituters =\n", settings))
    by_artifacts.config = Config(handoff=Handoff(mode="artifacts"))
    by_artifacts.hand_out(drvs["top"])
    by_artifacts.run(unit("app", drvs["app"], fetch=(out["lib"],)))
    by_artifacts.run(unit("top", drvs["local"], drvs["top"], fetch=(out["app"],), needs=("build app",)))
    assert by_artifacts.built == Counter(drvs[name] for name in ("app", "local", "top"))
    left = {file.name[:32] for file in by_artifacts.artifacts("build app").glob("*.narinfo")}
    assert left == {Path(out["app"]).name[:32]}


def test_what_a_cache_cannot_say_is_left_for_others(by_artifacts: Pipeline, store: Store) -> None:
    drvs = store.instantiate("lib", "app")
    out = {name: store.output(drv) for name, drv in drvs.items()}
    store.build(drvs["lib"])
    publish(by_artifacts, store, out["lib"])
    by_artifacts.hand_out(drvs["app"])
    one = unit("app", drvs["app"], fetch=(out["lib"],))
    by_artifacts.start()
    process.run(["nix-store", "--realise", out["lib"], *_from(by_artifacts.config.caches["public"])])
    away = CacheConfig(url="http://127.0.0.1:1", writers=WriterClass.PROTECTED, public_key="away-1:" + "A" * 43 + "=")
    by_artifacts.config = by_artifacts.config.model_copy(update={"caches": {"public": away}})
    result = run_unit(
        by_artifacts.work,
        one,
        folder=by_artifacts.folder / "handoff",
        config=by_artifacts.config,
        kind=OURS,
        console=Console(by_artifacts.log),
        outputs=by_artifacts.download(()),
    )
    assert result.ok
    left = {file.name[:32] for file in (by_artifacts.folder / "work" / slug(one.job)).glob("*.narinfo")}
    assert left == {Path(path).name[:32] for path in out.values()}


def _from(cache: CacheConfig) -> tuple[str, ...]:
    keys = ("--option", "trusted-public-keys", cache.public_key or "")
    return ("--option", "substituters", cache.url, *keys)


def test_a_narinfo_that_two_jobs_left_is_read_once_and_a_torn_folder_is_passed_over(
    by_artifacts: Pipeline, store: Store
) -> None:
    drvs = store.instantiate("lib", "app", "local", "top")
    out = {name: store.output(drv) for name, drv in drvs.items()}
    by_artifacts.hand_out(drvs["top"])
    by_artifacts.run(unit("lib", drvs["lib"]))
    by_artifacts.run(unit("app", drvs["app"], fetch=(out["lib"],), needs=("build lib",)))
    torn = by_artifacts.artifacts("build torn")
    torn.mkdir()
    needs = ("build lib", "build app", "build torn")
    by_artifacts.run(unit("top", drvs["local"], drvs["top"], fetch=(out["app"], out["lib"]), needs=needs))
    assert by_artifacts.built == Counter(drvs.values())


@pytest.mark.parametrize("mode", ["cache", "artifacts"])
def test_what_is_named_by_its_content_is_made_once(
    mode: str, store: Store, caches: Caches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIX_CONFIG", NIX_CONFIG.replace("flakes", "flakes ca-derivations"))
    pipeline = made(mode, store, caches, tmp_path)
    drvs = store.instantiate("lib", "byContent", "usesContent", "aboveContent")
    lib = store.output(drvs["lib"])
    pipeline.hand_out(*drvs.values())
    pipeline.run(unit("lib", drvs["lib"]))
    pipeline.run(unit("content", drvs["byContent"], fetch=(lib,), needs=("build lib",)))
    pipeline.run(unit("uses", drvs["usesContent"], needs=("build content",)))
    pipeline.run(unit("above", drvs["aboveContent"], needs=("build content",)))
    # Nix builds others than were named: those in which the path of what is needed stands.
    names = Counter(name_of(drv_path) for drv_path in pipeline.built.elements())
    assert names == Counter(name_of(drv_path) for drv_path in drvs.values())


@pytest.mark.parametrize("name", ["a b", "p%20q", "q?x", "h#x", "ü"])
def test_a_working_folder_may_have_any_name(name: str, store: Store, caches: Caches, tmp_path: Path) -> None:
    pipeline = made("artifacts", store, caches, tmp_path / name)
    drvs = store.instantiate("lib", "app")
    lib = store.output(drvs["lib"])
    pipeline.hand_out(*drvs.values())
    pipeline.run(unit("lib", drvs["lib"]))
    pipeline.run(unit("app", drvs["app"], fetch=(lib,), needs=("build lib",)))
    assert pipeline.built == Counter(drvs.values())


def test_artifacts_that_cannot_be_written_whole_are_not_left_in_part(by_artifacts: Pipeline, store: Store) -> None:
    drvs = store.instantiate("lib", "app")
    lib, app = (store.build(drvs[name]) for name in ("lib", "app"))
    Path(app).unlink()  # Nix notices when it has copied what is below it
    reader = CacheReader({}, ())
    with pytest.raises(StepFailedError, match="cannot be left as artifacts"):
        leave([app], by_artifacts.folder, "build app", reader=reader, received=None, limit_mb=1)
    assert store.valid(lib)
    assert not (by_artifacts.folder / slug("build app")).exists()
