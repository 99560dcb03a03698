"""Whatever a flake reads and whatever is edited: with the memo it offers what a full evaluation finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import _name, _nix_folders
from tests.integration.memo.edits import EDITS, story
from tests.integration.memo.flakes import FEATURES
from tests.integration.memo.play import play

EDITS_EACH = 50
STORIES_EACH = 3
TESTS = 14
"""Together 2,100 edits, dealt to the versions of Nix that this machine has."""

LEAST_KNOWN = 0.2
"""Part of a test's answers that the memo must give; else it would be right by never answering."""

SEEDS = [list(range(number * STORIES_EACH, (number + 1) * STORIES_EACH)) for number in range(TESTS)]


@pytest.mark.nix
@pytest.mark.parametrize(
    ("nix_bin", "seeds"),
    [(folder, seeds) for number, folder in enumerate(_nix_folders()) for seeds in SEEDS[number :: len(_nix_folders())]],
    ids=lambda value: f"from-{value[0]}" if isinstance(value, list) else _name(value),
    indirect=["nix_bin"],
)
def test_the_memo_says_what_a_full_evaluation_says(nix_bin: Path, seeds: list[int], tmp_path: Path) -> None:
    stories = [play(seed, EDITS_EACH, tmp_path / str(seed)) for seed in seeds]
    assert [line for played in stories for line in played.wrong] == []
    assert [line for played in stories for line in played.warnings] == []
    assert sum(played.known for played in stories) >= LEAST_KNOWN * sum(played.outputs for played in stories)
    assert sum(played.failures for played in stories) < sum(played.outputs for played in stories) / 2


def test_the_stories_hold_every_kind_of_edit_and_of_reading() -> None:
    told = [
        one
        for seeds in SEEDS
        for seed in seeds
        for one in story(seed, EDITS_EACH, relative_inputs=True, dirty_names=True)
    ]
    assert {name for name, _ in told} == {*EDITS, "begin"}
    parts = " ".join(part for _, project in told for part in project.parts)
    assert [name for name in FEATURES if f"/* {name} */" not in parts] == []


def test_a_story_is_the_same_whenever_it_is_told() -> None:
    one, two = (story(7, 20, relative_inputs=True, dirty_names=True) for _ in range(2))
    assert one == two
    assert one != story(8, 20, relative_inputs=True, dirty_names=True)
