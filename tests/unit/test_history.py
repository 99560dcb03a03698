"""Recorded build times: names without versions, and what another pipeline does to them."""

from __future__ import annotations

import json
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen import history as recorded
from pipelinegen.history import MAX_ENTRIES, MAX_SECONDS, SAMPLES, BuildTime, Entry, History, merge, package_name

LINUX = "x86_64-linux"

SECONDS = st.floats(0, MAX_SECONDS)
BUILDS = st.builds(
    BuildTime,
    name=st.sampled_from(["hello-1", "hello-2", "glibc-2.40", "linux-6.6-modules", "unversioned"]),
    system=st.sampled_from([LINUX, "aarch64-linux"]),
    seconds=SECONDS,
)
PIPELINES = st.lists(st.lists(BUILDS, max_size=6), max_size=6)


def built(name: str, seconds: float, system: str = LINUX) -> BuildTime:
    return BuildTime(name=name, system=system, seconds=seconds)


def after(*pipelines: list[BuildTime]) -> History:
    """The history behind those pipelines."""
    history = History()
    for builds in pipelines:
        history = merge(history, builds)
    return history


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("hello-2.12.1", "hello"),
        ("python3.12-requests-2.31.0", "python3.12-requests"),
        ("nixos-system-web1-24.05.20240101.abcdef1", "nixos-system-web1"),
        ("linux-6.6.30", "linux"),
        ("linux-6.6.30-modules-shrunk", "linux-modules-shrunk"),
        ("initrd-linux-6.6.30", "initrd-linux"),
        ("hello-2.12.1.tar.gz", "hello.tar.gz"),
        ("ripgrep-14.1.1-vendor.tar.gz", "ripgrep-vendor.tar.gz"),
        ("foo-0-unstable-2024-01-01", "foo"),
        ("foo-unstable-2023-01-01", "foo-unstable"),
        ("glibc-2.40-66", "glibc"),
        ("source", "source"),
        ("unit-sshd.service", "unit-sshd.service"),
        ("trailing-", "trailing-"),
        ("-1.0", "-1.0"),
        ("", ""),
    ],
    ids=lambda text: text or "empty",
)
def test_a_package_is_known_without_its_version(name: str, package: str) -> None:
    assert package_name(name) == package


def test_a_derivation_is_found_by_its_name_and_system_whatever_its_version() -> None:
    history = after([built("hello-2.12", 40)])
    assert history.seconds_of("hello-2.13", LINUX) == 40
    assert history.seconds_of("hello-2.13.tar.gz", LINUX) is None
    assert history.seconds_of("hello-2.13", "aarch64-linux") is None
    assert History().seconds_of("hello-2.12", LINUX) is None


def test_one_strange_time_changes_nothing_and_a_second_one_is_believed() -> None:
    usual = [[built("hello-1", seconds)] for seconds in (10, 11, 10)]
    assert after(*usual, [built("hello-1", 900)]).seconds_of("hello-1", LINUX) == 11
    assert after(*usual, [built("hello-1", 900)], [built("hello-1", 800)]).seconds_of("hello-1", LINUX) == 800


def test_what_one_pipeline_built_several_times_under_one_name_counts_as_its_median() -> None:
    history = after([built("unit-1", 3), built("unit-2", 1), built("unit-3", 500)])
    assert history.entries[LINUX]["unit"] == Entry(recent=(3,), builds=3)


def test_what_was_not_built_ages_by_one_pipeline_unless_nothing_was() -> None:
    history = after([built("a-1", 1)], [built("b-1", 1)], [built("b-1", 1)], [])
    assert {name: (entry.ago, entry.builds) for name, entry in history.entries[LINUX].items()} == {
        "a": (2, 1),
        "b": (0, 2),
    }
    assert merge(history, [built("a-2", 1)]).entries[LINUX]["a"].ago == 0


def test_what_was_built_long_ago_goes_first_and_then_what_is_built_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MAX_ENTRIES", 3)
    old = after([built("old-1", 1)], [built("often-1", 1), built("b-1", 1)], [built("often-1", 1)])
    assert set(merge(old, [built("new-1", 1)]).entries[LINUX]) == {"new", "often", "b"}
    assert set(after([built(f"{name}-1", 1) for name in "dbca"] + [built("d-2", 1)]).entries[LINUX]) == {"d", "a", "b"}


def test_ten_thousand_entries_are_far_below_a_megabyte() -> None:
    letters = str.maketrans("0123456789", "abcdefghij")
    names = [f"python3.12-module-{number:05}".translate(letters) for number in range(11_000)]
    history = History()
    for seconds in (12.3, 4567.8, 0.91):
        history = merge(history, [built(f"{name}-1.2", seconds) for name in names])
    assert history.size == MAX_ENTRIES
    text = history.to_json()
    assert len(text.encode()) < 700_000
    assert History.model_validate_json(text, strict=True) == history


@given(PIPELINES, st.lists(BUILDS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_jobs_and_builds_does_not_matter(
    before: list[list[BuildTime]], builds: list[BuildTime], shuffle: st.DataObject
) -> None:
    history = after(*before)
    other = list(builds)
    shuffle.shuffle(other)  # type: ignore[attr-defined]  # hypothesis hands out a Random
    assert merge(history, builds).to_json() == merge(history, other).to_json()


@given(PIPELINES)
def test_a_history_is_written_as_it_is_read_with_sorted_keys(pipelines: list[list[BuildTime]]) -> None:
    history = after(*pipelines)
    text = history.to_json()
    assert History.model_validate_json(text, strict=True) == history
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) + "\n" == text


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=30), max_size=5), st.integers(1, 20))
def test_a_history_never_grows_beyond_its_bound(pipelines: list[list[int]], bound: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "MAX_ENTRIES", bound)
        history = History()
        for some in pipelines:
            history = merge(history, [built(f"p{'x' * number}", number) for number in some])
            assert history.size <= bound
            assert all(len(one.recent) <= SAMPLES for packages in history.entries.values() for one in packages.values())


@given(st.lists(SECONDS, max_size=8), SECONDS)
def test_a_build_that_always_takes_as_long_is_approached_and_reached(earlier: list[float], steady: float) -> None:
    history = after(*([built("p-1", seconds)] for seconds in earlier))
    goal = after([built("p-1", steady)]).seconds_of("p-1", LINUX)
    assert goal is not None
    distance = float("inf")
    for number in range(1, 5):
        history = merge(history, [built("p-2", steady)])
        seconds = history.seconds_of("p-9", LINUX)
        assert seconds is not None
        assert abs(seconds - goal) <= distance
        distance = abs(seconds - goal)
        assert number < 2 or distance == 0


@given(SECONDS)
def test_three_digits_of_a_time_are_kept(seconds: float) -> None:
    kept = after([built("p-1", seconds)]).seconds_of("p-1", LINUX)
    assert kept is not None
    assert abs(kept - seconds) <= max(0.0051, seconds * 0.00501)


@given(st.lists(SECONDS, min_size=1, max_size=9))
def test_what_is_known_lies_between_the_times_of_the_latest_pipelines(times: list[float]) -> None:
    history = after(*([built("p-1", seconds)] for seconds in times))
    recent = history.entries[LINUX]["p"].recent
    assert history.seconds_of("p-1", LINUX) == statistics.median(recent)
    assert min(recent) <= statistics.median(recent) <= max(recent)
    assert len(recent) == min(len(times), SAMPLES)
