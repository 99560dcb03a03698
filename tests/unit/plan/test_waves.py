"""Which host is deployed in which wave."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.config import Config
from pipelinegen.config_file import parse
from pipelinegen.errors import ConfigError
from pipelinegen.plan.model import Action, Planned, Stage
from pipelinegen.plan.waves import Rollout, make_waves
from pipelinegen.testing import plan_recording
from tests.factory import Fleet

CACHE = {
    "main": {
        "url": "https://Cache.example.org:8080/main",
        "push_url": "ssh://store.example.org",
        "writers": "protected",
    }
}


def config(hosts: dict[str, dict[str, Any]], **fleet: Any) -> Config:
    named = {name: {"address": f"{name}.example.org", "environment": name, **more} for name, more in hosts.items()}
    return parse({"hosts": named, "fleet": fleet, "caches": CACHE, "packing": {"record": False}})


def hosts(*names: str, **more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {**{name: {} for name in names}, **more}


def rollout(made: Config, *names: str) -> Rollout:
    return make_waves(names or made.hosts, made)


def waves(made: Config, *names: str) -> list[tuple[str, ...]]:
    return [wave.everyone for wave in rollout(made, *names).waves]


FIVE = hosts("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("fleet", "expected"),
    [
        ({}, ["abcde"]),
        ({"canary": ["c"]}, ["c", "abde"]),
        ({"canary": ["[de]"]}, ["de", "abc"]),
        ({"canary": ["*"]}, ["abcde"]),
        ({"wave": "2"}, ["ab", "cd", "e"]),
        ({"wave": "9"}, ["abcde"]),
        ({"wave": "25%"}, ["ab", "cd", "e"]),
        ({"wave": "1%"}, ["a", "b", "c", "d", "e"]),
        ({"canary": ["c"], "wave": "50%"}, ["c", "ab", "de"]),
        ({"canary": ["nobody"]}, ["abcde"]),
    ],
    ids=str,
)
def test_canaries_come_first_and_the_rest_by_number_or_share(fleet: dict[str, Any], expected: list[str]) -> None:
    assert waves(config(FIVE, **fleet)) == [tuple(one) for one in expected]


def test_waves_are_made_of_what_this_pipeline_deploys() -> None:
    made = config(FIVE, canary=["a", "b"], wave="50%")
    assert waves(made, "c", "b", "d") == [("b",), ("c",), ("d",)]
    assert waves(made, "c", "d") == [("c",), ("d",)]
    assert waves(made) == [("a", "b"), ("c", "d"), ("e",)]


@pytest.mark.parametrize("address", ["cache.example.org", "CACHE.example.org.", "store.example.org"])
def test_what_a_cache_runs_on_goes_last(address: str) -> None:
    made = config(hosts("b", "c", a={"address": address}))
    assert waves(made) == [("b", "c"), ("a",)]


def test_the_configuration_says_who_goes_last() -> None:
    cache = {"address": "cache.example.org"}
    assert waves(config(hosts("b", a={"last": True}))) == [("b",), ("a",)]
    assert waves(config(hosts("b", a={**cache, "last": False}))) == [("a", "b")]
    assert waves(config(hosts("b", a={"last": True}), canary=["a"])) == [("b",), ("a",)]
    assert waves(config(hosts("b", a=cache), canary=["a"])) == [("a",), ("b",)], "named as a canary, it is one"
    assert waves(config(hosts(a={"last": True}))) == [("a",)]


def test_nobody_waits_for_a_host_that_a_person_approves() -> None:
    manual = {"policy": "manual"}
    made = rollout(config(hosts("a", "b", "e", c=manual, d=manual), canary=["a", "d"], wave="1"))
    assert [(wave.hosts, wave.manual) for wave in made.waves] == [(("a",), ()), (("b",), ("c", "d")), (("e",), ())]
    alone = rollout(config(hosts("a", b=manual, c={"last": True}), canary=["a"]))
    assert [(wave.hosts, wave.manual) for wave in alone.waves] == [(("a",), ()), ((), ("b",)), (("c",), ())]
    assert [wave.number for wave in alone.collected] == [1]
    before = alone.before(alone.waves[2])
    assert before is not None
    assert before.number == 1, "the wave between them may never be approved"


NAMES = st.sampled_from("abcdefghijklmno")


@given(
    st.dictionaries(NAMES, st.sampled_from([{}, {"policy": "manual"}, {"last": True}]), min_size=1),
    st.lists(NAMES, max_size=3),
    st.sampled_from(["1", "3", "10%", "34%", "100%"]),
)
def test_every_host_is_in_exactly_one_wave(named: dict[str, Any], canary: list[str], wave: str) -> None:
    made = rollout(config(named, canary=canary, wave=wave))
    everyone = [host for one in made.waves for host in one.everyone]
    assert sorted(everyone) == sorted(named)
    assert [one.number for one in made.waves] == list(range(1, len(made.waves) + 1))
    roles = [one.role for one in made.waves]
    assert roles == sorted(roles, key=["canary", "rest", "last"].index)
    assert roles.count("canary") <= 1
    assert roles.count("last") <= 1


@pytest.mark.parametrize("more", [{"max_failures": 1}, {"rollback_succeeded": True}], ids=str)
@pytest.mark.parametrize("approve", ["after-canary", "each"])
def test_what_counts_failures_is_refused_with_approvals(more: dict[str, Any], approve: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(FIVE, approve=approve, **more)
    assert next(iter(more)) in str(caught.value.problems)


# --- the plan


def plan(made: Config) -> Planned:
    flake = Fleet()
    for name in made.hosts:
        flake.host(name, flake.drv(f"system-{name}"))
    return plan_recording(flake.recording(), config=made)


def needs(made: Config) -> dict[str, set[str]]:
    tasks = plan(made).tasks
    ours = {task.name for task in tasks if task.stage is Stage.DEPLOY}
    return {task.name: ours & {*task.needs, *task.reads} for task in tasks if task.name in ours}


def test_one_wave_is_as_if_there_were_none() -> None:
    planned = plan(config(FIVE))
    assert {task.action for task in planned.tasks if task.stage is Stage.DEPLOY} == {Action.DEPLOY}
    assert all(not task.reported and not task.behind for task in planned.tasks)
    reasons = [output.decisions[Stage.DEPLOY].reasons for output in planned.plan.outputs]
    assert not any("wave" in reason for some in reasons for reason in some)


def test_a_collector_stands_between_two_waves() -> None:
    assert needs(config(hosts("a", "b", "c", "d"), canary=["a"], wave="2")) == {
        "deploy a": set(),
        "wave 1": {"deploy a"},
        "deploy b": {"wave 1"},
        "deploy c": {"wave 1"},
        "wave 2": {"deploy b", "deploy c"},
        "deploy d": {"wave 2"},
    }


def test_a_host_behind_an_approval_of_its_own_waits_and_is_not_waited_for() -> None:
    made = config(hosts("a", "c", "d", b={"policy": "manual"}), canary=["a"], wave="1")
    assert needs(made) == {
        "deploy a": set(),
        "wave 1": {"deploy a"},
        "approve b": {"wave 1"},
        "deploy b": {"wave 1", "approve b"},
        "deploy c": {"wave 1"},
        "wave 2": {"deploy c"},
        "deploy d": {"wave 2"},
    }


@pytest.mark.parametrize(
    ("approve", "canary", "started"),
    [
        ("none", ["a"], set()),
        ("after-canary", ["a"], {"start wave 2"}),
        ("after-canary", [], set()),
        ("each", ["a"], {"start wave 2", "start wave 3"}),
        ("each", [], {"start wave 2"}),
    ],
)
def test_a_person_starts_a_wave_where_the_configuration_says_so(
    approve: str, canary: list[str], started: set[str]
) -> None:
    found = needs(config(hosts("a", "b", "c"), canary=canary, wave="1" if canary else "2", approve=approve))
    assert {name for name in found if name.startswith("start")} == started
    for name in started:
        number = int(name.split()[-1])
        assert found[name] == {f"wave {number - 1}"}
        behind = [job for job, some in found.items() if job.startswith("deploy") and name in some]
        assert behind
        assert all(f"wave {number - 1}" in found[job] for job in behind)


def test_hosts_are_brought_back_when_the_last_collector_has_failed() -> None:
    found = needs(config(hosts("a", "b", m={"policy": "manual"}), canary=["a"], rollback_succeeded=True))
    assert found["rollback a"] == {"wave 2", "deploy a"}
    assert found["rollback b"] == {"wave 2", "deploy b"}
    assert "rollback m" not in found
    assert "rollback a" not in needs(config(hosts("a"), rollback_succeeded=True)), "it undoes itself"


def test_each_host_says_its_wave() -> None:
    planned = plan(config(hosts("a", "b", c={"last": True}), canary=["a"]))
    told = {output.attr.split(".")[-1]: output.decisions[Stage.DEPLOY].reasons[-1] for output in planned.plan.outputs}
    assert told == {
        "a": "wave 1 of 3, the canaries",
        "b": "wave 2 of 3: starts when wave 1 has gone well",
        "c": "wave 3 of 3, what caches or runners run on: starts when wave 2 has gone well",
    }


def test_a_canary_that_waits_for_an_approval_is_told() -> None:
    notes = plan(config(hosts("a", b={"policy": "manual"}), canary=["b"])).plan.notes
    assert any("hosts.b is no canary" in note for note in notes)


def test_a_canary_that_names_nobody_is_told() -> None:
    notes = plan(config(hosts("web1", "web2"), canary=["web1", "wbe*"])).plan.notes
    assert [note for note in notes if "canary" in note] == ["fleet.canary: 'wbe*' names no host that is configured"]
