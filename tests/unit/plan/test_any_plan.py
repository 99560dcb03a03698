"""Whatever the flake and the push, the pipeline is sound and says what the plan says."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelinegen import attrpath, config_file
from pipelinegen import config as configuration
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config_caches import Handoff
from pipelinegen.inventory.model import Derivation
from pipelinegen.pipeline.compile import Surroundings, compile_pipeline
from pipelinegen.pipeline.emit import from_yaml, to_yaml
from pipelinegen.pipeline.limits import Limits
from pipelinegen.pipeline.verify import require_valid
from pipelinegen.plan.model import Action, Choice
from pipelinegen.testing import plan_recording
from tests.factory import Fleet

NAMES = st.text(min_size=1, max_size=30)

CACHES = {
    "main": {"url": "https://cache.example.org/main", "writers": "protected"},
    "public": {
        "url": "https://cache.example.org/public",
        "writers": "protected",
        "publish": True,
        "warm": ["packages.**"],
    },
}


@st.composite
def pushes(draw: st.DrawFn) -> tuple[Fleet, configuration.Config, dict[str, Any]]:
    fleet = Fleet()
    made: list[Derivation] = []
    for number in range(draw(st.integers(1, 12))):
        inputs = draw(st.lists(st.sampled_from(made), unique_by=lambda d: d.path, max_size=3)) if made else []
        system = draw(st.sampled_from(["x86_64-linux", "x86_64-linux", "aarch64-linux"]))
        made.append(fleet.drv(f"d{number}", *inputs, system=system))
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        fleet.package(name, draw(st.sampled_from(made)))
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        fleet.check(name, draw(st.sampled_from(made)))
    hosts = draw(st.lists(NAMES, unique=True, max_size=3))
    for name in hosts:
        fleet.host(name, draw(st.sampled_from(made)))
    for name in draw(st.lists(NAMES, unique=True, max_size=2)):
        fleet.failure("packages", "x86_64-linux", f"failed {name}", message=name)
    policies = st.sampled_from(["auto", "manual", "never"])
    gates = st.sampled_from(["all", "related"])
    config = config_file.parse(
        {
            "caches": CACHES if draw(st.booleans()) else {},
            "hosts": {
                name: {"address": "h", "policy": draw(policies), "gate": draw(gates), "environment": f"e{number}"}
                for number, name in enumerate(hosts)
            },
            "fleet": {
                "canary": draw(st.sampled_from([[], ["*"], hosts[:1] or ["x"]])),
                "wave": draw(st.sampled_from(["1", "50%", "100%"])),
                "max_failures": draw(st.sampled_from([0, 0, 1])),
            },
            "flake_check": draw(st.booleans()),
            "tests": [{"name": "smoke", "command": "true"}] if draw(st.booleans()) else [],
            "gitlab": {"max_deployments": draw(st.sampled_from([2, 4, 500]))},
        }
    )
    paths = [path for drv in made for path in drv.outputs.values() if path]
    held = {"main": set(draw(st.lists(st.sampled_from(paths)))), "public": set(draw(st.lists(st.sampled_from(paths))))}
    push = {
        "branch": draw(st.sampled_from(["main", "feature", None])),
        "merge_request": draw(st.booleans()),
        "fork": draw(st.booleans()),
        "scheduled": draw(st.booleans()),
        "held": held,
    }
    return fleet, config, push


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(pushes())
def test_any_push_gives_a_sound_pipeline_with_the_jobs_of_the_plan(
    case: tuple[Fleet, configuration.Config, dict[str, Any]],
) -> None:
    fleet, config, push = case
    planned = plan_recording(fleet.recording(), config=config, **push)
    kind = PipelineClass.PROTECTED
    pipeline = compile_pipeline(planned, config, Surroundings(kind=kind, merge_request=push["merge_request"]))
    text = to_yaml(pipeline)
    require_valid(pipeline, Limits(), "17.5", yaml_bytes=len(text.encode()), merge_request=push["merge_request"])
    read = from_yaml(text)
    assert read == pipeline
    assert {job.name for job in read.jobs} == {job.name for job in planned.plan.jobs}
    for output in planned.plan.outputs:
        for decision in output.decisions.values():
            assert (decision.job is not None) == (decision.decision is not Choice.SKIP)
    for task in planned.tasks:
        if task.action in {Action.PUSH, Action.DEPLOY}:
            assert not push["merge_request"]
            assert not push["fork"]
            assert push["branch"] == "main"
    counts = Counter(task.action for task in planned.tasks)
    room = config.gitlab.max_deployments - counts[Action.DEPLOY]
    kinds = len({task.touch for task in planned.tasks if task.action is Action.PUSH})
    assert counts[Action.PUSH] <= max(room if room > 0 else config.gitlab.max_deployments, kinds)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(pushes())
def test_with_artifacts_every_job_takes_all_that_it_reads(
    case: tuple[Fleet, configuration.Config, dict[str, Any]],
) -> None:
    fleet, config, push = case
    config = config.model_copy(update={"handoff": Handoff(mode="artifacts")})
    planned = plan_recording(fleet.recording(), config=config, **push)
    makers: dict[str, set[str]] = {}
    for unit in planned.work.units:
        for one in unit.builds:
            for path in _paths(fleet, one.drv_path):
                makers.setdefault(path, set()).add(unit.job)
    pipeline = compile_pipeline(planned, config, Surroundings())
    takes = {
        job.name: {need.job for need in job.needs or () if need.artifacts and need.pipeline is None}
        for job in pipeline.jobs
    }
    reads = {unit.job: unit.fetch for unit in planned.work.units}
    reads |= {task.name: task.store_paths for task in planned.tasks if task.action in {Action.PUSH, Action.DEPLOY}}
    for job, paths in reads.items():
        made = [makers[path] for path in paths if path in makers]
        assert all(takes[job] & some for some in made)
        assert takes[job] <= set().union(*made)
    for unit in planned.work.units:
        assert unit.taken is any(unit.job in jobs for jobs in takes.values())


def _paths(fleet: Fleet, drv_path: str) -> list[str]:
    return [path for path in fleet.graph[drv_path].outputs.values() if path]


@settings(deadline=None)
@given(NAMES)
def test_any_attribute_name_arrives_in_the_job_command_as_it_was(name: str) -> None:
    fleet = Fleet()
    fleet.package(name, fleet.drv("d"))
    planned = plan_recording(fleet.recording())
    pipeline = compile_pipeline(planned, configuration.Config(), Surroundings())
    unit = planned.work.units[0]
    job = from_yaml(to_yaml(pipeline)).job(unit.job)
    assert job is not None
    words = shlex.split(job.script[0])
    assert unit.targets == (attrpath.show(("packages", "x86_64-linux", name)),)
    assert f"build {words[-1]}" == unit.job
