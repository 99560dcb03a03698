"""The pipelines of fleets, run by GitLab's rules: whatever fails and whoever approves, no wave starts too early."""

from __future__ import annotations

import itertools
import random
import shlex
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_file import parse
from pipelinegen.config_hosts import Policy
from pipelinegen.errors import VerificationError
from pipelinegen.pipeline.children import make_files
from pipelinegen.pipeline.compile import Surroundings, compile_pipeline
from pipelinegen.pipeline.emit import from_yaml, to_yaml
from pipelinegen.pipeline.limits import Limits
from pipelinegen.pipeline.model import Job, Pipeline
from pipelinegen.pipeline.schema import schema_findings
from pipelinegen.pipeline.verify import require_valid, verify
from pipelinegen.plan.model import Planned
from pipelinegen.plan.waves import Rollout, make_waves
from pipelinegen.testing import plan_recording
from tests.factory import Fleet
from tests.unit.pipeline.simulator import Simulation

PROTECTED = Surroundings(kind=PipelineClass.PROTECTED)


def config(hosts: dict[str, dict[str, Any]], gitlab: dict[str, Any] | None = None, **fleet: Any) -> Config:
    named = {
        name: {"address": "h", "environment": f"env-{at}", **more} for at, (name, more) in enumerate(hosts.items())
    }
    return parse({"hosts": named, "fleet": fleet, "packing": {"record": False}, "gitlab": gitlab or {}})


def planned(made: Config, *, checks: int = 1) -> Planned:
    flake = Fleet()
    for number in range(checks):
        flake.check(f"c{number}", flake.drv(f"check-{number}"))
    for name in made.hosts:
        flake.host(name, flake.drv(f"system-{name}"))
    return plan_recording(flake.recording(), config=made)


def compiled(made: Config, *, checks: int = 1) -> Pipeline:
    """The pipeline as GitLab reads it."""
    text = to_yaml(compile_pipeline(planned(made, checks=checks), made, PROTECTED))
    pipeline = from_yaml(text)
    require_valid(pipeline, Limits(), made.gitlab.version, yaml_bytes=len(text.encode()))
    return pipeline


@dataclass
class Watched:
    """A fleet's pipeline that runs, in which the jobs of `failing` fail; every start is judged."""

    made: Config
    pipeline: Pipeline
    failing: Collection[str]

    def __post_init__(self) -> None:
        self.rollout: Rollout = make_waves(self.made.hosts, self.made)
        self.wave = {f"deploy {host}": wave for wave in self.rollout.waves for host in wave.everyone}
        self.groups: dict[str, str] = {}
        self.too_early: list[str] = []
        self.run: Simulation | None = None
        self.run = Simulation(self.pipeline, self.ends, self.starts)

    @property
    def statuses(self) -> dict[str, str]:
        return self.run.statuses if self.run is not None else {}

    def well(self, host: str) -> bool:
        return self.statuses.get(f"deploy {host}") == "success"

    def ends(self, job: Job) -> bool:
        words = shlex.split(job.script[0])
        if "--max-failures" not in words:
            return job.name not in self.failing
        allowed = int(words[words.index("--max-failures") + 1])
        hosts = words[words.index("--") + 1 :]
        failed = sum(not self.well(host) for host in hosts)
        return failed <= allowed and failed < len(hosts)

    def starts(self, job: Job) -> None:
        wave = self.wave.get(job.name)
        if wave is None:
            return
        for before in self.rollout.waves:
            if before.number < wave.number and not self._went_well(before.hosts, self.rollout.allowed(before) or 0):
                self.too_early.append(f"{job.name}: wave {before.number}: {self.statuses}")

    def _went_well(self, hosts: Collection[str], allowed: int) -> bool:
        ended = all(self.statuses.get(f"deploy {host}") in {"success", "failed", "skipped"} for host in hosts)
        return ended and sum(not self.well(host) for host in hosts) <= allowed

    def finish(self, choose: random.Random, *, played: Callable[[str], bool]) -> None:
        """End what runs in any order; play manual jobs at any time."""
        assert self.run is not None
        while True:
            wanted = [name for name in self.run.playable if played(name)]
            if not self.run.running and not wanted:
                return
            name = choose.choice([*self.run.running, *wanted])
            if name in wanted:
                self.run.play(name)
            else:
                self.run.end(name)


def deploys(pipeline: Pipeline) -> list[str]:
    return [job.name for job in pipeline.jobs if job.deploys]


def subsets(names: Collection[str]) -> Iterator[tuple[str, ...]]:
    return itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(len(names) + 1))


def rolls(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # the same in every run


PLAIN: dict[str, dict[str, Any]] = {name: {} for name in "abcde"}
FLEETS: dict[str, tuple[dict[str, dict[str, Any]], dict[str, Any]]] = {
    "two canaries": (PLAIN, {"canary": ["a", "b"]}),
    "a canary, then two each": (PLAIN, {"canary": ["a"], "wave": "2"}),
    "no canary": (PLAIN, {"wave": "2"}),
    "one failure is allowed": (PLAIN, {"canary": ["a"], "wave": "2", "max_failures": 1}),
    "hosts are brought back": (PLAIN, {"canary": ["a"], "wave": "2", "rollback_succeeded": True}),
    "both": (PLAIN, {"canary": ["a"], "wave": "2", "max_failures": 1, "rollback_succeeded": True}),
    "one wave is brought back": (PLAIN, {"rollback_succeeded": True}),
    "approved once": (PLAIN, {"canary": ["a"], "wave": "2", "approve": "after-canary"}),
    "approved each": (PLAIN, {"canary": ["a"], "wave": "2", "approve": "each"}),
    "manual hosts": (
        {"a": {}, "b": {"policy": "manual"}, "c": {}, "d": {"last": True}, "e": {"policy": "manual", "last": True}},
        {"canary": ["a"], "max_failures": 1},
    ),
}


@pytest.mark.parametrize(("hosts", "fleet"), FLEETS.values(), ids=FLEETS.keys())
@pytest.mark.parametrize("gate", ["all", "related"])
def test_no_wave_starts_before_the_one_before_has_gone_well_whatever_fails(
    hosts: dict[str, dict[str, Any]], fleet: dict[str, Any], gate: str
) -> None:
    made = config({name: {**more, "gate": gate} for name, more in hosts.items()}, **fleet)
    pipeline = compiled(made)
    choose = rolls(7)
    played_some = played_none = 0
    for failing in subsets(deploys(pipeline)):
        for _ in range(3):
            opened = choose.choice([0.0, 0.5, 1.0])
            coins: dict[str, bool] = {}
            watched = Watched(made, pipeline, failing)
            watched.finish(choose, played=lambda name: coins.setdefault(name, choose.random() < opened))  # noqa: B023
            assert watched.too_early == []
            played_some += any(coins.values())
            played_none += not any(coins.values())
            assert_hosts_are_brought_back(watched)
    assert played_none
    assert bool(played_some) == any(job.manual for job in pipeline.jobs)


def assert_hosts_are_brought_back(watched: Watched) -> None:
    """Exactly when a wave has failed, and then every one that the pipeline had deployed by itself."""
    rollout = watched.rollout
    automatic = [host for wave in rollout.waves for host in wave.hosts]
    begun = [wave for wave in rollout.waves if any(watched.statuses[f"deploy {h}"] != "skipped" for h in wave.hosts)]
    good = len(begun) == len([wave for wave in rollout.waves if wave.hosts]) and all(
        failed <= (rollout.allowed(wave) or 0) and failed < len(wave.hosts)
        for wave in begun
        for failed in [sum(not watched.well(host) for host in wave.hosts)]
    )
    for host in automatic:
        status = watched.statuses.get(f"rollback {host}")
        if not rollout.brings_back:
            assert status is None
        elif watched.well(host):
            assert (status == "success") is not good, (host, watched.statuses)
        else:
            # It undid itself, or was not touched: the job has nothing to do, if it runs at all.
            assert status in {"success", "skipped"}


@pytest.mark.parametrize(("hosts", "fleet"), FLEETS.values(), ids=FLEETS.keys())
def test_everything_is_deployed_where_nothing_fails_and_everybody_approves(
    hosts: dict[str, dict[str, Any]], fleet: dict[str, Any]
) -> None:
    made = config(hosts, **fleet)
    pipeline = compiled(made)
    watched = Watched(made, pipeline, ())
    watched.finish(rolls(1), played=lambda _: True)
    undone = {name for name in watched.statuses if name.startswith("rollback")}
    assert {name for name, status in watched.statuses.items() if status == "skipped"} == undone
    assert {status for name, status in watched.statuses.items() if name not in undone} == {"success"}


def test_a_host_that_was_not_built_is_a_failed_one_and_its_wave_is_still_waited_for() -> None:
    made = config({name: {"gate": "related"} for name in "abcd"}, canary=["a"], wave="2", max_failures=1)
    pipeline = compiled(made)
    builds = {job.name: job.name for job in pipeline.jobs if job.stage == "build"}
    for name in builds:
        for seed in range(20):
            watched = Watched(made, pipeline, [name])
            watched.finish(rolls(seed), played=lambda _: True)
            assert watched.too_early == []
            lost = name.split()[1].split(".")[1]
            expected = {"a": set("abcd"), "b": {"b"}, "c": {"c"}, "d": {"d"}}[lost]
            assert {host for host in "abcd" if not watched.well(host)} == expected


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Config, int]:
    names = [f"h{number}" for number in range(draw(st.integers(1, 14)))]
    kinds: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
        [{}, {}, {}, {"policy": "manual"}, {"last": True}, {"gate": "related"}]
    )
    approve = draw(st.sampled_from(["none", "none", "after-canary", "each"]))
    counting = approve == "none"
    return config(
        {name: draw(kinds) for name in names},
        {"max_needs": draw(st.sampled_from([8, 50]))},
        canary=draw(st.lists(st.sampled_from(names), max_size=3)),
        wave=draw(st.sampled_from(["1", "3", "10", "30%", "100%"])),
        approve=approve,
        max_failures=draw(st.integers(0, 2)) if counting else 0,
        rollback_succeeded=counting and draw(st.booleans()),
    ), draw(st.integers(0, 12))


@settings(deadline=None, max_examples=150)
@given(fleets(), st.randoms(use_true_random=False), st.floats(0, 0.6))
def test_random_fleets_with_random_failures_never_start_a_wave_too_early(
    fleet: tuple[Config, int], choose: random.Random, share: float
) -> None:
    made, checks = fleet
    pipeline = compiled(made, checks=checks)
    failing = {job.name for job in pipeline.jobs if not job.manual and choose.random() < share}
    if choose.random() < 0.7:
        failing = {name for name in failing if name.startswith("deploy")}
    coins: dict[str, bool] = {}
    watched = Watched(made, pipeline, failing)
    watched.finish(choose, played=lambda name: coins.setdefault(name, choose.random() < 0.7))
    assert watched.too_early == []
    groups = [job.resource_group for job in pipeline.jobs if job.deploys]
    assert None not in groups
    assert len(set(groups)) == len(groups)
    limit = made.gitlab.max_needs
    assert all(len(job.needs or ()) <= limit for job in pipeline.jobs)
    rollbacks = {job.name.split()[1]: job for job in pipeline.jobs if job.when == "on_failure"}
    for host, job in rollbacks.items():
        deploy = pipeline.job(f"deploy {host}")
        assert deploy is not None
        assert job.resource_group == deploy.resource_group
        assert job.environment is not None
        assert deploy.environment is not None
        assert (job.environment.name, job.environment.action) == (deploy.environment.name, "access")
        assert made.hosts[host].policy is not Policy.MANUAL


# --- in GitLab's words


def test_reports_that_are_counted_have_files_of_their_own() -> None:
    pipeline = compiled(config({"web/1": {}, "web 1": {}, "c": {}}, wave="2", max_failures=1, rollback_succeeded=True))
    reports = [job.artifacts.paths[0] for job in pipeline.jobs if job.deploys and job.artifacts]
    assert len(set(reports)) == 3
    for job in pipeline.jobs:
        if job.deploys:
            assert job.artifacts is not None
            assert f"--report {shlex.quote(job.artifacts.paths[0])} " in job.script[0]
            undo = pipeline.job(job.name.replace("deploy", "rollback", 1))
            assert undo is None or f"--undo {shlex.quote(job.artifacts.paths[0])} " in undo.script[0]


def test_a_deployment_has_the_time_that_its_host_is_given_and_some_more() -> None:
    made = config({"a": {}, "b": {"timeout": "3 hours"}, "c": {"timeout": "100 days"}})
    timeouts = {job.name: job.timeout for job in compiled(made).jobs if job.deploys}
    assert timeouts == {"deploy a": "45m", "deploy b": "3h 15m", "deploy c": "720h"}


def test_gitlabs_own_schema_accepts_the_pipeline_of_a_fleet() -> None:
    for hosts, fleet in FLEETS.values():
        assert schema_findings(to_yaml(compiled(config(hosts, **fleet)))).findings == ()


# --- large fleets


def large(count: int, gitlab: dict[str, Any] | None = None, **fleet: Any) -> Config:
    return config({f"h{number:03}": {} for number in range(count)}, gitlab, **fleet)


def test_three_hundred_hosts_in_waves_keep_their_order_over_several_pipelines() -> None:
    made = large(300, canary=["h000"], wave="20%")
    files = make_files(planned(made), made, PROTECTED)
    assert len(files.parts) > 1
    place: dict[str, int] = {}
    for number, part in enumerate(files.parts):
        for job in part.pipeline.jobs:
            place[job.name] = number
    rollout = make_waves(made.hosts, made)
    assert [len(wave.hosts) for wave in rollout.waves] == [1, 60, 60, 60, 60, 59]
    for before, after in itertools.pairwise(rollout.waves):
        collector = f"wave {before.number}"
        for host in before.hosts:
            assert place[f"deploy {host}"] <= place[collector]
        for host in after.hosts:
            assert place[collector] <= place[f"deploy {host}"]
    for number, part in enumerate(files.parts):
        inside = {job.name for job in part.pipeline.jobs}
        for failing in (f"deploy {wave.hosts[-1]}" for wave in rollout.waves):
            if failing not in inside:
                continue
            run = Simulation(part.pipeline, lambda job: job.name != failing)  # noqa: B023  # it runs right here
            while run.running:
                run.end(run.running[0])
            (wave,) = [wave for wave in rollout.waves if failing.split()[1] in wave.hosts]
            later = {f"deploy {host}" for one in rollout.waves if one.number > wave.number for host in one.hosts}
            assert not later & set(run.started)
            assert all(place[name] >= number for name in later)


def test_a_large_fleet_whose_failures_are_counted_is_deployed_by_one_pipeline_or_refused() -> None:
    made = large(300, canary=["h000"], wave="20%", max_failures=2)
    files = make_files(planned(made), made, PROTECTED)
    assert [any(job.deploys for job in part.pipeline.jobs) for part in files.parts] == [False, True]
    made = large(300, canary=["h000"], wave="20%", max_failures=2, rollback_succeeded=True)
    with pytest.raises(VerificationError) as caught:
        make_files(planned(made), made, PROTECTED)
    assert any("fleet.max_failures" in finding for finding in caught.value.findings)


# --- the rules


def without(pipeline: Pipeline, name: str, need: str) -> Pipeline:
    """The pipeline in which a job lost a need, or a dependency."""
    jobs = [
        job.model_copy(
            update={
                "needs": None if job.needs is None else tuple(one for one in job.needs if one.job != need),
                "dependencies": job.dependencies and tuple(one for one in job.dependencies if one != need),
            }
        )
        if job.name == name
        else job
        for job in pipeline.jobs
    ]
    return pipeline.model_copy(update={"jobs": tuple(jobs)})


@pytest.mark.parametrize(("hosts", "fleet"), FLEETS.values(), ids=FLEETS.keys())
def test_a_pipeline_in_which_a_wave_waits_for_less_is_refused(
    hosts: dict[str, dict[str, Any]], fleet: dict[str, Any]
) -> None:
    pipeline = compiled(config(hosts, **fleet))
    manual = {f"approve {name}" for name, host in hosts.items() if host.get("policy") == "manual"}
    collectors = {job.name for job in pipeline.jobs if job.name.startswith("wave ")}
    mutants = [
        (job.name, need)
        for job in pipeline.jobs
        for need in (*job.local_needs, *(job.dependencies or ()))
        # A host with an approval of its own is in nobody's wave, and a person's start comes before the next need.
        if (job.deploys and need in collectors and not manual & set(job.local_needs) and not starts(job))
        or (job.name in collectors and any(other.name in job_names_behind(pipeline, job) for other in pipeline.jobs))
    ]
    for name, need in mutants:
        found = verify(without(pipeline, name, need), Limits(), "17.5")
        assert {"D02", "D03"} & {one.rule for one in found}, (name, need)
    assert mutants or len(collectors) <= 1


def starts(job: Job) -> bool:
    """Whether a person starts the job's wave, so that the collector before is needed twice."""
    return any(name.startswith("start wave ") for name in job.local_needs)


def job_names_behind(pipeline: Pipeline, collector: Job) -> set[str]:
    """Deployments that need the collector, directly."""
    return {job.name for job in pipeline.jobs if job.deploys and collector.name in job.local_needs}
