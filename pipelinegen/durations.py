"""Durations as GitLab writes them: `1 hour`, `1h 30m`, `3 weeks and 2 days`, `1:30:00`, `42` (seconds).

GitLab reads them with ChronicDuration; a month has 30 days there and a year 365.25. A text that it would
refuse makes it refuse the whole file, so this reader is no more generous.
"""

from __future__ import annotations

import math
import re

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
MONTH = 30 * DAY
YEAR = 31_557_600

NEVER = "never"
"""What `artifacts:expire_in` takes besides a duration."""

_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "dy", "day", "days"), DAY),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), WEEK),
    **dict.fromkeys(("mo", "mos", "month", "months"), MONTH),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), YEAR),
}
_PART = r"([0-9]{0,9}\.?[0-9]{1,9}) ?([a-z]+)"
_PARTS = re.compile(f"{_PART}(?: ?(?:(?:,|and|with|plus) ?)?{_PART})*")
_CLOCK = re.compile(r"[0-9]{1,9}(?::[0-9]{1,9}){0,5}")
_CLOCK_UNITS = (1, MINUTE, HOUR, DAY, MONTH, YEAR)


def seconds(text: str) -> int | None:
    """How long `text` is, in whole seconds (rounded up); null when GitLab could not read it."""
    text = " ".join(text.lower().split())
    if _CLOCK.fullmatch(text):
        fields = reversed(text.split(":"))
        return sum(int(field) * unit for field, unit in zip(fields, _CLOCK_UNITS, strict=False))
    if text in _UNITS:  # "day" is one day
        return _UNITS[text]
    if not _PARTS.fullmatch(text):
        return None
    parts = re.findall(_PART, text)
    if any(unit not in _UNITS for _, unit in parts):
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return math.ceil(round(total, 6))


def is_expiry(text: str) -> bool:
    """Whether `artifacts:expire_in` takes it: a duration or `never`."""
    return text == NEVER or seconds(text) is not None


def text(duration: int) -> str:
    """`duration` seconds as GitLab reads them back: `1h 30m`, `45s`.

    Raises:
        ValueError: it is negative.
    """
    if duration < 0:
        raise ValueError("a duration is never negative")
    parts = []
    for letter, unit in (("h", HOUR), ("m", MINUTE), ("s", 1)):
        count, duration = divmod(duration, unit)
        if count:
            parts.append(f"{count}{letter}")
    return " ".join(parts) or "0s"
