"""Collectors: few needs each, nothing waits for less than before, nothing for more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.pipeline.limits import Limits
from pipelinegen.pipeline.model import Artifacts, Job, Need, Pipeline
from pipelinegen.pipeline.needs_tree import OUTPUTS_OF_ALL, fan_in
from pipelinegen.pipeline.verify import Finding, verify
from tests.unit.pipeline.samples import STAGES, job


def waiting(name: str, *names: str, **keywords: object) -> Job:
    return job(name, **{"stage": "deploy", "needs": tuple(Need(job=name) for name in names), **keywords})


def sources(count: int, stage: str = "build", word: str = "b") -> tuple[Job, ...]:
    return tuple(job(f"{word}{number}", stage=stage, needs=()) for number in range(count))


def names(jobs: tuple[Job, ...]) -> tuple[str, ...]:
    return tuple(job.name for job in jobs)


def waits_for(jobs: tuple[Job, ...], name: str) -> set[str]:
    """What `name` waits for, collectors looked through."""
    by_name = {job.name: job for job in jobs}
    found: set[str] = set()
    for needed in by_name[name].local_needs:
        found |= waits_for(jobs, needed) if needed.startswith("collect ") else {needed}
    return found


def test_few_needs_are_left_alone() -> None:
    jobs = (*sources(45), waiting("gate", *names(sources(45))))
    assert fan_in(jobs) == jobs


def test_one_need_too_many_makes_one_collector() -> None:
    jobs = (*sources(46), waiting("gate", *names(sources(46)), tags=("x",), image="nix"))
    *before, collector, gate = fan_in(jobs)
    assert tuple(before) == jobs[:46]
    assert collector.name == "collect build #1"
    assert collector.local_needs == names(sources(45))
    assert gate.local_needs == ("collect build #1", "b45")
    assert (collector.tags, collector.image) == (("x",), "nix")
    assert collector.variables == {"GIT_STRATEGY": "none"}
    assert collector.stage == "build"


def test_a_collector_is_in_the_latest_stage_of_what_it_collects() -> None:
    built, tested = sources(3), sources(3, "test", "t")
    jobs = (*built, *tested, waiting("gate", *names(tested), *names(built)))
    made = {job.name: (job.stage, job.local_needs) for job in fan_in(jobs, 2) if job.name.startswith("collect")}
    assert made["collect build #1"] == ("build", ("b0", "b1"))
    assert made["collect test #1"] == ("test", ("b2", "t0"))


def test_a_tree_grows_as_high_as_it_must() -> None:
    jobs = (*sources(1000), waiting("gate", *names(sources(1000))))
    grown = fan_in(jobs, 10)
    assert max(len(job.needs or ()) for job in grown) == 10
    assert len(grown) - len(jobs) == 100 + 0 + 10, "a hundred leaves, ten above them"


def test_jobs_that_wait_for_the_same_share_their_collectors() -> None:
    tests = sources(300, "test", "t")
    hosts = [waiting(f"deploy web{number}", *names(tests), f"own{number}") for number in range(50)]
    own = tuple(job(f"own{number}", needs=()) for number in range(50))
    jobs = (*tests, *own, *hosts)
    grown = fan_in(jobs)
    assert len(grown) - len(jobs) == 7, "one tree for all hosts"
    assert verify_graph(grown) == ()


def test_needs_that_are_about_other_files_stay() -> None:
    special = (
        Need(job="b0", artifacts=True),
        Need(job="b1", optional=True),
        Need(job="inspect", pipeline="$PARENT_PIPELINE_ID", artifacts=True),
    )
    many = tuple(Need(job=name) for name in names(sources(60))[2:])
    gate = job("gate", stage="deploy", needs=(*special, *many), dependencies=("b0", "b59"))
    grown = fan_in((*sources(60), gate))[-1]
    assert set(special) <= set(grown.needs or ())
    assert "b59" in grown.local_needs, "an artifact is downloaded from it"
    assert len(grown.needs or ()) <= 45


def leaving(count: int) -> tuple[Job, ...]:
    """Jobs that leave outputs for others."""
    return tuple(
        job(f"b{number}", stage="build", needs=(), artifacts=Artifacts(paths=(f"{OUTPUTS_OF_ALL}b{number}/",)))
        for number in range(count)
    )


def takes_from(jobs: tuple[Job, ...], name: str) -> set[str]:
    """Whose outputs a job downloads, those that collectors pass on included."""
    by_name = {job.name: job for job in jobs}
    found: set[str] = set()
    for need in by_name[name].needs or ():
        if need.artifacts:
            found |= takes_from(jobs, need.job) if need.job.startswith("collect ") else {need.job}
    return found


def test_outputs_are_passed_on_by_collectors_that_upload_them_again() -> None:
    built, tested = leaving(100), sources(100, "test", "t")
    needs = (*(Need(job=one.name, artifacts=True) for one in built), *(Need(job=one.name) for one in tested))
    deploy = job("deploy", stage="deploy", needs=needs)
    grown = fan_in((*built, *tested, deploy), max_artifact_mb=7)
    assert takes_from(grown, "deploy") == set(names(built))
    assert waits_for(grown, "deploy") == set(names((*built, *tested)))
    assert max(len(job.needs or ()) for job in grown) <= 45
    for collector in grown:
        if collector.name.startswith("collect build"):
            assert collector.artifacts == Artifacts(paths=(OUTPUTS_OF_ALL,), expire_in="1 week")
            assert all(need.artifacts for need in collector.needs or ())
            assert "7168" in collector.script[-1], "KiB of an archive"
        elif collector.name.startswith("collect test"):
            assert collector.artifacts is None
            assert not any(need.artifacts for need in collector.needs or ())
    assert verify_graph(grown) == ()


def test_collectors_of_collectors_pass_outputs_on_too() -> None:
    built = leaving(200)
    deploy = job("deploy", stage="deploy", needs=tuple(Need(job=one.name, artifacts=True) for one in built))
    grown = fan_in((*built, deploy), 5)
    assert takes_from(grown, "deploy") == set(names(built))
    assert max(len(job.needs or ()) for job in grown) == 5


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_one_of_each_kind_ends_even_where_there_is_room_for_one(limit: int) -> None:
    built = leaving(2)
    parent = tuple(Need(job=f"p{number}", pipeline="$PARENT_PIPELINE_ID", artifacts=True) for number in range(3))
    needs = (Need(job="b0", artifacts=True), Need(job="b1"), *parent)
    grown = fan_in((*built, job("deploy", stage="deploy", needs=needs)), limit)
    assert takes_from(grown, "deploy") >= {"b0"}
    assert waits_for(grown, "deploy") == {"b0", "b1"}


def test_a_collector_does_not_take_the_name_of_a_job() -> None:
    jobs = (*sources(46), job("collect build #1", needs=()), waiting("gate", *names(sources(46))))
    grown = fan_in(jobs)
    assert len({job.name for job in grown}) == len(grown)
    assert verify_graph(grown) == ()


def test_needs_that_do_not_exist_are_left_for_the_verifier() -> None:
    grown = fan_in((waiting("gate", *(f"ghost{number}" for number in range(60))),))
    assert {finding.rule for finding in verify_graph(grown)} == {"L03"}


@pytest.mark.parametrize("limit", [-3, 0, 1])
def test_a_senseless_limit_ends_too(limit: int) -> None:
    grown = fan_in((*sources(9), waiting("gate", *names(sources(9)))), limit)
    assert max(len(job.needs or ()) for job in grown) == 2


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Job, ...]:
    """Any acyclic jobs over the four stages: each needs some before it in no later stage."""
    stages = sorted(draw(st.lists(st.sampled_from(range(4)), min_size=1, max_size=25)))
    jobs: list[Job] = []
    for number, stage in enumerate(stages):
        before = draw(st.sets(st.integers(0, number - 1))) if number else set()
        needs = tuple(Need(job=f"j{one}", artifacts=draw(st.integers(0, 9)) == 0) for one in sorted(before))
        jobs.append(job(f"j{number}", stage=STAGES[stage], needs=needs))
    return tuple(jobs)


@settings(max_examples=200, deadline=None)
@given(graphs(), st.integers(2, 12))
def test_any_graph_becomes_a_verified_pipeline_that_waits_for_the_same(jobs: tuple[Job, ...], limit: int) -> None:
    artifacts = max(sum(need.artifacts for need in job.needs or ()) for job in jobs)
    grown = fan_in(jobs, limit)
    assert verify_graph(grown, max(limit, artifacts + 1)) == ()
    for one in jobs:
        assert waits_for(grown, one.name) == waits_for(jobs, one.name)
    assert tuple(job for job in names(grown) if job.startswith("j")) == names(jobs), "the order is kept"
    assert fan_in(jobs, limit) == grown


def verify_graph(jobs: tuple[Job, ...], max_needs: int = 45) -> tuple[Finding, ...]:
    return verify(Pipeline(stages=STAGES, jobs=jobs), Limits(max_needs=max_needs, max_jobs=10_000), "17.5")


def test_thousands_of_needs_take_no_time_to_speak_of() -> None:
    jobs = (*sources(5000), *(waiting(f"gate{number}", *names(sources(5000))) for number in range(3)))
    assert max(len(job.needs or ()) for job in fan_in(jobs)) == 45
