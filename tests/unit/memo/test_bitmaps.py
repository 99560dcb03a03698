"""Sets of places, written small."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.memo import bitmaps

SCATTERED = {number for number in range(10_000) if number * 7919 % 10_007 % 2}
"""Half of all, without a pattern that could be seen."""


def packed(sets: list[set[int]]) -> list[bitmaps.Packed]:
    """As a snapshot has them: each as what differs from the one before it."""
    return [bitmaps.pack(sorted(one ^ before)) for one, before in zip(sets, [set[int](), *sets], strict=False)]


def places(bitmap: int) -> set[int]:
    return {place for begin, end in bitmaps.runs(bitmap) for place in range(begin, end)}


@given(st.lists(st.sets(st.integers(0, 299)), max_size=8))
def test_what_was_packed_comes_back(sets: list[set[int]]) -> None:
    written: list[object] = json.loads(json.dumps(packed(sets)))
    assert [places(bitmap) for bitmap in bitmaps.unpack(written, 300)] == sets


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([], []), ([0], [0, 1]), ([3, 4, 5], [3, 3]), ([0, 1, 60], [0, 2, 58, 1])],
    ids=["nothing", "the first", "a run", "two runs"],
)
def test_a_few_places_are_runs(numbers: list[int], expected: list[int]) -> None:
    assert bitmaps.pack(numbers) == expected


def test_many_scattered_places_take_no_more_than_a_bitmap() -> None:
    assert len(json.dumps(bitmaps.pack(sorted(SCATTERED)))) < 10_000 // 6 + 10


def test_a_set_like_the_one_before_it_takes_nothing() -> None:
    assert packed([SCATTERED, SCATTERED, SCATTERED | {10_000}])[1:] == [[], [10_000, 1]]


@pytest.mark.parametrize(
    "written",
    [[[0, 11]], [[11, 1]], [[-1, 3]], [[0]], [["a", 1]], ["//8="], ["?"], ["ä"], [None], [[10**15, 10**15]]],
    ids=[
        *("beyond the table", "begins beyond it", "negative", "half a run", "no number"),
        *("a bitmap beyond it", "no base64", "no ASCII", "neither", "more than memory holds"),
    ],
)
def test_what_is_no_set_is_refused(written: list[object]) -> None:
    with pytest.raises(ValueError, match=r"set|runs|argument|ASCII"):
        bitmaps.unpack(written, 10)
