"""Many similar sets of places in one table, written small. Pure.

A set is written as what differs from the one before it: either as runs (how many places to skip, how many are meant,
…) or, where that is longer, as base64 of a bitmap. A bitmap is a whole number; its bit *n* stands for place *n*, in
bytes the lowest come first.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

Packed = str | list[int]

_CHARACTERS_PER_RUN = 6
"""Two numbers of two digits with their commas. A guess is enough: it decides about size only."""


def pack(places: Sequence[int]) -> Packed:
    """One difference: the places, in ascending order, that are in one set of two."""
    numbers: list[int] = []
    end = 0
    for place in places:
        if numbers and place == end:
            numbers[-1] += 1
        else:
            numbers += (place - end, 1)
        end = place + 1
    if len(numbers) // 2 * _CHARACTERS_PER_RUN <= end // 6 + 8:
        return numbers
    data = bytearray((end + 7) // 8)
    for place in places:
        data[place >> 3] |= 1 << (place & 7)
    return base64.b64encode(data).decode()


def unpack(packed: Sequence[object], width: int) -> list[int]:
    """The sets as bitmaps, from the differences between each and the one before it; the first from an empty one.

    Raises:
        ValueError: these are no packed sets of places below `width`.
    """
    sets: list[int] = []
    before = 0
    for one in packed:
        before ^= _from_runs(one, width) if isinstance(one, list) else _from_text(one)
        if before.bit_length() > width:
            raise ValueError("a set goes beyond its table")
        sets.append(before)
    return sets


def runs(bitmap: int) -> Iterator[tuple[int, int]]:
    """A bitmap as runs of places, lowest first: where each begins, and where it has ended."""
    digits = f"{bitmap:b}"[::-1] + "0"
    begin = digits.find("1")
    while begin >= 0:
        end = digits.find("0", begin)
        yield begin, end
        begin = digits.find("1", end)


def _from_runs(numbers: list[object], width: int) -> int:
    bitmap = end = 0
    for skipped, length in zip(numbers[::2], numbers[1::2], strict=True):
        if not isinstance(skipped, int) or not isinstance(length, int) or skipped < 0 or length < 0:
            raise ValueError("runs of places are whole numbers")
        if end + skipped + length > width:
            raise ValueError("a set goes beyond its table")
        bitmap |= ((1 << length) - 1) << (end + skipped)
        end += skipped + length
    return bitmap


def _from_text(text: object) -> int:
    if not isinstance(text, str):
        raise ValueError("a set is neither runs nor text")  # noqa: TRY004 - one kind of error for what was read
    try:
        return int.from_bytes(base64.b64decode(text, validate=True), "little")
    except binascii.Error as error:
        raise ValueError("a set is no base64") from error
