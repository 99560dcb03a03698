"""What is read and written in an environment's description, and how long GitLab asks to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.gitlab_deployments import Described, describe, read_description
from pipelinegen.gitlab_transport import asked_pause

SHA = "a" * 40
SYSTEM = "/nix/store/00000000000000000000000000000000-nixos-system-web1-25.05"


@given(st.text(), st.sampled_from([(SHA, SYSTEM), (None, None), (SHA, None)]))
def test_what_is_written_is_read_whatever_people_wrote(description: str, known: tuple[str | None, str | None]) -> None:
    commit, system = known
    once = describe(description, commit, system)
    expected = Described(commit=commit, system=system) if commit and system else Described()
    assert read_description(once) == expected
    assert describe(once, commit, system) == once


def test_what_people_wrote_stays() -> None:
    theirs = "# The first of them\n\nSee the wiki: pipelinegen deploys it."
    once = describe(theirs, SHA, SYSTEM)
    assert once == f"{theirs}\npipelinegen: {SHA} {SYSTEM}"
    assert describe(once, None, None) == f"{theirs}\npipelinegen: not known"


@given(st.text())
def test_any_description_is_read_or_refused(description: str) -> None:
    try:
        found = read_description(description)
    except ValueError:
        return
    assert found is None or found == Described()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "7", "RateLimit-Reset": "2000"}, 7.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:20:00 GMT"}, 200.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"Retry-After": "-7"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": f"Mon, {'9' * 20} Jan 2020 00:00:00 GMT"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"RateLimit-Reset": "1060"}, 60.0),
        ({"RateLimit-Reset": "1"}, 0.0),
        ({"RateLimit-Reset": "x"}, None),
    ],
)
def test_the_pause_is_what_the_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_pause(headers, now=1000.0) == seconds
