"""The reference of the cache server's options is what the options say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import ONE_NIX
from tests.integration.nix.modules import NIX, ROOT, evaluate
from tests.integration.nix.option_table import as_nix, option_table

pytestmark = [pytest.mark.nix, ONE_NIX]

REFERENCE = ROOT / "docs" / "reference" / "cache-server.md"


def test_the_reference_is_up_to_date(nix_bin: Path) -> None:
    told = "python -m tests.integration.nix.option_table > docs/reference/cache-server.md"

    assert REFERENCE.read_text() == option_table(nix_bin), f"make it anew: {told}"


def test_every_option_says_what_it_is_for(nix_bin: Path) -> None:
    expression = f"""map (option: option.name) (builtins.filter (option: option.description == null) (
      import {NIX}/tests/option-list.nix {{
        module = {NIX}/attic-server; prefix = [ "services" "pipelinegen" "attic-server" ];
      }}))"""

    assert evaluate(nix_bin, expression) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(None, "null", id="null"),
        pytest.param([], "[ ]", id="no-elements"),
        pytest.param({"a": {"b": ["x", 1, True]}}, '{ a = { b = [ "x" 1 true ]; }; }', id="sets"),
        pytest.param({}, "{ }", id="no-attributes"),
    ],
)
def test_values_are_written_as_nix_reads_them(nix_bin: Path, value: object, text: str) -> None:
    assert as_nix(value) == text
    assert evaluate(nix_bin, text) == value
