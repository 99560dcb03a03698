"""What reads `self.rev` has to be evaluated at every commit, and keeps from that nothing that lies between."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.config import Config, Evaluation
from pipelinegen.inventory.read import read_source
from pipelinegen.memo.inspect import Inspection, inspect, open_memo
from tests.gitrepo import commit, make_repo

pytestmark = pytest.mark.nix

READERS = {"a", "d", "g"}
FLAKE = """
{ outputs = { self }:
  let
    make = name: text: { inherit name; value = derivation {
      inherit name text; system = "x86_64-linux"; builder = "/bin/sh";
    }; };
    reads = name: make name "${name} ${self.rev or "none"}";
    plain = name: make name name;
  in { packages.x86_64-linux = builtins.listToAttrs [
    (reads "a") (plain "b") (plain "c") (reads "d") (plain "e") (plain "f") (reads "g")
  ]; };
}
"""


def evaluated(inspection: Inspection) -> set[str]:
    """The outputs that were not known."""
    return {output.path[-1] for output in inspection.inventory.outputs} - {path[-1] for path in inspection.recalled}


def test_they_are_evaluated_after_the_others_once_they_are_known(nix_bin: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flake"
    folder.mkdir()
    repository = make_repo(folder)
    config = Config(evaluation=Evaluation(workers=1))
    counts = []
    for number in range(5):
        commit(repository, {"flake.nix": FLAKE, "README": str(number)}, "change")
        source = read_source(".", cwd=folder, config=config)
        found = inspect(source, config, open_memo(tmp_path / "cache", source, config))
        plain = inspect(source, config, None)
        assert found.inventory == plain.inventory
        counts.append(evaluated(found))
    # Forwards, backwards, and a third time without those two that were seen to read it: `d` is found out.
    assert [len(one) for one in counts[:3]] == [7, 7, 7]
    assert counts[-1] == READERS
