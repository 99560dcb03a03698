"""`run build` with real Nix."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.console import Console
from pipelinegen.errors import StepFailedError
from pipelinegen.plan.model import Realise, Stage, Unit, Work
from pipelinegen.run.build import run_unit
from pipelinegen.run.handoff import write_handoff
from pipelinegen.run.result import Reports, Status, StepResult
from tests.integration.run.conftest import NIX_CONFIG, Caches, Store

pytestmark = pytest.mark.nix

OURS, THEIRS = PipelineClass.PROTECTED, PipelineClass.UNPROTECTED


def unit_of(*drv_paths: str, fetch: tuple[str, ...] = (), outputs: tuple[str, ...] = ("out",), **more: int) -> Unit:
    return Unit(
        job="build things",
        stage=Stage.BUILD,
        targets=('packages.x86_64-linux."a.b"',),
        builds=tuple(Realise(drv_path=path, outputs=outputs) for path in drv_paths),
        fetch=fetch,
        **more,
    )


def run(
    tmp_path: Path,
    unit: Unit,
    console: Console,
    *,
    config: Config | None = None,
    kind: PipelineClass = OURS,
    reports: Reports | None = None,
) -> StepResult:
    folder = tmp_path / "handoff"
    work = write_handoff(folder, Work(flake=".", units=(unit,)), [one.drv_path for one in unit.builds])
    return run_unit(
        work,
        unit,
        folder=folder,
        config=config or Config(),
        kind=kind,
        console=console,
        reports=reports,
        again="pipelinegen run build 'build things'",
    )


def built_lines(log: io.StringIO) -> list[str]:
    return re.findall(r"^built (\S+\.drv)", log.getvalue(), re.MULTILINE)


def test_what_is_named_is_built_and_counted_once(
    store: Store, tmp_path: Path, console: Console, log: io.StringIO
) -> None:
    drvs = store.instantiate("lib", "app")
    result = run(tmp_path, unit_of(*drvs.values()), console)
    assert result.ok
    assert [item.status for item in result.items] == [Status.OK, Status.OK]
    assert sorted(built_lines(log)) == sorted(drvs.values()) == sorted(result.built)
    assert all(store.valid(store.output(drv)) for drv in drvs.values())


def test_what_is_there_already_is_not_built_again(
    store: Store, tmp_path: Path, console: Console, log: io.StringIO
) -> None:
    drvs = store.instantiate("lib")
    store.build(drvs["lib"])
    result = run(tmp_path, unit_of(*drvs.values()), console)
    assert result.items[0].status is Status.PRESENT
    assert built_lines(log) == []


def test_only_the_named_output_is_handed_over(store: Store, caches: Caches, tmp_path: Path, console: Console) -> None:
    two = store.instantiate("two")["two"]
    run(tmp_path, unit_of(two, outputs=("dev",)), console, config=caches.config)
    assert caches.holds("ours", store.output(two, "dev"))
    assert not caches.holds("ours", store.output(two, "out"))


def test_a_failure_costs_only_what_needs_it_and_the_rest_is_handed_over(
    store: Store, caches: Caches, tmp_path: Path, console: Console, log: io.StringIO
) -> None:
    drvs = store.instantiate("lib", "app", "broken", "above")
    reports = Reports(junit=tmp_path / "out/junit.xml", json_file=tmp_path / "out/result.json")
    result = run(tmp_path, unit_of(*drvs.values()), console, config=caches.config, reports=reports)
    by_name = {item.name: item for item in result.items}
    assert {name: by_name[path].status for name, path in drvs.items()} == {
        "lib": Status.OK,
        "app": Status.OK,
        "broken": Status.FAILED,
        "above": Status.NOT_TRIED,
    }
    assert by_name[drvs["above"]].message == "not tried because broken failed"
    assert by_name[drvs["broken"]].log[-1] == "last words"
    assert caches.holds("ours", store.output(drvs["app"]))
    assert not caches.holds("ours", store.output(drvs["broken"]))
    with pytest.raises(StepFailedError, match="broken failed, 1 was not tried") as raised:
        result.raise_if_failed()
    assert raised.value.exit_code == 1
    text = log.getvalue()
    assert """nix build '.#packages.x86_64-linux."a.b"'""" in text
    assert f"nix-store --realise {drvs['broken']}" in text
    assert "again: pipelinegen run build 'build things'" in text
    suite = ET.parse(tmp_path / "out/junit.xml").getroot()[0]  # noqa: S314  # our own file
    assert suite.attrib["failures"] == "1"
    assert suite.attrib["skipped"] == "1"
    assert StepResult.model_validate_json((tmp_path / "out/result.json").read_bytes()) == result


def test_what_another_job_made_is_fetched_even_where_nix_would_rather_build_it(
    store: Store, caches: Caches, tmp_path: Path, console: Console, log: io.StringIO
) -> None:
    drvs = store.instantiate("lib", "app", "local", "top")
    first = run(tmp_path, unit_of(drvs["lib"], drvs["app"], drvs["local"]), console, config=caches.config)
    assert first.ok
    made = [store.output(drvs[name]) for name in ("app", "local")]
    store.delete(*made, store.output(drvs["lib"]))
    log.truncate(0)
    second = run(tmp_path, unit_of(drvs["top"], fetch=tuple(made)), console, config=caches.config)
    assert second.ok
    assert built_lines(log) == [drvs["top"]]


def test_what_no_cache_has_is_built_instead(
    store: Store, caches: Caches, tmp_path: Path, console: Console, log: io.StringIO
) -> None:
    drvs = store.instantiate("lib", "app", "local", "top")
    result = run(tmp_path, unit_of(drvs["top"], fetch=(store.output(drvs["app"]),)), console, config=caches.config)
    assert result.ok
    assert f"no trusted cache has {store.output(drvs['app'])}" in log.getvalue()
    assert sorted(result.built) == sorted(drvs.values())


def test_a_protected_pipeline_does_not_use_what_others_handed_over(
    store: Store, caches: Caches, tmp_path: Path, console: Console
) -> None:
    drvs = store.instantiate("lib", "app")
    run(tmp_path, unit_of(*drvs.values()), console, config=caches.config, kind=THEIRS)
    app = store.output(drvs["app"])
    assert caches.holds("theirs", app)
    assert not caches.holds("ours", app)
    store.delete(app, store.output(drvs["lib"]))
    again = run(tmp_path, unit_of(drvs["app"], fetch=(app,)), console, config=caches.config, kind=OURS)
    assert sorted(again.built) == sorted(drvs.values())


def test_a_forged_section_marker_is_harmless(store: Store, tmp_path: Path, log: io.StringIO) -> None:
    drvs = store.instantiate("forger")
    result = run(tmp_path, unit_of(*drvs.values()), Console(log, sections=True, colour=True))
    assert not result.ok
    markers = re.findall(r"section_(?:start|end):[^\r]*", log.getvalue())
    assert markers == []
    assert built_lines(log) == []


def test_a_failure_is_never_inside_a_section(store: Store, tmp_path: Path, log: io.StringIO) -> None:
    drvs = store.instantiate("lib", "broken")
    run(tmp_path, unit_of(*drvs.values()), Console(log, sections=True))
    text = log.getvalue()
    assert "section_start" in text
    outside = re.sub(r"\x1b\[0Ksection_start:.*?section_end:[^\r]*\r\x1b\[0K", "", text, flags=re.DOTALL)
    assert "last words" in outside
    assert "building lib" not in outside


def test_what_is_named_by_its_content_is_found_after_the_build(
    store: Store, caches: Caches, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = NIX_CONFIG.replace("nix-command flakes", "nix-command flakes ca-derivations")
    monkeypatch.setenv("NIX_CONFIG", features)
    drvs = store.instantiate("byContent", "broken")
    result = run(tmp_path, unit_of(*drvs.values()), console, config=caches.config)
    assert [item.status for item in result.items] == [Status.OK, Status.FAILED]
    assert any("by-content" in file.read_text() for file in (caches.folder / "ours").glob("*.narinfo"))


def test_a_derivation_for_another_system_fails_with_nixs_words(store: Store, tmp_path: Path, console: Console) -> None:
    drvs = store.instantiate("foreign")
    result = run(tmp_path, unit_of(*drvs.values()), console)
    assert result.items[0].status is Status.FAILED
    assert "riscv-nowhere" in (result.items[0].message or "")
    assert not result.transient


def test_a_build_that_takes_too_long_fails(store: Store, tmp_path: Path, console: Console) -> None:
    drvs = store.instantiate("eternal")
    result = run(tmp_path, unit_of(*drvs.values(), timeout=1), console)
    assert "timed out" in (result.items[0].message or "")
    assert not result.transient


def test_a_handover_that_fails_ends_the_job_though_all_was_made(
    store: Store, caches: Caches, tmp_path: Path, console: Console
) -> None:
    broken = caches.config.caches["ours"].model_copy(update={"url": "file:///proc/nowhere"})
    config = caches.config.model_copy(update={"caches": {**caches.config.caches, "ours": broken}})
    drvs = store.instantiate("lib")
    with pytest.raises(StepFailedError, match="pushing to cache ours failed"):
        run(tmp_path, unit_of(*drvs.values()), console, config=config)


def test_a_build_that_fails_for_an_output_that_only_others_need_is_no_success(
    store: Store, tmp_path: Path, console: Console
) -> None:
    drvs = store.instantiate("once", "usesDev")
    store.build(drvs["once"])
    store.delete(store.output(drvs["once"], "dev"))
    store_folder = Path(drvs["once"]).parent
    store_folder.with_name(f"{store_folder.name}.stop").touch()
    result = run(tmp_path, unit_of(*drvs.values()), console)
    assert not result.ok
    assert not store.valid(store.output(drvs["usesDev"]))
    assert {item.name: item.status for item in result.items} == {
        drvs["once"]: Status.FAILED,
        drvs["usesDev"]: Status.NOT_TRIED,
    }
