"""What hosts were last given: which commits are evaluated to learn it, and what any doubt comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pipelinegen.changes.model import Status
from pipelinegen.config import Config
from pipelinegen.deployed import Deployed, systems_deployed
from pipelinegen.gitlab_deployments import LastDeployment
from pipelinegen.inventory.model import Inventory
from tests.factory import Fleet, store_path

HOSTS = ("a", "b", "c", "d", "e")
COMMITS = {letter: letter * 40 for letter in "123456"}


def given(host: str, commit: str) -> str:
    """The system of a host at a commit."""
    return store_path(f"system-{host}", commit)


def inventory(commit: str, hosts: Sequence[str] = HOSTS) -> Inventory:
    fleet = Fleet(salt=commit)
    for host in hosts:
        fleet.host(host, fleet.drv(f"system-{host}"))
    return fleet.recording().inventory


class Asked:
    """A fleet of which GitLab tells the commits; `evaluated` are those that had to be."""

    def __init__(self, last: Mapping[str, str | LastDeployment], settings: Mapping[str, object] | None = None) -> None:
        self.last = {
            host: one if isinstance(one, LastDeployment) else LastDeployment(commit=COMMITS[one])
            for host, one in last.items()
        }
        hosts = {host: {"address": f"{host}.example"} for host in HOSTS}
        self.config = Config.model_validate({"hosts": hosts} | dict(settings or {}))
        self.environments: list[str] = []
        self.evaluated: list[str] = []
        self.broken: set[str] = set()

    def last_deployed(self, environment: str) -> LastDeployment:
        self.environments.append(environment)
        return self.last.get(environment, LastDeployment(unknown="never"))

    def inventory_at(self, commit: str) -> Inventory | None:
        self.evaluated.append(commit[0])
        return None if commit[0] in self.broken else inventory(commit[0])

    def __call__(
        self,
        head: Inventory | None = None,
        at_hand: Mapping[str, Inventory] | None = None,
        status: Mapping[str, Status] | None = None,
    ) -> Deployed:
        return systems_deployed(
            self.config,
            head or inventory("head"),
            last_deployed=self.last_deployed,
            inventory_at=self.inventory_at,
            at_hand=at_hand or {},
            status=status or {},
        )


def test_commits_are_evaluated_that_tell_of_most_hosts_first_and_then_of_the_first_host() -> None:
    asked = Asked({"a": "1", "b": "2", "c": "3", "d": "3", "e": "4"})
    told = asked()
    assert asked.evaluated == ["3", "1", "2"]
    assert told.systems == {host: given(host, commit) for host, commit in zip("abcd", "1233", strict=True)}
    assert told.unknown == {"e": "evaluating 444444444444 would be one commit more than evaluation.max_bases allows"}


def test_the_order_of_the_configuration_makes_no_difference() -> None:
    one = Asked(dict(zip(HOSTS, "12345", strict=True)))
    other = Asked(dict(zip(reversed(HOSTS), "54321", strict=True)))
    assert one() == other()
    assert one.evaluated == other.evaluated == ["1", "2", "3"]


@pytest.mark.parametrize(("most", "evaluated"), [(1, ["3"]), (2, ["3", "1"]), (9, ["3", "1", "2", "4"])])
def test_the_settings_say_how_many_commits_are_evaluated(most: int, evaluated: list[str]) -> None:
    asked = Asked({"a": "1", "b": "2", "c": "3", "d": "3", "e": "4"}, {"evaluation": {"max_bases": most}})
    asked()
    assert asked.evaluated == evaluated


def test_what_was_evaluated_anyway_does_not_count() -> None:
    asked = Asked(dict(zip(HOSTS, "12345", strict=True)))
    told = asked(at_hand={COMMITS["1"]: inventory("1"), COMMITS["4"]: inventory("4")})
    assert asked.evaluated == ["2", "3", "5"]
    assert sorted(told.systems) == list(HOSTS)


def test_a_system_that_is_told_needs_no_evaluation() -> None:
    told = {host: LastDeployment(commit=COMMITS["1"], system=given(host, "1")) for host in HOSTS}
    asked = Asked(told)
    assert asked().systems == {host: given(host, "1") for host in HOSTS}
    assert asked.evaluated == []


def test_a_commit_that_cannot_be_evaluated_tells_nothing_and_the_others_do() -> None:
    asked = Asked({"a": "1", "b": "1", "c": "2"})
    asked.broken = {"1"}
    told = asked()
    assert told.systems == {"c": given("c", "2")}
    assert told.unknown["a"] == told.unknown["b"] == "what 111111111111 gave it cannot be evaluated"


def test_an_impure_evaluation_tells_nothing_of_the_past() -> None:
    asked = Asked({"a": "1"}, {"evaluation": {"impure": True}})
    told = asked(at_hand={COMMITS["1"]: inventory("1")})
    assert (told.systems, asked.evaluated) == ({}, [])
    assert "impure" in told.unknown["a"]


def test_hosts_that_share_an_environment_are_not_known() -> None:
    hosts = {host: {"address": host, "environment": "production" if host in "ab" else host} for host in HOSTS}
    asked = Asked({"production": "1", "c": "1"}, {"hosts": hosts})
    told = asked()
    assert told.unknown["a"] == "host b has the same environment"
    assert told.systems == {"c": given("c", "1")}
    assert "production" not in asked.environments


def test_only_hosts_that_are_in_the_flake_and_may_be_deployed_are_asked_for() -> None:
    hosts = {host: {"address": host, "policy": "never" if host == "c" else "auto"} for host in HOSTS}
    asked = Asked({"a": "1"}, {"hosts": hosts})
    asked(inventory("head", ("a", "c")))
    assert asked.environments == ["a"]


@pytest.mark.parametrize(
    ("status", "known"), [(Status.CHANGED, False), (Status.UNCHANGED, True), (Status.UNKNOWN, True)]
)
def test_a_host_that_this_push_brings_back_to_what_it_has_is_not_known(status: Status, known: bool) -> None:
    head = inventory("1")
    asked = Asked({"a": "1", "b": "2"})
    told = asked(head, status={"nixosConfigurations.a": status, "nixosConfigurations.b": status})
    assert ("a" in told.systems) is known
    assert "b" in told.systems, "it was given something else, so it is deployed anyway"
