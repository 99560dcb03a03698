"""What `cache report` makes of a plan, of which real outputs and their caches are known."""

from __future__ import annotations

from typing import Any

import pytest

from pipelinegen.cache.trust import publish_caches
from pipelinegen.config_file import parse
from pipelinegen.report.cache_report import CacheHolding, CacheReport, cache_report, report_metrics, report_text
from pipelinegen.testing import plan_recording
from tests.factory import Fleet


def config(**cache: Any) -> Any:
    fleet = {"url": "file:///fleet", "writers": "protected", "publish": True, **cache}
    return parse({"caches": {"fleet": fleet}, "runners": [{"system": "x86_64-linux"}]})


def made(held: set[str], **cache: Any) -> CacheReport:
    """The report on two packages and a failure, of which the cache holds some."""
    fleet = Fleet()
    lib = fleet.drv("lib")
    outputs = {"one": fleet.package("one", fleet.drv("one", lib)), "two": fleet.package("two", fleet.drv("two", lib))}
    fleet.failure("packages", "x86_64-linux", "broken")
    settings = config(**cache)
    paths = {path for name in held for path in outputs[name].wanted_paths}
    plan = plan_recording(fleet.recording(), config=settings, held={"fleet": paths}, scheduled=True).plan
    return cache_report(plan, publish_caches(settings), {})


ONE, TWO = "packages.x86_64-linux.one", "packages.x86_64-linux.two"


def test_what_is_held_needs_nothing() -> None:
    report = made({"one", "two"}, warm=["packages.**"])
    (cache,) = report.caches
    assert cache.held == (ONE, TWO)
    assert (report.exit_code, report.derivations, report.targets) == (0, 0, ())
    assert "to be built again: nothing\n" in report_text(report, lambda words, _: words)


def test_what_is_to_be_kept_warm_and_is_gone_is_lost() -> None:
    report = made({"one"}, warm=["packages.*.two"])
    (cache,) = report.caches
    assert (cache.held, cache.lost, cache.missing) == ((ONE,), (TWO,), ())
    assert report.exit_code == 1
    assert report.derivations == 2, "the output, and the library that only it still needs"
    assert report.targets == (TWO,)
    assert f"{TWO} is to be kept warm, and is not there as a whole" in report_text(report, lambda words, _: words)


def test_what_may_be_collected_is_missing_and_no_failure() -> None:
    report = made({"one"}, warm=["packages.*.one"])
    assert report.caches[0].missing == (TWO,)
    assert report.exit_code == 0


def test_what_a_cache_does_not_include_does_not_belong_there() -> None:
    report = made({"one"}, include=["packages.*.one"], warm=["packages.**"])
    assert (report.caches[0].held, report.caches[0].outputs) == ((ONE,), 1)


def test_a_cache_that_does_not_answer_has_lost_nothing() -> None:
    fleet = Fleet()
    fleet.package("one", fleet.drv("one"))
    settings = config(warm=["packages.**"])
    plan = plan_recording(fleet.recording(), config=settings, scheduled=True).plan
    unknown = tuple(output.model_copy(update={"available": {"fleet": None}}) for output in plan.outputs)
    trouble = CacheHolding(name="fleet", trouble=("it does not answer",), exit_code=4)
    report = cache_report(plan.model_copy(update={"outputs": unknown}), publish_caches(settings), {"fleet": trouble})
    assert report.caches[0].unknown == (ONE,)
    assert report.exit_code == 4
    assert "error: it does not answer" in report_text(report, lambda words, _: words)


def test_what_no_pipeline_pushes_is_left_out_with_the_reason() -> None:
    fleet = Fleet()
    fleet.package("one", fleet.drv("one"))
    settings = parse({"caches": config().model_dump()["caches"], "runners": [{"system": "aarch64-linux"}]})
    plan = plan_recording(fleet.recording(), config=settings, scheduled=True).plan
    report = cache_report(plan, publish_caches(settings), {})
    assert report.caches[0].left_out == {ONE: "no runner is configured for x86_64-linux"}
    assert report.exit_code == 0


def test_the_metrics_count_each_state() -> None:
    text = report_metrics(made({"one"}, warm=["packages.*.two"]))
    for line in (
        'pipelinegen_cache_outputs{cache="fleet",state="held"} 1',
        'pipelinegen_cache_outputs{cache="fleet",state="lost"} 1',
        'pipelinegen_cache_outputs{cache="fleet",state="missing"} 0',
        'pipelinegen_cache_usable{cache="fleet"} 1',
        "pipelinegen_cache_rebuild_derivations 2",
    ):
        assert f"{line}\n" in text
    assert text.endswith("# EOF\n")


def test_outputs_that_do_not_evaluate_are_named() -> None:
    report = made({"one", "two"})
    assert report.failures == ("packages.x86_64-linux.broken",)


@pytest.mark.parametrize("name", ["a\x1b[31m", "b\nc"], ids=["escape", "line"])
def test_foreign_names_cannot_command_a_terminal(name: str) -> None:
    holding = CacheHolding(name="fleet", missing=(name,))
    report = CacheReport(rev=None, caches=(holding,), derivations=1, targets=(name,), seconds=0)
    text = report_text(report, lambda words, _: words)
    assert "\x1b" not in text
    assert "b\nc" not in text
