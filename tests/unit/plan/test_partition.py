"""Grouping by the exact set of targets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.inventory.model import Derivation
from pipelinegen.plan.partition import Group, partition
from pipelinegen.plan.to_build import ToBuild
from tests.factory import Fleet


def all_of(fleet: Fleet) -> ToBuild:
    return ToBuild(graph=dict(fleet.graph), builds={path: {"out"} for path in fleet.graph})


def test_a_shared_library_is_a_group_of_its_own() -> None:
    fleet = Fleet()
    lib = fleet.drv("lib")
    one, two = fleet.drv("one", lib), fleet.drv("two", lib)
    groups = partition(all_of(fleet), [one.path, two.path])
    assert [group.drvs for group in groups] == [(lib.path,), *sorted([(one.path,), (two.path,)])]
    assert [group.depends_on for group in groups] == [(), (0,), (0,)]


def test_what_one_target_needs_alone_is_one_group() -> None:
    fleet = Fleet()
    app = fleet.drv("app", fleet.drv("middle", fleet.drv("lib")))
    (group,) = partition(all_of(fleet), [app.path])
    assert len(group.drvs) == 3
    assert group.drvs[-1] == app.path


def test_a_chain_across_systems_and_back_makes_no_cycle() -> None:
    fleet = Fleet()
    top = fleet.drv("top", fleet.drv("middle", fleet.drv("bottom"), system="aarch64-linux"))
    groups = partition(all_of(fleet), [top.path])
    assert [group.system for group in groups] == ["x86_64-linux", "aarch64-linux", "x86_64-linux"]
    assert [group.depends_on for group in groups] == [(), (0,), (1,)]


def test_a_download_builds_where_its_user_does() -> None:
    fleet = Fleet()
    app = fleet.drv("app", fleet.drv("source", system="builtin"), system="aarch64-linux")
    (group,) = partition(all_of(fleet), [app.path])
    assert group.system == "aarch64-linux"


def test_a_group_asks_for_the_features_of_all_it_builds() -> None:
    fleet = Fleet()
    app = fleet.drv("app", fleet.drv("vm", features=("kvm",)), features=("big-parallel",))
    (group,) = partition(all_of(fleet), [app.path])
    assert group.features == ("big-parallel", "kvm")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Fleet, list[str]]:
    fleet = Fleet()
    made: list[Derivation] = []
    for number in range(draw(st.integers(1, 25))):
        inputs = draw(st.lists(st.sampled_from(made), unique_by=lambda d: d.path, max_size=4)) if made else []
        system = draw(st.sampled_from(["x86_64-linux", "aarch64-linux", "builtin"]))
        made.append(fleet.drv(f"d{number}", *inputs, system=system))
    targets = draw(st.lists(st.sampled_from(made), min_size=1, unique_by=lambda d: d.path))
    return fleet, [target.path for target in targets]


@settings(deadline=None, max_examples=200)
@given(graphs())
def test_any_graph_is_partitioned_once_without_cycles(case: tuple[Fleet, list[str]]) -> None:
    fleet, targets = case
    wanted = closure(fleet, targets)
    graph = {path: fleet.graph[path] for path in wanted}
    groups = partition(ToBuild(graph=graph, builds={path: {"out"} for path in wanted}), targets)
    built = [drv for group in groups for drv in group.drvs]
    assert sorted(built) == sorted(wanted), "each derivation in exactly one group"
    place = {drv: index for index, group in enumerate(groups) for drv in group.drvs}
    for index, group in enumerate(groups):
        waits = waited(groups, index)
        seen: set[str] = set()
        for drv in group.drvs:
            for dep in fleet.graph[drv].inputs:
                assert place[dep] in waits or dep in seen, "a dependency is built before or waited for"
            seen.add(drv)
        assert all(other < index for other in group.depends_on), "dependencies come first, so there is no cycle"


def closure(fleet: Fleet, targets: list[str]) -> set[str]:
    found: set[str] = set()
    todo = list(targets)
    while todo:
        drv = todo.pop()
        if drv not in found:
            found.add(drv)
            todo += fleet.graph[drv].inputs
    return found


def waited(groups: list[Group], index: int) -> set[int]:
    found: set[int] = set()
    todo = list(groups[index].depends_on)
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += groups[other].depends_on
    return found


def test_the_order_of_the_input_does_not_matter() -> None:
    fleet = Fleet()
    lib = fleet.drv("lib")
    targets = [fleet.drv(f"app{number}", lib).path for number in range(20)]
    forward = partition(all_of(fleet), targets)
    backward = ToBuild(
        graph=dict(reversed(fleet.graph.items())), builds={path: {"out"} for path in reversed(fleet.graph)}
    )
    assert partition(backward, list(reversed(targets))) == forward


def test_a_deep_and_wide_graph_is_partitioned_whole() -> None:
    fleet = Fleet()
    layer = [fleet.drv(f"base{number}") for number in range(10)]
    for depth in range(20):
        layer = [fleet.drv(f"d{depth}-{n}", layer[n % len(layer)], layer[(n + 1) % len(layer)]) for n in range(250)]
    groups = partition(all_of(fleet), [drv.path for drv in layer])
    assert sum(len(group.drvs) for group in groups) == 5010
