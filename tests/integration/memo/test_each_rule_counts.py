"""Random stories show each rule that makes the memo sound: without it, an answer is wrong before long."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipelinegen import nix
from pipelinegen.config import Config, Evaluation
from pipelinegen.memo import judge
from pipelinegen.memo.inspect import inspect, open_memo
from pipelinegen.memo.model import Record
from tests.integration.conftest import ONE_NIX
from tests.integration.memo.play import play
from tests.integration.memo.reference import SYSTEM, answer, references
from tests.integration.memo.rules_off import RULES, lose_events, share_caches
from tests.integration.memo.states import File, State, flake_source, full_info, store

pytestmark = pytest.mark.nix

EDITS = 25
STORIES = 8
"""At most; mostly the first one shows it."""


@ONE_NIX
@pytest.mark.parametrize("name", RULES)
def test_without_a_rule_an_answer_is_wrong(
    name: str, nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = RULES[name]
    rule.off(monkeypatch)
    assert any(
        play(seed, EDITS, tmp_path / str(seed), favoured=rule.favoured, stop_when_wrong=True).wrong
        for seed in range(STORIES)
    )


@ONE_NIX
def test_what_the_kernel_says_it_has_lost_makes_no_answer_wrong(
    nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_events(monkeypatch, noticed=True)
    assert [line for seed in (0, 1) for line in play(seed, EDITS, tmp_path / str(seed)).wrong] == []


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "not-noticed"])
def test_what_was_seen_to_depend_on_the_tree_stays_so(
    noticed: bool, nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One digit of a hash may be the same at two trees: only that it differed at a third one tells.
    if not noticed:
        monkeypatch.setattr(judge, "independent", _not_coupled)
    config = Config(evaluation=Evaluation(workers=1))
    states = [
        State({"flake.nix": File(_DIGIT), "other": File(str(number))}, full_info(f"{1:040x}", 1, 1, dirty_names=False))
        for number in range(40)
    ]
    library, *stored = store([State({"value.nix": File("1")}), *states], tmp_path / "trees")
    sources = [flake_source(state, one, [library], nix.version()) for state, one in zip(states, stored, strict=True)]
    answers = references(sources, [library], config, tmp_path / "whole")
    digits = [found.outputs[("packages", SYSTEM, "digit")].drv_path for found in answers]
    often = Counter(digits).most_common(1)[0][0]
    same = [number for number, digit in enumerate(digits) if digit == often]
    others = [number for number, digit in enumerate(digits) if digit != often]
    assert len(same) > 1
    wrong = []
    for number in (others[0], *same[:2], others[1]):
        memo = open_memo(tmp_path / "cache", sources[number], config)
        wrong.append(answer(inspect(sources[number], config, memo).inventory) != answers[number])
    assert wrong == [False, False, False, not noticed]


_DIGIT = f"""{{ outputs = {{ self, ... }}: {{
  packages.{SYSTEM}.digit = derivation {{
    name = builtins.substring 0 1 (builtins.hashString "sha256" "${{self}}");
    system = "{SYSTEM}";
    builder = "/bin/sh";
  }};
  checks.{SYSTEM} = {{ }};
  legacyPackages.{SYSTEM} = {{ }};
}}; }}"""


def _not_coupled(record: Record, here: str) -> bool:
    return here in record.witnesses or len(record.witnesses) > 1


_TWICE = f"""{{ outputs = {{ self, ... }}: let
  drv = more: derivation ({{ name = "x"; system = "{SYSTEM}"; builder = "/bin/sh"; }} // more);
in {{
  packages.{SYSTEM} = {{
    a = drv {{ data = "${{./data}}"; }};
    b = drv {{ built = import (drv {{ args = [ "-c" "echo 1 > $out" ]; }} + ""); }};
    c = drv {{ data = "${{./data}}"; }};
  }};
  checks.{SYSTEM} = {{ }};
  legacyPackages.{SYSTEM} = {{ }};
}}; }}"""


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "shared"])
def test_caches_of_evaluators_are_apart(
    shared: bool, nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What has to build something ends the evaluator, so that two of them copy the folder; and so did an earlier run.
    version = nix.version()
    if shared:
        if version.startswith(("2.8.", "2.26.")):
            pytest.skip("this Nix remembers nothing that it copied to the store, or not in this flake")
        share_caches(monkeypatch)
    config = Config(evaluation=Evaluation(workers=1))
    states = [
        State({"flake.nix": File(_TWICE), "data/x": File(data), "other": File(other)}, {"lastModified": 1})
        for data, other in (("1", "1"), ("1", "2"), ("2", "2"))
    ]
    library, *stored = store([State({"value.nix": File("1")}), *states], tmp_path / "trees")
    sources = [flake_source(state, one, [library], version) for state, one in zip(states, stored, strict=True)]
    answers = references(sources, [library], config, tmp_path / "whole")
    inspect(sources[0], config, open_memo(tmp_path / "earlier", sources[0], config))
    wrong = []
    for source, right in zip(sources, answers, strict=True):
        found = inspect(source, config, open_memo(tmp_path / "cache", source, config))
        wrong.append(answer(found.inventory) != right)
    assert wrong == [False, False, shared]
