"""Where `generate` and `preview` look for recorded build times, with real git and Nix."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.history import HISTORY_FILE
from tests.gitrepo import commit, make_repo
from tests.integration.test_generate import pipelinegen

pytestmark = pytest.mark.nix

FLAKE = """\
{
  outputs = { self }: {
    packages.x86_64-linux.a = derivation { name = "a"; system = "x86_64-linux"; builder = "/bin/sh"; };
  };
}
"""


@pytest.fixture
def repository(nix_bin: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    commit(make_repo(folder), {"sub/flake.nix": FLAKE}, "first")
    return folder


@pytest.mark.parametrize(
    ("file", "options", "variables"),
    [
        (HISTORY_FILE, (), {}),
        ("from-variable.json", (), {"PIPELINEGEN_HISTORY": "from-variable.json"}),
        ("from-option.json", ("--history", "from-option.json"), {"PIPELINEGEN_HISTORY": "from-variable.json"}),
    ],
    ids=["in its usual place", "named by the variable", "named by the option"],
)
def test_a_torn_history_is_a_warning_and_changes_nothing(
    repository: Path, file: str, options: tuple[str, ...], variables: dict[str, str]
) -> None:
    arguments = ("preview", "--offline", "--json", *options, "sub")
    without = pipelinegen(*arguments, cwd=repository, **variables)
    assert without.returncode == 0, without.stderr
    assert "build times" not in without.stderr
    (repository / file).parent.mkdir(exist_ok=True)
    (repository / file).write_text('{"entries": {')
    torn = pipelinegen(*arguments, cwd=repository, **variables)
    assert torn.returncode == 0, torn.stderr
    assert f"the recorded build times are not used: {repository / file}" in torn.stderr
    assert torn.stdout == without.stdout
