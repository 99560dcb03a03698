"""The numbers and versions."""

from __future__ import annotations

import pytest

from pipelinegen.errors import UsageError
from pipelinegen.pipeline.limits import SINCE, Limits, memory_estimate, parse_version, supports


@pytest.mark.parametrize(
    ("text", "version"), [("17.5", (17, 5)), ("17.5.2", (17, 5)), ("18.0.0-ee", (18, 0)), ("16.11-pre", (16, 11))]
)
def test_versions_are_read(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "17", "v17.5", "latest", "17.x", "9" * 9 + ".1"])
def test_what_is_no_version_is_a_wrong_use(text: str) -> None:
    with pytest.raises(UsageError, match="no GitLab version"):
        parse_version(text)


@pytest.mark.parametrize("ability", SINCE)
def test_an_ability_begins_with_its_version(ability: str) -> None:
    major, minor = SINCE[ability]
    assert supports(f"{major}.{minor}", ability)
    assert supports(f"{major + 1}.0", ability)
    assert not supports(f"{major}.{minor - 1}" if minor else f"{major - 1}.99", ability)


def test_versions_are_numbers_and_no_text() -> None:
    assert supports("16.11", "artifacts:access")
    assert not supports("16.9", "artifacts:access")


def test_eight_hundred_kilobytes_are_the_most_that_gitlab_will_hold() -> None:
    assert memory_estimate(800_000) == Limits().max_memory
