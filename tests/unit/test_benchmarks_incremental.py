"""The fleet that inspections with a memo are measured on, what is made of the measurements, and their page."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from benchmarks import incremental, incremental_page
from benchmarks.incremental_fleet import DOCUMENTATION, ONE_HOST, ROLES, Change, Fleet, only, second
from pipelinegen.attrpath import matches, parse_pattern

SIZES = [pytest.param(size, id=f"{size}-hosts") for size in (6, 20, 100, 300)]


def change(fleet: Fleet, name: str) -> Change:
    return next(one for one in fleet.changes() if one.name == name)


@pytest.mark.parametrize("size", SIZES)
def test_every_file_that_is_imported_is_there(size: int) -> None:
    files = Fleet(size).files()
    imported = {
        "hosts": {path for name in files if name.startswith("hosts/") for path in _paths(files[name], r"\.\./")},
        "modules": {f"modules/{path}" for path in _paths(files["modules/default.nix"], r"\./")},
        "lib": {f"lib/{path}" for name in files if name.startswith("lib/") for path in _paths(files[name], r"\./")},
    }
    assert len(imported["modules"]) == 40
    assert len(imported["hosts"]) == 2 * min(size, ROLES)
    assert set().union(*imported.values()) <= set(files)
    assert sum(name.startswith("hosts/") for name in files) == size


def _paths(text: str, start: str) -> list[str]:
    return re.findall(rf"import {start}([\w./-]+\.nix)", text)


@pytest.mark.parametrize("name", ["one role", "one site"])
@pytest.mark.parametrize("size", SIZES)
def test_a_role_and_a_site_alter_the_hosts_that_name_them(size: int, name: str) -> None:
    fleet = Fleet(size)
    files = fleet.files()
    (written,) = change(fleet, name).write
    users = {host for host in fleet.names if f"import ../{written};" in files[f"hosts/{host}.nix"]}
    assert change(fleet, name).hosts == users
    assert fleet.changed_host in users


@pytest.mark.parametrize("size", SIZES)
def test_hosts_of_a_site_are_neighbours_and_those_of_a_role_are_not(size: int) -> None:
    fleet = Fleet(size)
    sites, roles = (
        [fleet.names.index(host) for host in sorted(change(fleet, name).hosts)] for name in ("one site", "one role")
    )
    assert sites == list(range(sites[0], sites[-1] + 1))
    assert all(later - earlier == ROLES for earlier, later in itertools.pairwise(roles))


@pytest.mark.parametrize("size", SIZES)
def test_every_commit_writes_something_else_than_was_there(size: int) -> None:
    fleet = Fleet(size)
    files = {**fleet.files(), **second(fleet.files())}
    assert second(fleet.files())["README.md"] != fleet.files()["README.md"]
    for one in fleet.changes():
        assert one.lock or one.write
        for name, text in one.write.items():
            assert files.get(name) != text


def test_only_a_new_host_adds_a_path() -> None:
    fleet = Fleet(20)
    files = fleet.files()
    assert [one.name for one in fleet.changes() if not set(one.write) <= set(files)] == ["one host more"]


@pytest.mark.parametrize("size", SIZES)
def test_all_hosts_but_one_can_be_excluded(size: int) -> None:
    fleet = Fleet(size)
    patterns = [parse_pattern(text) for text in only(fleet.changed_host)]
    paths = {name: ("nixosConfigurations", name) for name in fleet.names}
    left = [name for name, path in paths.items() if not any(matches(pattern, path) for pattern in patterns)]
    assert left == [fleet.changed_host]


def rounds(*seconds: float, one: float = 0.5) -> list[dict[str, dict[str, float]]]:
    """Rounds in which evaluating all takes so long, any commit a tenth of it, and recording as long again."""

    def used(time: float) -> dict[str, float]:
        return {"seconds": time, "cpu_seconds": 2 * time, "evaluated": 1}

    return [
        {
            "cold True": used(2 * all_seconds),
            "cold False": used(all_seconds),
            "memo": {"kib": 1234.0},
            "all": used(all_seconds),
            "one": used(one),
            "nix eval": used(one),
            **{change.name: used(all_seconds / 10) for change in Fleet(20).changes()},
            **{f"preview {name}": used(all_seconds / 5) for name in incremental.BRIEF},
        }
        for all_seconds in seconds
    ]


def measured(*fleets: dict[str, Any]) -> dict[str, Any]:
    return {"times": incremental.TIMES, "plus": incremental.PLUS_SECONDS, "fleets": fleets}


def fleet_of(hosts: int, *seconds: float, one: float = 0.5) -> dict[str, Any]:
    return {"hosts": hosts, "files": hosts + 77, **incremental.summary(Fleet(hosts), rounds(*seconds, one=one))}


def test_ratios_are_taken_within_a_round() -> None:
    some = rounds(10, 20, 90)
    some[1][ONE_HOST]["seconds"] = 20
    found = incremental.summary(Fleet(20), some)
    by_name = {one["name"]: one for one in found["changes"]}
    assert by_name[DOCUMENTATION]["of_all"] == 0.1
    assert by_name[ONE_HOST]["of_all"] == 0.1
    assert by_name[ONE_HOST]["seconds"] == 9
    assert found["recording"] == {"seconds": 2, "cpu_seconds": 2}
    assert found["bar"] == 1.75


def test_the_page_shows_each_commit_for_each_fleet() -> None:
    text, pictures = incremental_page.section(measured(fleet_of(20, 10), fleet_of(100, 50, one=3)))
    assert set(pictures) == {"figures-incremental.svg"}
    assert f"| **{ONE_HOST}** | it | 1 | 1.00 | 0.10 | 1 | 5.00 | 0.10 |" in text
    assert "| nothing is remembered |  | 20 | 10.00 | 1.00 | 100 | 50.00 | 1.00 |" in text
    assert "| **a commit to one host takes, seconds** | **1.00** | **5.00** |" in text
    assert "| KiB of the memo | 1,234 | 1,234 |" in text


def test_of_commits_that_reach_all_hosts_some_are_not_measured_with_a_large_fleet() -> None:
    text, _ = incremental_page.section(measured(fleet_of(100, 50), fleet_of(300, 150)))
    assert "| the lock | all | 1 | 5.00 | 0.10 | 1 | 15.00 | 0.10 |" in text
    assert "| one host more | the new one | 1 | 5.00 | 0.10 |  |  |  |" in text
    assert "| one role | a tenth, here and there | 1 | 5.00 | 0.10 | 1 | 15.00 | 0.10 |" in text
    assert incremental_page.LEFT_OUT in text
    assert incremental_page.LEFT_OUT not in incremental_page.section(measured(fleet_of(100, 50)))[0]


def test_the_page_says_where_a_commit_to_one_host_takes_too_long() -> None:
    text, pictures = incremental_page.section(measured(fleet_of(20, 40)))
    assert not pictures
    assert "| **a commit to one host takes, seconds** | **4.00**, too long |" in text


def test_the_page_says_why_inspecting_with_a_memo_was_not_measured() -> None:
    text, pictures = incremental_page.section({"missing": "there are not enough watches"})
    assert not pictures
    assert "there are not enough watches" in "".join(text)
