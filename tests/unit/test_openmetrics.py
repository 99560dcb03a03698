"""Metrics of plans and builds, and the older format in which a Pushgateway takes them."""

from __future__ import annotations

import pytest

from pipelinegen import config_file as configuration
from pipelinegen.config import Runner
from pipelinegen.history import BuildTime, Entry, History, Times
from pipelinegen.openmetrics import Family, to_prometheus, to_text
from pipelinegen.plan.model import Planned
from pipelinegen.recorded import Recorded, covered, recorded
from pipelinegen.report.metrics import plan_metrics
from pipelinegen.run.metrics import of_builds
from pipelinegen.testing import plan_recording
from tests.factory import SYSTEM, Fleet
from tests.unit.run.test_metrics import read

CONFIG = configuration.parse(
    {"caches": {"ci": {"url": "https://cache.example.org/ci"}, "public": {"url": "https://cache.example.org/public"}}}
)


def planned() -> tuple[Planned, Fleet]:
    """Of `hello`, `world` and a host the host is in a cache, and so is what all of them use."""
    fleet = Fleet()
    shared = fleet.drv("shared")
    for name in ("hello", "world"):
        fleet.package(name, fleet.drv(f"{name}-1.0", shared))
    host = fleet.drv("nixos-system-web1", shared)
    fleet.host("web1", host)
    fleet.failure("packages", SYSTEM, "broken")
    held = {"ci": {str(path) for one in (host, shared) for path in one.outputs.values()}}
    return plan_recording(fleet.recording(), config=CONFIG, held=held), fleet


def values(text: str, name: str) -> dict[str, float]:
    """Value of the only label → value of the metric; "" where there is no label."""
    return {labels[0][1] if labels else "": float(value) for labels, value in read(text)[name].samples.items()}


def metrics_of(
    plan: Planned, seconds: tuple[float, float] | None = None, inspected: tuple[int, int] | None = None
) -> str:
    return plan_metrics(plan.plan, plan.work, seconds, inspected)


def test_a_plan_tells_what_is_built_and_what_caches_hold() -> None:
    text = metrics_of(planned()[0])
    assert values(text, "pipelinegen_plan_outputs") == {"run": 2, "available": 1, "skip": 0, "fail": 0}
    assert values(text, "pipelinegen_plan_evaluation_failures") == {"": 1}
    assert values(text, "pipelinegen_plan_available_outputs") == {"ci": 1, "public": 0}
    assert values(text, "pipelinegen_plan_known_outputs") == {"ci": 3, "public": 3}
    assert values(text, "pipelinegen_plan_hit_ratio") == {"ci": 0.333, "public": 0}
    assert values(text, "pipelinegen_plan_derivations") == {"": 2}
    assert values(text, "pipelinegen_plan_jobs")["build"] >= 2


def test_without_recorded_times_nothing_is_said_of_them() -> None:
    assert "pipelinegen_plan_build_seconds" not in read(metrics_of(planned()[0]))


def test_what_was_known_and_what_was_evaluated_is_told_where_there_is_a_memo() -> None:
    plan = planned()[0]
    text = plan_metrics(plan.plan, plan.work, inspected=(2, 1))
    assert values(text, "pipelinegen_plan_inspected_outputs") == {"memo": 2, "evaluation": 1}
    assert "pipelinegen_plan_inspected_outputs" not in read(metrics_of(plan))


def test_a_flake_without_outputs_has_metrics_and_no_hit_rate() -> None:
    text = metrics_of(plan_recording(Fleet().recording(), config=CONFIG))
    assert values(text, "pipelinegen_plan_derivations") == {"": 0}
    assert "pipelinegen_plan_hit_ratio" not in read(text)


def test_what_caches_spare_is_told_from_recorded_times() -> None:
    plan, fleet = planned()
    everything = [path for path in fleet.graph if "broken" not in path]
    history = History(
        entries={
            SYSTEM: {"hello": Entry(recent=(10.0,)), "shared": Entry(recent=(70.0,)), "other": Entry(recent=(9.0,))}
        }
    )
    known = recorded(plan, {SYSTEM: everything}, history)
    assert known == Recorded(to_build=10, spared=70)
    assert known.sentence() == "by recorded build times, builds take 10s, and what is in caches spares 1m 10s"
    text = metrics_of(plan, (10, 80))
    assert values(text, "pipelinegen_plan_build_seconds") == {"with": 10, "without": 80}


def test_a_name_that_many_derivations_have_is_spared_once() -> None:
    plan, fleet = planned()
    sources = [f"/nix/store/{str(number) * 32}-source.drv" for number in range(9)]
    versions = [f"/nix/store/{'a' * 32}-lib-{number}.0.drv" for number in range(9)]
    history = History(entries={SYSTEM: {"source": Entry(recent=(5.0,)), "lib": Entry(recent=(60.0,))}})
    assert recorded(plan, {SYSTEM: [*fleet.graph, *sources, *versions]}, history).spared == 65


def test_what_is_neither_built_nor_in_a_cache_spares_nothing() -> None:
    fleet = Fleet()
    made, elsewhere = fleet.drv("made"), fleet.drv("elsewhere", system="riscv64-linux")
    fleet.package("made", made)
    fleet.package("elsewhere", elsewhere)
    config = CONFIG.model_copy(update={"runners": (Runner(system=SYSTEM),)})
    plan = plan_recording(fleet.recording(), config=config)
    assert covered(plan.plan) == {SYSTEM: [made.path]}
    held = {"ci": set(map(str, elsewhere.outputs.values()))}
    plan = plan_recording(fleet.recording(), config=config, held=held)
    assert sorted(covered(plan.plan)) == ["riscv64-linux", SYSTEM]


def test_the_builds_of_all_jobs_are_told_together() -> None:
    build = BuildTime(name="a", system=SYSTEM, seconds=1.5)
    text = of_builds([Times(builds=(build, build), fetched=3), Times(fetched=4)])
    assert values(text, "pipelinegen_build_jobs") == {"": 2}
    assert values(text, "pipelinegen_build_derivations") == {SYSTEM: 2}
    assert values(text, "pipelinegen_build_seconds") == {SYSTEM: 3}
    assert values(text, "pipelinegen_build_fetched_paths") == {"": 7}


def test_the_older_format_names_counters_as_their_samples() -> None:
    text = to_text(
        [
            Family("sent_bytes", "counter", "Bytes sent.", [((("cache", "ci"),), 7)], "bytes"),
            Family("time_seconds", "gauge", "Time.", [((), 1.5)], "seconds"),
        ]
    )
    assert to_prometheus(text).splitlines() == [
        "# TYPE sent_bytes_total counter",
        "# HELP sent_bytes_total Bytes sent.",
        'sent_bytes_total{cache="ci"} 7',
        "# TYPE time_seconds gauge",
        "# HELP time_seconds Time.",
        "time_seconds 1.500",
    ]


@pytest.mark.parametrize("value", ["a # EOF", "# UNIT x", "two  spaces", "a\x85# EOF", "a\u2028# TYPE", "a\x0c\r#"])
def test_labels_survive_the_older_format(value: str) -> None:
    text = to_text([Family("a", "counter", "A.", [((("label", value),), 1)])])
    assert to_prometheus(text).endswith(f'\na_total{{label="{value}"}} 1\n')
