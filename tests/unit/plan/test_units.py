"""Units: what a job is, what it fetches, and for whom."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.config import Config
from pipelinegen.history import BuildTime, History, merge
from pipelinegen.inventory.model import Derivation
from pipelinegen.plan.model import Stage
from pipelinegen.plan.to_build import ToBuild
from pipelinegen.plan.units import Units, make_units
from tests.factory import SYSTEM, Fleet


def units_of(fleet: Fleet, *, limit: int | None = None, seconds: dict[str, float] | None = None) -> Units:
    times = [BuildTime(name=name, system=SYSTEM, seconds=value) for name, value in (seconds or {}).items()]
    to_build = ToBuild(graph=dict(fleet.graph), builds={path: {"out"} for path in fleet.graph})
    return make_units(to_build, fleet.outputs, Config(), history=merge(History(), times), limit=limit)


def test_a_check_that_repeats_a_shared_derivation_is_a_test_all_the_same() -> None:
    fleet = Fleet()
    small = fleet.drv("small")
    fleet.package("app", fleet.drv("app", small))
    fleet.check("check", fleet.drv("check", fleet.drv("part", small)))
    for limit in (None, 2):
        units = units_of(fleet, limit=limit, seconds={"small": 1.0}).units
        assert {unit.job: unit.stage for unit in units} == {
            "build packages.x86_64-linux.app": Stage.BUILD,
            "test checks.x86_64-linux.check": Stage.TEST,
        }
        assert all(unit.repeats == (small.path,) for unit in units)
        assert not any(small.outputs["out"] in unit.fetch for unit in units), "it is built here"


def test_two_jobs_that_end_in_the_same_repeated_derivation_are_two_jobs() -> None:
    fleet = Fleet()
    small = fleet.drv("small")
    chain = small
    for number in range(1, 9):
        chain = fleet.drv(f"link{number}", chain)
    for letter in "xyz":
        fleet.package(letter, fleet.drv(letter, chain, fleet.drv(f"heavy-{letter}", small)))
    seconds = {drv.name: 0.1 if drv.name.startswith(("small", "link")) else 1700.0 for drv in fleet.graph.values()}
    units = units_of(fleet, seconds=seconds).units
    assert {one.drv_path for unit in units for one in unit.builds} == set(fleet.graph)
    assert sorted(unit.job for unit in units if not unit.targets) == [
        f"build packages.x86_64-linux.{letter}: heavy-{letter} (+9)" for letter in "xyz"
    ], "named by what nobody else builds"


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_build_ever_waits_for_a_test_and_every_input_is_built_or_fetched(data: st.DataObject) -> None:
    fleet = Fleet()
    made: list[Derivation] = []
    for number in range(data.draw(st.integers(1, 20))):
        inputs = data.draw(st.lists(st.sampled_from(made), unique_by=lambda d: d.path, max_size=3)) if made else []
        made.append(fleet.drv(f"d{number}x", *inputs))
    wanted = set()
    for number, drv in enumerate(made):
        kind = data.draw(st.sampled_from(["package", "check", "none"])) if number < len(made) - 1 else "package"
        if kind != "none":
            wanted.add(drv.path)
            (fleet.package if kind == "package" else fleet.check)(f"o{number}", drv)
    todo = list(wanted)
    while todo:
        for path in fleet.graph[todo.pop()].inputs:
            if path not in wanted:
                wanted.add(path)
                todo.append(path)
    fleet.graph = {path: drv for path, drv in fleet.graph.items() if path in wanted}
    seconds = {drv.name: data.draw(st.sampled_from([0.5, 20, 400])) for drv in made if data.draw(st.booleans())}
    units = units_of(fleet, limit=data.draw(st.none() | st.integers(1, 6)), seconds=seconds)
    by_job = {unit.job: unit for unit in units.units}
    assert len(by_job) == len(units.units), "names are unique"
    for unit in units.units:
        assert unit.stage is Stage.TEST or all(by_job[need].stage is Stage.BUILD for need in unit.needs)
        built = {one.drv_path for one in unit.builds}
        for path in built:
            for needed in fleet.graph[path].inputs:
                assert needed in built or fleet.graph[needed].outputs["out"] in unit.fetch
