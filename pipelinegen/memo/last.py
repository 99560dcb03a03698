"""How many derivations the memo knew at the last inspection: a small file beside what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pipelinegen.errors import ToolError
from pipelinegen.files import write_atomic
from pipelinegen.values import Value

FOLDER = "memo"
"""Of what is remembered of evaluations, in the cache directory."""

FILE_NAME = "last.json"
_MAX_BYTES = 64 * 1024


class Last(Value):
    """The last inspection of a head.

    Attributes:
        format: of the file; others are not read.
        known: outputs whose derivation came from the memo.
        evaluated: the others, and what failed.
        not_recorded: why nothing could be recorded then; null where it could.
    """

    format: Literal[1] = 1
    known: int = Field(ge=0)
    evaluated: int = Field(ge=0)
    not_recorded: str | None = None

    @property
    def outputs(self) -> int:
        """All of them."""
        return self.known + self.evaluated


def write_last(folder: Path, last: Last) -> str | None:
    """Keep it in the memo's folder. Returns why that was not possible, if so."""
    try:
        write_atomic(folder / FILE_NAME, last.model_dump_json() + "\n")
    except (ToolError, ValueError) as error:
        return f"how much was known of this flake was not kept: {error}"
    return None


def read_last(folder: Path) -> Last | None:
    """What was kept; null where there is nothing, or nothing that can be believed."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            return Last.model_validate_json(file.read(_MAX_BYTES))
    except (OSError, ValidationError):
        return None
