"""Durations as GitLab reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen import durations

HOUR = 3600
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("42", 42),
        ("0", 0),
        ("42 seconds", 42),
        ("1 hour", HOUR),
        ("1h 30m", 5400),
        ("2h20min", 8400),
        ("3 mins 4 sec", 184),
        ("5 minutes, 3 seconds", 303),
        ("6 mos 1 day", 181 * DAY),
        ("47 yrs 6 mos and 4d", 47 * 31_557_600 + 184 * DAY),
        ("3 weeks and 2 days", 23 * DAY),
        ("1 day plus 1 hour with 2 s", DAY + HOUR + 2),
        ("1.5 hours", 5400),
        (".5h", 1800),
        ("0.1 s", 1),
        ("day", DAY),
        ("1:30", 90),
        ("1:30:00", 5400),
        ("  1   HOUR ", HOUR),
    ],
)
def test_what_gitlab_reads_is_read(text: str, seconds: int) -> None:
    assert durations.seconds(text) == seconds
    assert durations.is_expiry(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "soon", "never", "30 minuets", "1 2 minutes", "and", "1h and", "1h and and 3s", "-1 hour"),
        *("1..5h", "5.h", "1 h x", "$TIMEOUT", "1:", ":30", "9" * 50, "9" * 50 + " hours", "\u0661 hour"),
    ],
)
def test_what_gitlab_refuses_is_refused(text: str) -> None:
    assert durations.seconds(text) is None


def test_only_an_expiry_may_be_never() -> None:
    assert durations.is_expiry("never")
    assert not durations.is_expiry("Never ever")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (45, "45s"), (60, "1m"), (5400, "1h 30m"), (100 * HOUR + 1, "100h 1s")],
)
def test_seconds_are_written_shortly(seconds: int, text: str) -> None:
    assert durations.text(seconds) == text


def test_a_negative_duration_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="never negative"):
        durations.text(-1)


@given(st.integers(0, 10**9))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert durations.seconds(durations.text(seconds)) == seconds


UNITS = st.sampled_from(["s", "sec", "seconds", "m", "mins", "minute", "h", "hrs", "hours", "d", "days", "w", "weeks"])
PARTS = st.builds(
    "{}{}{}{}".format, st.integers(0, 9999), st.sampled_from(["", ".5"]), st.sampled_from(["", " "]), UNITS
)


@given(st.lists(PARTS, min_size=1, max_size=4), st.sampled_from(["", " ", "  "]))
def test_numbers_with_units_are_understood_however_they_are_spaced(parts: list[str], between: str) -> None:
    assert durations.seconds(between.join(parts)) is not None


@given(st.text(alphabet="0123456789.: hmsdwyand,", max_size=30))
def test_no_text_is_an_accident(text: str) -> None:
    found = durations.seconds(text)
    assert found is None or found >= 0
