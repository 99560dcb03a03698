"""Waits and parallelism: growing, bounded, spread; halved and slowly given back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.cache.attic.retry import Backoff, Parallelism


@given(failures=st.integers(1, 500), chance=st.floats(0, 1))
def test_a_wait_is_never_longer_than_the_cap_nor_shorter_than_half_of_the_base(failures: int, chance: float) -> None:
    assert 0.25 <= Backoff(0.5, 30).delay(failures, chance) <= 30


def test_waits_double() -> None:
    assert [Backoff(0.5, 30).delay(number, 1) for number in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_what_the_server_asks_for_is_not_shortened() -> None:
    assert Backoff(0.5, 30).delay(1, 0.5, retry_after=120) == 120
    assert Backoff(0.5, 30).delay(9, 1, retry_after=1) == 30


def test_parallelism_falls_to_one_and_comes_back() -> None:
    jobs = Parallelism(4)
    for _ in range(5):
        jobs.troubled()
    assert jobs.allowed == 1
    seen = []
    for _ in range(14):
        jobs.succeeded()
        seen.append(jobs.allowed)
    assert seen == [1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize(("percent", "least", "most"), [(0, 4, 4), (5, 3, 4), (60, 1, 1.5)])
def test_rare_failures_cost_little_and_many_are_obeyed(percent: int, least: float, most: float) -> None:
    jobs, chance = Parallelism(4), random.Random(1)  # noqa: S311  # the same numbers each time
    allowed = []
    for _ in range(5000):
        if chance.random() * 100 < percent:
            jobs.troubled()
        else:
            jobs.succeeded()
        allowed.append(jobs.allowed)
    assert least <= sum(allowed) / len(allowed) <= most
