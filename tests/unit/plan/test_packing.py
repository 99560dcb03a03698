"""Putting derivations into jobs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.config import Packing, Runner
from pipelinegen.history import BuildTime, History, merge
from pipelinegen.inventory.model import Derivation
from pipelinegen.plan.packing import Costs, Group, pack
from pipelinegen.plan.to_build import ToBuild
from tests.factory import SYSTEM, Fleet

RUNNERS = (Runner(system=SYSTEM), Runner(system="aarch64-linux"))


def all_of(fleet: Fleet) -> ToBuild:
    return ToBuild(graph=dict(fleet.graph), builds={path: {"out"} for path in fleet.graph})


def packed(
    fleet: Fleet,
    *targets: Derivation,
    packing: Packing | None = None,
    runners: tuple[Runner, ...] = RUNNERS,
    history: History | None = None,
    limit: int | None = None,
    tests: tuple[Derivation, ...] = (),
) -> list[Group]:
    return pack(
        all_of(fleet),
        [target.path for target in targets],
        costs=Costs(history=history or History()),
        packing=packing or Packing(),
        runners=runners,
        limit=limit,
        tests=[target.path for target in tests],
    )


def names(fleet: Fleet, groups: list[Group]) -> list[list[str]]:
    return [sorted(fleet.graph[drv].name for drv in group.drvs) for group in groups]


def recorded(seconds: dict[str, float]) -> History:
    times = [BuildTime(name=name, system=SYSTEM, seconds=value) for name, value in seconds.items()]
    return merge(History(), times)


def test_a_shared_library_is_a_group_of_its_own() -> None:
    fleet = Fleet()
    lib = fleet.drv("lib")
    groups = packed(fleet, fleet.drv("one", lib), fleet.drv("two", lib))
    assert sorted(names(fleet, groups)) == [["lib"], ["one"], ["two"]]
    assert groups[0].drvs == (lib.path,)
    assert [group.depends_on for group in groups] == [(), (0,), (0,)]


def test_what_one_target_needs_alone_is_one_group() -> None:
    fleet = Fleet()
    app = fleet.drv("app", fleet.drv("middle", fleet.drv("lib")))
    (group,) = packed(fleet, app)
    assert len(group.drvs) == 3
    assert group.drvs[-1] == app.path


def test_a_chain_across_systems_and_back_makes_no_cycle() -> None:
    fleet = Fleet()
    top = fleet.drv("top", fleet.drv("middle", fleet.drv("bottom"), system="aarch64-linux"))
    groups = packed(fleet, top)
    assert [group.system for group in groups] == ["x86_64-linux", "aarch64-linux", "x86_64-linux"]
    assert [group.depends_on for group in groups] == [(), (0,), (1,)]


def test_a_download_builds_where_its_user_does() -> None:
    fleet = Fleet()
    app = fleet.drv("app", fleet.drv("source", system="builtin"), system="aarch64-linux")
    (group,) = packed(fleet, app)
    assert group.system == "aarch64-linux"


def test_only_what_asks_for_a_feature_goes_to_the_runner_that_offers_it() -> None:
    fleet = Fleet()
    app = fleet.drv("app", fleet.drv("vm", features=("kvm",)))
    runners = (Runner(system=SYSTEM), Runner(system=SYSTEM, features=("kvm",)))
    groups = packed(fleet, app, runners=runners)
    assert [group.features for group in groups] == [("kvm",), ()]


def test_features_that_no_runner_offers_are_kept_so_that_nix_can_say_what_is_missing() -> None:
    fleet = Fleet()
    (group,) = packed(fleet, fleet.drv("vm", features=("kvm",)))
    assert group.features == ("kvm",)


def test_two_long_parts_that_nothing_connects_run_side_by_side() -> None:
    fleet = Fleet()
    long_ways = []
    for side in "lr":
        previous = fleet.drv(f"{side}0")
        for number in range(1, 20):
            previous = fleet.drv(f"{side}{number}", previous)
        long_ways.append(previous)
    top = fleet.drv("top", *long_ways)
    groups = packed(fleet, top)
    assert [len(group.drvs) for group in groups] == [20, 20, 1], "what waits for both would hold up either"


def test_one_runner_gets_one_job() -> None:
    fleet = Fleet()
    top = fleet.drv("top", *(fleet.drv(f"part{number}") for number in range(20)))
    (group,) = packed(fleet, top, runners=(Runner(system=SYSTEM, count=1),))
    assert len(group.drvs) == 21


def test_no_job_holds_more_work_than_it_may_where_it_can_be_divided() -> None:
    fleet = Fleet()
    previous = fleet.drv("d0")
    for number in range(1, 50):
        previous = fleet.drv(f"d{number}", previous)
    groups = packed(fleet, previous, packing=Packing(max_job_seconds=300))
    assert max(group.seconds for group in groups) <= 300
    assert sum(len(group.drvs) for group in groups) == 50


def test_recorded_times_decide_instead_of_guesses() -> None:
    fleet = Fleet()
    parts = [fleet.drv(f"part{letter}") for letter in "abcdef"]
    top = fleet.drv("top", *parts)
    quick = recorded({one.name: 1.0 for one in (*parts, top)})
    assert len(packed(fleet, top, history=quick)) == 1
    slow = recorded({one.name: 900.0 for one in (*parts, top)})
    assert len(packed(fleet, top, history=slow)) > 1


def test_what_is_cheaper_to_repeat_than_to_hand_over_is_repeated_and_declared() -> None:
    fleet = Fleet()
    small = fleet.drv("small")
    apps = [fleet.drv(f"app{number}", small) for number in range(3)]
    history = recorded({"small": 2.0})
    groups = packed(fleet, *apps, history=history)
    assert [group.repeats for group in groups] == [(small.path,)] * 3
    assert all(group.depends_on == () for group in groups)
    assert len(packed(fleet, *apps, history=history, packing=Packing(repeat=False))) == 4
    assert len(packed(fleet, *apps)) == 4, "what nobody timed is not repeated"


def test_a_target_is_never_repeated() -> None:
    fleet = Fleet()
    small = fleet.drv("small")
    groups = packed(fleet, small, fleet.drv("app", small), history=recorded({"small": 1.0}))
    assert [group.repeats for group in groups] == [(), ()]


def test_beyond_the_limit_jobs_of_different_targets_are_joined_and_marked() -> None:
    fleet = Fleet()
    lib = fleet.drv("lib")
    apps = [fleet.drv(f"app{number}", lib) for number in range(40)]
    groups = packed(fleet, *apps, limit=11)
    assert len(groups) <= 11
    assert sum(len(group.drvs) for group in groups) == 41
    assert all(group.mixed for group in groups if len(group.drvs) > 1)
    assert not any(group.mixed for group in packed(fleet, *apps))


def test_tests_are_not_joined_with_what_is_to_be_published() -> None:
    fleet = Fleet()
    apps = [fleet.drv(f"app{number}") for number in range(20)]
    checks = [fleet.drv(f"check{number}") for number in range(20)]
    groups = packed(fleet, *apps, *checks, limit=4, tests=tuple(checks))
    assert {frozenset(name[:3] for name in some) for some in names(fleet, groups)} == {
        frozenset({"app"}),
        frozenset({"che"}),
    }


def test_what_a_job_repeats_does_not_make_it_serve_others() -> None:
    fleet = Fleet()
    small = fleet.drv("small")
    app, check = fleet.drv("app", small), fleet.drv("check", small)
    groups = packed(fleet, app, check, history=recorded({"small": 1.0}))
    assert [group.targets for group in groups if group.drvs[-1] == check.path] == [0b10]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Fleet, list[Derivation], Packing, History, tuple[Runner, ...], int | None]:
    fleet = Fleet()
    made: list[Derivation] = []
    for number in range(draw(st.integers(1, 30))):
        inputs = draw(st.lists(st.sampled_from(made), unique_by=lambda d: d.path, max_size=4)) if made else []
        system = draw(st.sampled_from([SYSTEM, SYSTEM, SYSTEM, "aarch64-linux", "builtin"]))
        features = ("kvm",) if draw(st.integers(0, 9)) == 0 else ()
        made.append(fleet.drv(f"d{number}", *inputs, system=system, features=features))
    targets = draw(st.lists(st.sampled_from(made), min_size=1, unique_by=lambda d: d.path))
    packing = Packing(
        job_seconds=draw(st.sampled_from([0, 1, 30, 600])),
        default_seconds=draw(st.sampled_from([0.1, 30, 900])),
        max_job_seconds=draw(st.sampled_from([1, 60, 1800])),
        repeat=draw(st.booleans()),
    )
    timed = draw(st.lists(st.sampled_from(made), unique_by=lambda d: d.path))
    history = merge(
        History(),
        [
            BuildTime(name=d.name, system=d.system, seconds=draw(st.sampled_from([0.0, 0.5, 5, 300, 5000])))
            for d in timed
        ],
    )
    count, builds = draw(st.sampled_from([1, 2, 8, 32])), draw(st.sampled_from([1, 4]))
    runners = (
        Runner(system=SYSTEM, count=count, builds=builds),
        Runner(system="aarch64-linux"),
        Runner(system=SYSTEM, features=("kvm",)),
    )
    return fleet, targets, packing, history, runners, draw(st.none() | st.integers(1, 10))


@settings(deadline=None, max_examples=300)
@given(cases())
def test_any_graph_is_built_once_in_order_and_failures_stay_where_they_belong(
    case: tuple[Fleet, list[Derivation], Packing, History, tuple[Runner, ...], int | None],
) -> None:
    fleet, targets, packing, history, runners, limit = case
    users = needed_by(fleet, targets)
    to_build = ToBuild(graph={path: fleet.graph[path] for path in users}, builds={path: {"out"} for path in users})
    paths = [target.path for target in targets]
    groups = pack(to_build, paths, costs=Costs(packing.default_seconds, history), packing=packing,
                  runners=runners, limit=limit)  # fmt: skip
    built = Counter(drv for group in groups for drv in group.drvs)
    assert set(built) == set(users), "each derivation is built"
    repeats = {drv for group in groups for drv in group.repeats}
    assert {drv for drv, count in built.items() if count > 1} == repeats, "once, or it is declared"
    assert packing.repeat or not repeats
    for index, group in enumerate(groups):
        assert all(other < index for other in group.depends_on), "dependencies come first, so there is no cycle"
        before = {drv for other in waited(groups, index) for drv in groups[other].drvs}
        direct = {drv for other in group.depends_on for drv in groups[other].drvs}
        seen: set[str] = set()
        for drv in group.drvs:
            inputs = set(fleet.graph[drv].inputs)
            assert inputs <= seen | before, "a dependency is built before or waited for"
            assert inputs <= seen | direct, "the job that makes what is read is named"
            seen.add(drv)
        own = {users[drv] for drv in group.drvs if drv not in repeats}
        assert group.mixed == (len(own) > 1)
        assert limit is not None or not group.mixed, "one target's failure blocks no other"
        whole: frozenset[str] = frozenset().union(*own)
        assert {paths[bit] for bit in range(len(paths)) if group.targets >> bit & 1} == whole
        assert closure(fleet, group.covering) >= {drv for drv in group.drvs if drv not in repeats}


def closure(fleet: Fleet, targets: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    todo = list(targets)
    while todo:
        drv = todo.pop()
        if drv not in found:
            found.add(drv)
            todo += fleet.graph[drv].inputs
    return found


def needed_by(fleet: Fleet, targets: list[Derivation]) -> dict[str, frozenset[str]]:
    """Derivation → the targets that need it."""
    closures = {target.path: closure(fleet, (target.path,)) for target in targets}
    every = set().union(*closures.values())
    return {drv: frozenset(path for path, needed in closures.items() if drv in needed) for drv in every}


def waited(groups: list[Group], index: int) -> set[int]:
    found: set[int] = set()
    todo = list(groups[index].waits_for)
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += groups[other].waits_for
    return found


def test_the_order_of_the_graph_does_not_matter() -> None:
    fleet = Fleet()
    lib = fleet.drv("lib")
    targets = [fleet.drv(f"app{number}", lib).path for number in range(20)]
    backward = ToBuild(
        graph=dict(reversed(fleet.graph.items())), builds={path: {"out"} for path in reversed(fleet.graph)}
    )
    options = {"costs": Costs(), "packing": Packing(), "runners": RUNNERS}
    assert pack(backward, targets, **options) == pack(all_of(fleet), targets, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [None, 300])
def test_a_deep_and_wide_graph_is_packed_whole(limit: int | None) -> None:
    fleet = Fleet()
    layer = [fleet.drv(f"base{number}") for number in range(10)]
    for depth in range(20):
        layer = [fleet.drv(f"d{depth}-{n}", layer[n % len(layer)], layer[(n + 1) % len(layer)]) for n in range(250)]
    groups = packed(fleet, *layer, limit=limit)
    assert sum(len(group.drvs) for group in groups) == 5010
    assert limit is None or len(groups) <= limit
