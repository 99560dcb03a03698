"""Push jobs: their environment and its limit, what keeps a cache warm, and who pushes nothing."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pipelinegen import config_file as configuration
from pipelinegen.config import Config
from pipelinegen.inventory.model import Kind
from pipelinegen.pipeline.children import make_files
from pipelinegen.pipeline.compile import Surroundings
from pipelinegen.pipeline.model import Environment, Job
from pipelinegen.plan.model import Action, Choice, Planned, Stage, Task
from pipelinegen.plan.pushing import PUSHED_AT_ONCE, Push, few, same_paths
from pipelinegen.testing import plan_recording
from tests.factory import Fleet

CACHES: dict[str, dict[str, Any]] = {
    "main": {"url": "https://cache.example.org/main", "writers": "protected", "public_key": "main:k"},
    "open": {"url": "https://cache.example.org/open", "writers": "unprotected"},
    "public": {
        "url": "https://cache.example.org/public",
        "writers": "protected",
        "publish": True,
        "warm": ["packages.*.tool", "nixosConfigurations.*"],
    },
    "second": {
        "url": "https://cache.example.org/second",
        "writers": "protected",
        "publish": True,
        "include": ["packages.**"],
    },
}
HANDOFF = {"mode": "cache", "protected": "main", "unprotected": "open"}


def config(**more: Any) -> Config:
    return configuration.parse({"caches": CACHES, "handoff": HANDOFF, "packing": {"record": False}, **more})


def packages(count: int) -> Fleet:
    made = Fleet()
    for number in range(count):
        made.package(f"p{number:03}", made.drv(f"p{number:03}"))
    return made


def machines(count: int) -> tuple[Fleet, dict[str, Any]]:
    made = Fleet()
    for number in range(count):
        made.host(f"h{number:03}", made.drv(f"system-{number:03}"))
    return made, {f"h{number:03}": {"address": "h"} for number in range(count)}


def pushes(planned: Planned) -> list[Task]:
    return [task for task in planned.tasks if task.action is Action.PUSH]


def said(planned: Planned) -> list[str]:
    """The notes about pushes."""
    return [note for note in planned.plan.notes if "push job" in note]


def jobs(planned: Planned, settings: Config) -> list[list[Job]]:
    """The jobs of each pipeline that is written."""
    return [list(part.pipeline.jobs) for part in make_files(planned, settings, Surroundings()).parts]


# --- the environment


def push_job(**gitlab: Any) -> Job:
    settings = config(gitlab=gitlab)
    (made,) = jobs(plan_recording(packages(1).recording(), config=settings), settings)
    return next(job for job in made if job.stage == "push")


@pytest.mark.parametrize("name", ["publish", "caches/$CI_ENVIRONMENT"])
def test_a_push_has_the_environment_of_its_secrets_and_deploys_nothing_there(name: str) -> None:
    job = push_job(publish_environment=name)
    assert job.environment == Environment(name=name, action="access")
    assert not job.deploys
    assert push_job().environment == Environment(name="publish", action="access")


def test_a_push_has_no_environment_where_none_is_wanted() -> None:
    assert push_job(publish_environment="").environment is None


def test_only_pushes_and_deployments_have_an_environment() -> None:
    made, hosts = machines(1)
    made.check("c", made.drv("c"))
    settings = config(hosts=hosts, flake_check=True, tests=[{"name": "smoke", "command": "true"}])
    (found,) = jobs(plan_recording(made.recording(), config=settings), settings)
    assert {job.stage for job in found} == {"build", "test", "push", "deploy"}
    assert {job.name for job in found if job.environment} == {"push nixosConfigurations.h000", "deploy h000"}


def test_a_push_to_several_caches_keeps_a_report_of_each() -> None:
    artifacts = push_job().artifacts
    assert artifacts is not None
    assert artifacts.reports is not None
    assert artifacts.paths == ("push.json", "push-second.json")
    assert artifacts.reports.junit == ("junit.xml", "junit-second.xml")
    assert artifacts.reports.metrics == ("metrics.txt", "metrics-second.txt")
    (line,) = push_job().script
    assert "--report push.json --metrics metrics.txt --junit junit.xml -- /nix/store/" in line


# --- the limit of jobs with an environment


@pytest.mark.parametrize(("outputs", "most"), [(30, 30), (30, 29), (30, 7), (30, 1), (450, 100)])
def test_pushes_are_no_more_than_jobs_may_have_an_environment(outputs: int, most: int) -> None:
    settings = config(gitlab={"max_deployments": most, "max_jobs": 1000})
    made = packages(outputs)
    planned = plan_recording(made.recording(), config=settings)
    assert len(pushes(planned)) <= most
    assert sorted(path for task in pushes(planned) for path in task.store_paths) == sorted(
        path for output in made.outputs for path in output.wanted_paths
    )
    parts = jobs(planned, settings)
    assert len(parts) == 1
    assert sum(job.environment is not None for job in parts[0]) == len(pushes(planned))


def test_as_many_pushes_as_there_is_room_for_are_left_alone() -> None:
    settings = config(gitlab={"max_deployments": 30})
    planned = plan_recording(packages(30).recording(), config=settings)
    assert len(pushes(planned)) == 30
    assert not said(planned)


def test_pushes_that_had_to_be_joined_are_told() -> None:
    settings = config(gitlab={"max_deployments": 7})
    planned = plan_recording(packages(30).recording(), config=settings)
    sizes = [len(task.targets) for task in pushes(planned)]
    assert len(sizes) == 7
    assert max(sizes) - min(sizes) <= 1
    (note,) = said(planned)
    assert note.startswith("gitlab.max_deployments = 7 leaves no room for a push job per build")
    assert "in 7 jobs a failed build holds up" in note


def test_without_an_environment_pushes_are_not_joined() -> None:
    settings = config(gitlab={"max_deployments": 7, "publish_environment": ""})
    assert len(pushes(plan_recording(packages(30).recording(), config=settings))) == 30


def test_what_the_same_job_makes_is_pushed_together_before_builds_are_mixed() -> None:
    made = Fleet()
    small = [made.drv(f"s{number}") for number in range(20)]
    for number, derivation in enumerate(small):
        made.package(f"s{number:02}", derivation)
    held = {"main": {path for derivation in small for path in derivation.outputs.values() if path}}
    made.package("built", made.drv("built"))
    planned = plan_recording(made.recording(), config=config(gitlab={"max_deployments": 2}), held=held)
    assert [len(task.targets) for task in pushes(planned)] in ([1, 20], [20, 1])
    assert not said(planned), "no build holds up the push of what does not need it"


@pytest.mark.parametrize(("hosts", "most"), [(4, 8), (4, 7), (4, 5), (10, 14)])
def test_pushes_and_deployments_count_together(hosts: int, most: int) -> None:
    made, named = machines(hosts)
    settings = config(hosts=named, gitlab={"max_deployments": most})
    planned = plan_recording(made.recording(), config=settings)
    parts = jobs(planned, settings)
    assert len(parts) == 1
    assert sum(job.environment is not None for job in parts[0]) == hosts + len(pushes(planned)) <= most
    assert len(pushes(planned)) == min(hosts, most - hosts)


@pytest.mark.parametrize("most", [3, 4, 6])
def test_deployments_that_leave_no_room_become_several_pipelines_with_few_enough_each(most: int) -> None:
    made, named = machines(6)
    settings = config(hosts=named, gitlab={"max_deployments": most})
    planned = plan_recording(made.recording(), config=settings)
    assert len(pushes(planned)) <= most
    parts = jobs(planned, settings)
    assert len(parts) > 1
    counts = [sum(job.environment is not None for job in part) for part in parts]
    assert max(counts) <= most
    assert sum(counts) == 6 + len(pushes(planned))


def test_a_deployment_does_not_wait_for_builds_of_other_hosts_that_share_its_push() -> None:
    made, named = machines(4)

    def needs_of_deployments(most: int) -> list[set[str]]:
        settings = config(hosts=named, gitlab={"max_deployments": most})
        planned = plan_recording(made.recording(), config=settings)
        return [set(task.needs) for task in planned.tasks if task.action is Action.DEPLOY]

    for number, needs in enumerate(needs_of_deployments(8)):
        assert needs == {f"build nixosConfigurations.h00{number}", f"push nixosConfigurations.h00{number}"}
    for number, needs in enumerate(needs_of_deployments(5)):
        assert needs == {f"build nixosConfigurations.h00{number}"}


# --- grouping


def push(name: str, *made_by: str, caches: tuple[str, ...] = ("public",), touch: bool = False) -> Push:
    made = Fleet()
    return Push(made_by, caches, (made.output((name,), made.drv(name), Kind.PACKAGE),), touch)


def names(found: list[Push]) -> list[str]:
    return [",".join(output.attr for output in one.outputs) for one in found]


def test_two_names_of_the_same_paths_are_one_push() -> None:
    one, two = push("a", "build a"), push("b", "build b")
    alias = Push(one.made_by, one.caches, one.outputs, touch=False)
    assert names(same_paths([one, two, alias])) == ["a,a", "b"]


def test_what_goes_to_other_caches_or_is_kept_warm_is_never_joined() -> None:
    kinds = [push("a", "j"), push("b", "j", caches=("public", "second")), push("c", "j", touch=True)]
    assert names(few(kinds, None)) == ["a", "b", "c"]
    assert names(few([*kinds, push("d", "k"), push("e", "l")], 1)) == ["a,d,e", "b", "c"]


def test_a_push_of_several_builds_waits_for_all_of_them_and_says_that_it_is_mixed() -> None:
    (joined,) = few([push("a", "j"), push("b", "k"), push("c", "j")], 1)
    assert (joined.made_by, joined.mixed) == (("j", "k"), True)
    (alone,) = few([push("a", "j"), push("c", "j")], 1)
    assert (alone.made_by, alone.mixed) == (("j",), False)


@pytest.mark.parametrize(("count", "most"), list(itertools.product([1, 2, 7, 40, 401], [1, 2, 3, 39])))
def test_no_push_is_lost_and_none_is_too_long(count: int, most: int) -> None:
    found = few([push(f"a{number}", f"j{number}") for number in range(count)], most)
    assert sorted(output.attr for one in found for output in one.outputs) == sorted(f"a{n}" for n in range(count))
    assert all(0 < len(one.outputs) <= PUSHED_AT_ONCE for one in found)
    assert len(found) <= max(most, -(-count // PUSHED_AT_ONCE))


# --- schedules


def fleet() -> Fleet:
    made = Fleet()
    lib = made.drv("lib")
    made.package("tool", made.drv("tool", lib))
    made.package("other", made.drv("other", lib))
    made.host("web1", made.drv("system", lib))
    return made


ALL = {"main": "*", "public": "*", "second": "*"}


def scheduled(held: dict[str, Any], **push: Any) -> Planned:
    return plan_recording(fleet().recording(), config=config(), **{"scheduled": True, "held": held, **push})


def decisions(planned: Planned, stage: Stage) -> dict[str, tuple[Choice, tuple[str, ...]]]:
    return {
        output.attr.rsplit(".", 1)[-1]: (output.decisions[stage].decision, output.decisions[stage].reasons)
        for output in planned.plan.outputs
    }


def test_a_schedule_fetches_what_is_to_be_kept_and_pushes_nothing_else() -> None:
    planned = scheduled(ALL)
    assert decisions(planned, Stage.PUSH) == {
        "tool": (Choice.RUN, ("scheduled: keeps it from being collected in cache public",)),
        "web1": (Choice.RUN, ("scheduled: keeps it from being collected in cache public",)),
        "other": (Choice.SKIP, ("cache public, second holds it",)),
    }
    assert [(task.targets, task.caches, task.touch) for task in pushes(planned)] == [
        (("nixosConfigurations.web1",), ("public",), True),
        (("packages.x86_64-linux.tool",), ("public",), True),
    ]
    assert all(choice is Choice.SKIP for choice, _ in decisions(planned, Stage.BUILD).values())


def test_what_nobody_scheduled_is_not_fetched() -> None:
    planned = scheduled(ALL, scheduled=False)
    assert [task.name for task in planned.tasks] == ["nothing-to-do"]


def test_a_schedule_pushes_what_is_missing_as_ever() -> None:
    planned = scheduled({"main": "*", "public": "*"})
    assert {task.targets: (task.caches, task.touch) for task in pushes(planned)} == {
        ("nixosConfigurations.web1",): (("public",), True),
        ("packages.x86_64-linux.other",): (("second",), False),
        ("packages.x86_64-linux.tool",): (("public", "second"), True),
    }
    assert decisions(planned, Stage.PUSH)["tool"][1] == (
        "scheduled: keeps it from being collected in cache public",
        "cache second is not known to hold it",
    )


def test_what_the_cache_to_keep_warm_does_not_hold_is_pushed_and_the_rest_of_its_closure_fetched() -> None:
    assert decisions(scheduled({"main": "*"}), Stage.PUSH)["web1"] == (
        Choice.RUN,
        ("scheduled: keeps it from being collected in cache public", "cache public is not known to hold it"),
    )


@pytest.mark.parametrize(
    "push", [{"branch": "feature"}, {"protected": False}, {"branch": None}], ids=["another branch", "open", "a tag"]
)
def test_a_schedule_where_nothing_is_published_keeps_nothing_warm(push: dict[str, Any]) -> None:
    assert not pushes(scheduled(ALL, **push))


def test_the_job_that_keeps_things_says_touch_and_others_do_not() -> None:
    settings = config()
    (found,) = jobs(scheduled({"main": "*", "public": "*"}), settings)
    lines = {job.name: job.script[0] for job in found if job.stage == "push"}
    assert "--to public --to second --touch --report" in lines["push packages.x86_64-linux.tool"]
    assert "--touch" not in lines["push packages.x86_64-linux.other"]


# --- who pushes nothing


@pytest.mark.parametrize("stage", [Stage.PUSH, Stage.DEPLOY])
def test_a_fork_pushes_and_deploys_nothing(stage: Stage) -> None:
    settings = config(hosts={"web1": {"address": "h"}})
    planned = plan_recording(fleet().recording(), config=settings, merge_request=True, fork=True, branch="feature")
    assert not [task for task in planned.tasks if task.stage is stage]
    for part in make_files(planned, settings, Surroundings()).parts:
        assert "--to" not in part.text
        assert "environment" not in part.text


def test_with_everything_in_the_caches_there_is_no_push_job_and_so_never_one_without_paths() -> None:
    planned = plan_recording(fleet().recording(), config=config(), held=ALL)
    assert not pushes(planned)
    for held in ({}, {"main": "*"}, {"main": "*", "public": "*"}):
        assert all(task.store_paths for task in pushes(plan_recording(fleet().recording(), config=config(), held=held)))


# --- what must have passed before


def commands(planned: Planned) -> list[str]:
    return [task.subject for task in planned.tasks if task.action is Action.COMMAND]


def test_what_an_earlier_pipeline_built_and_its_test_kept_back_is_tested_again_before_it_is_published() -> None:
    settings = config(tests=[{"name": "smoke", "command": "true", "targets": ["packages.**"]}])
    made = packages(1).recording()
    for held in ({}, {"main": "*"}, {"main": "*", "public": "*"}):
        planned = plan_recording(made, config=settings, held=held)
        (push,) = pushes(planned)
        assert commands(planned) == ["smoke"]
        assert "gate" in push.needs
    planned = plan_recording(made, config=settings, held=dict.fromkeys(CACHES, "*"))
    assert (pushes(planned), commands(planned)) == ([], []), "nothing leaves, so nothing is to be tested"


def test_what_a_schedule_only_keeps_is_not_tested_again() -> None:
    made = Fleet()
    made.package("tool", made.drv("tool"))
    settings = config(tests=[{"name": "smoke", "command": "true", "targets": ["packages.**"]}])
    planned = plan_recording(made.recording(), config=settings, held=dict.fromkeys(CACHES, "*"), scheduled=True)
    assert [task.touch for task in pushes(planned)] == [True]
    assert commands(planned) == []


def test_nothing_is_published_past_a_named_check_that_cannot_run() -> None:
    made = Fleet()
    tool = made.package("tool", made.drv("tool")).wanted_paths
    made.check("needs-kvm", made.drv("needs-kvm", features=("kvm",)))
    gated = {**CACHES["public"], "gate": "related", "checks": ["checks.*.needs-kvm"]}
    settings = config(caches={**CACHES, "public": gated})
    planned = plan_recording(made.recording(), config=settings)
    assert [task.caches for task in pushes(planned)] == [("second",)], "the other cache asks for no such check"
    for scheduled in (False, True):
        held = {"main": tool, "second": tool}
        planned = plan_recording(made.recording(), config=settings, held=held, scheduled=scheduled)
        decisions = next(output for output in planned.plan.outputs if output.attr.endswith("tool")).decisions
        assert decisions[Stage.PUSH].decision is Choice.SKIP
        assert "cache public: check checks.x86_64-linux.needs-kvm, which must" in decisions[Stage.PUSH].reasons[0]
    planned = plan_recording(made.recording(), config=settings, held=dict.fromkeys(CACHES, tool), scheduled=True)
    assert [task.caches for task in pushes(planned)] == [("public",)], "what it holds already can be kept warm"
    planned = plan_recording(made.recording(), config=settings, held={"main": "*"})
    assert [task.caches for task in pushes(planned)] == [("public", "second")], "the check passed once: it was built"
