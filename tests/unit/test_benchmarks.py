"""The simulator that plans are judged by, the graphs it runs on, and the page of figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import graphs, page, plans, pushing_page, results
from benchmarks.simulator import Job, Machines, Work, ideal, longest_way, simulate

ROOT = Path(__file__).parents[2]

CHAIN = Work([10, 20, 30], [(), (0,), (1,)])
DIAMOND = Work([10, 20, 30, 5], [(), (0,), (0,), (1, 2)])


def machines(runners: int, *, overhead: float = 1, builds: int = 1, transfer: float = 0) -> Machines:
    return Machines(runners, overhead, builds, transfer)


def test_one_job_takes_its_overhead_and_all_its_builds() -> None:
    result = simulate(DIAMOND, [Job((0, 1, 2, 3))], machines(4))
    assert (result.makespan, result.jobs, result.executions, result.transfers) == (66, 1, 4, 0)


def test_jobs_run_side_by_side_and_wait_for_what_they_need() -> None:
    jobs = [Job((0,)), Job((1,), (0,)), Job((2,), (0,)), Job((3,), (1, 2))]
    assert simulate(DIAMOND, jobs, machines(2)).makespan == (1 + 10) + (1 + 30) + (1 + 5)
    assert simulate(DIAMOND, jobs, machines(1)).makespan == 4 + 65


def test_of_ready_jobs_the_first_in_the_file_starts() -> None:
    work = Work([10, 10, 1, 10], [(), (), (), (2,)])
    urgent_last = [Job((0,)), Job((1,)), Job((2,)), Job((3,), (2,))]
    assert simulate(work, urgent_last, machines(2, overhead=0)).makespan == 21
    urgent_first = [Job((2,)), Job((0,)), Job((1,)), Job((3,), (0,))]
    assert simulate(work, urgent_first, machines(2, overhead=0)).makespan == 20


def test_several_builds_at_once_in_a_job_obey_their_dependencies() -> None:
    assert simulate(DIAMOND, [Job((0, 1, 2, 3))], machines(1, builds=2)).makespan == 1 + 10 + 30 + 5
    assert simulate(CHAIN, [Job((0, 1, 2))], machines(1, builds=4)).makespan == 61


def test_a_pool_has_runners_of_its_own() -> None:
    work = Work([10, 10, 10], [(), (), ()])
    jobs = [Job((0,), pool="arm"), Job((1,), pool="arm"), Job((2,), pool="x86")]
    assert simulate(work, jobs, Machines({"arm": 1, "x86": 1}, overhead=1)).makespan == 22


def test_what_two_jobs_build_counts_as_duplicate_work() -> None:
    result = simulate(CHAIN, [Job((0, 1)), Job((0, 1, 2))], machines(2))
    assert (result.work, result.distinct, result.duplicate, result.executions) == (90, 60, 30, 5)


def test_paths_from_other_jobs_are_transfers_and_can_cost_time() -> None:
    jobs = [Job((0, 1, 2)), Job((3,), (0,))]
    assert simulate(DIAMOND, jobs, machines(1)).transfers == 2
    slow = simulate(DIAMOND, jobs, machines(1, transfer=7))
    assert slow.makespan == simulate(DIAMOND, jobs, machines(1)).makespan + 14


def test_with_a_shared_cache_a_later_job_builds_only_what_is_left() -> None:
    jobs = [Job((0, 1)), Job((0, 1, 2))]
    assert simulate(CHAIN, jobs, machines(1), shared_cache=True).executions == 3
    assert simulate(CHAIN, jobs, machines(2), shared_cache=True).executions == 5


@pytest.mark.parametrize(
    "jobs",
    [
        pytest.param([Job((0,)), Job((1, 2))], id="another-job-builds-it-and-is-not-needed"),
        pytest.param([Job((1, 2))], id="nobody-builds-it"),
        pytest.param([Job((0, 2, 1))], id="it-comes-after-its-user"),
        pytest.param([Job((0,), (1,)), Job((1, 2), (0,))], id="jobs-wait-for-each-other"),
    ],
)
def test_a_plan_that_lacks_an_input_is_refused(jobs: list[Job]) -> None:
    with pytest.raises(ValueError, match=r"no job before it builds|wait for each other"):
        simulate(CHAIN, jobs, machines(2))


def test_an_input_may_come_from_a_job_that_is_needed_by_a_needed_one() -> None:
    work = Work([1, 1, 1], [(), (0,), (0, 1)])
    assert simulate(work, [Job((0,)), Job((1,), (0,)), Job((2,), (1,))], machines(1)).executions == 3


def test_the_ideal_pays_the_overhead_once_and_is_bounded_by_work_and_longest_way() -> None:
    assert ideal(CHAIN, machines(8)) == 1 + longest_way(CHAIN) == 61
    assert ideal(DIAMOND, machines(1)) == 1 + 65
    assert ideal(DIAMOND, machines(2)) == 1 + 45
    assert ideal(DIAMOND, machines(1, builds=2)) == ideal(DIAMOND, machines(2))


@pytest.mark.parametrize("way", plans.WAYS, ids=lambda way: way.name)
def test_every_way_to_make_jobs_gives_a_plan_that_runs(way: plans.Way) -> None:
    fleet = graphs.synthetic(4, 200)
    known = plans.Known(graphs.even(fleet.graph.values()))
    work = fleet.work(known.seconds)
    for runners in (2, 8):
        result = simulate(work, way.make(fleet, known, runners), machines(runners), shared_cache=way.shared_cache)
        assert result.executions >= len(fleet.graph)
        assert result.distinct == sum(work.seconds)
        assert result.makespan > max(longest_way(work), sum(work.seconds) / runners)


def test_ours_builds_every_derivation_once_where_nothing_is_known_to_be_cheap() -> None:
    fleet = graphs.flat(50)
    known = plans.Known(graphs.even(fleet.graph.values()))
    jobs = plans.ours(fleet, known, 4)
    assert sorted(drv for job in jobs for drv in job.builds) == list(range(len(fleet.graph)))


def test_fleets_are_the_same_every_time() -> None:
    one, two = graphs.synthetic(5, 100), graphs.synthetic(5, 100)
    assert one.graph == two.graph
    assert one.outputs == two.outputs
    assert graphs.uneven(one.graph.values()) == graphs.uneven(two.graph.values())


def test_all_of_a_fleet_is_needed_by_some_output() -> None:
    for fleet in (graphs.synthetic(6, 300), graphs.flat(40)):
        assert all(fleet.users)


PLACES = results.Places.of(None)
PAGES = page.pages(results.load(PLACES))


@pytest.mark.parametrize("name", PAGES)
def test_the_page_of_figures_is_what_the_results_say(name: str) -> None:
    assert (PLACES.page / name).read_text("utf-8") == PAGES[name], "run `python -m benchmarks --page`"


def test_there_is_no_picture_that_the_page_does_not_show() -> None:
    shown = {file.name for file in PLACES.page.glob("figures*")}
    assert shown == set(PAGES)
    for name in shown - {page.NAME}:
        assert f"({name})" in PAGES[page.NAME]


USED = {"seconds": 8.0, "core_seconds": 7.5, "send": 5.0, "verify": 2.0, "peak_mib": 70.0, "uploads": 5000.0}
COPIED = {"seconds": 9.0, "core_seconds": 5.0, "peak_mib": 100.0, "paths": 5000.0}
PUSHED: dict[str, Any] = {
    "paths": 5000,
    "jobs": 4,
    "rounds": 3,
    "faults": 0.05,
    "ways": {"ours": {**USED, "retries": 0.0, "paths": 5000.0}, "http": COPIED},
    "large": {"mib": 2048, "ways": {"ours": {**USED, "mib_per_second": 300}}},
    "query": {"paths": 10000, "servers": {"double": dict.fromkeys(("none", "all", "pull", "bare", "ratio"), 1.25)}},
}


def test_the_page_shows_pushes_without_a_real_server_and_without_room_for_a_large_path() -> None:
    text, pictures = pushing_page.section({**PUSHED, "large": {"missing": "there is no room"}})
    assert set(pictures) == {"figures-push.svg"}
    assert "| **pipelinegen** | 8.00 | 5.00 | 2.00 | 7.50 | 70 | 5,000 | 0 | 5,000 |" in text
    assert "| `nix copy --to http://` | 9.00 |  |  | 5.00 | 100 |  |  | 5,000 |" in text
    assert "| ratio | **1.25** |" in text
    assert "there is no room" in "\n".join(text)
    assert "atticd" not in "\n".join(text)


def test_the_page_shows_pushes_to_a_real_server() -> None:
    servers = dict.fromkeys(("double", "real"), PUSHED["query"]["servers"]["double"])
    ways = {**PUSHED["ways"], "real": PUSHED["ways"]["ours"]}
    text, _ = pushing_page.section({**PUSHED, "ways": ways, "query": {"paths": 10000, "servers": servers}})
    assert "| ratio | **1.25** | **1.25** |" in text
    assert any(line.startswith("| to the real atticd |") for line in text)


def test_the_page_says_why_pushing_was_not_measured() -> None:
    assert "there is no Nix here" in "".join(pushing_page.section({"missing": "there is no Nix here"})[0])
