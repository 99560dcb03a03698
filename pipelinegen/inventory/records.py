"""What an evaluator says, line by line, as values. Pure.

Nix's `internal-json` log has one JSON record per line behind `@nix `. Three kinds matter here: the reports of
`walk.nix` (traces that begin with the run's secret word), builds that begin, and errors.
"""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from pipelinegen.console import plain
from pipelinegen.inventory.messages import error_text
from pipelinegen.inventory.rules import Visit
from pipelinegen.values import Value

_PREFIX = "@nix "
_RECORD = '@nix {"'
_ERROR_LEVEL = 0
_TRACE = "trace: "


class Subject(Value):
    """Which visit of which attribute a report is about."""

    path: tuple[str, ...]
    visit: Visit


class Enter(Subject):
    """The evaluator turns to it."""

    event: Literal["enter"]


class Name(Subject):
    """It has an attribute of this name."""

    event: Literal["name"]
    name: str


class SetDone(Subject):
    """It is an attribute set, and all its `count` names of interest have been said."""

    event: Literal["set"]
    count: int


class Found(Subject):
    """It yields a derivation.

    Attributes:
        suffix: where the derivation is below the attribute.
        drv_path: the derivation, which is in the store now.
        output: the output that the attribute itself stands for.
        install: `meta.outputsToInstall`.
        timeout, max_silent: `meta.timeout`, `meta.maxSilent`, in seconds.
    """

    event: Literal["derivation"]
    suffix: tuple[str, ...]
    drv_path: str = Field(alias="drvPath")
    output: str
    install: tuple[str, ...]
    timeout: int | None
    max_silent: int | None = Field(alias="maxSilent")


class Unavailable(Subject):
    """It yields a derivation that its `meta` says must not be built.

    Attributes:
        marks: which of `broken`, `unsupported`, `insecure`, `unfree` are set.
    """

    event: Literal["unavailable"]
    suffix: tuple[str, ...]
    marks: tuple[str, ...]
    name: str
    system: str


class Ignored(Subject):
    """It is no derivation and is not searched.

    Attributes:
        strange: it should have been a derivation (the toplevel of a host), or a set.
    """

    event: Literal["ignored"]
    strange: bool


class Caught(Subject):
    """It failed in a way that the evaluator survives; Nix's message is lost."""

    event: Literal["caught"]


class MetadataRead(Value):
    """The flake reads an attribute of `self` that says something of the source besides where it is."""

    event: Literal["metadata"]
    name: str


Report = Annotated[Enter | Name | SetDone | Found | Unavailable | Ignored | Caught, Field(discriminator="event")]

_REPORT: TypeAdapter[Report | MetadataRead] = TypeAdapter(
    Annotated[
        Enter | Name | SetDone | Found | Unavailable | Ignored | Caught | MetadataRead, Field(discriminator="event")
    ]
)


class BuildStarted(Value):
    """Evaluation needs the result of a build, which begins."""

    drv_path: str


class BuildLog(Value):
    """A line of the log of such a build."""

    text: str


class Message(Value):
    """An error, or a line that is in no format: what the evaluator last said before it died."""

    text: str


Said = Report | MetadataRead | BuildStarted | BuildLog | Message


class LineReader:
    """Reads lines, and puts long ones together again, which arrive in pieces.

    Args:
        word: the run's secret word.
    """

    def __init__(self, word: str) -> None:
        self._word = word
        self._begun = ""

    def read(self, line: str) -> Said | None:
        """What a line (or the last piece of one) means; null for what is of no interest here.

        Raises:
            ValueError: a report is damaged.
        """
        # Programs that Nix runs (git, ssh) write to the same place, not always whole lines.
        start = line.find(_RECORD)
        if start < 0 and not self._begun:
            text = plain(line).strip()
            return Message(text=text) if text else None
        # What was begun before another record was the last word of something that was killed.
        text = line[start + len(_PREFIX) :] if start >= 0 else self._begun + line
        self._begun = ""
        if text.endswith("}"):
            with contextlib.suppress(json.JSONDecodeError, RecursionError):
                return _read_record(json.loads(text), self._word)
        self._begun = text
        return None


def _read_record(record: dict[str, Any], word: str) -> Said | None:
    fields = record.get("fields") or [""]
    # The numbers are Nix's (`src/libutil/logging.hh`): actBuild, and resBuildLogLine.
    match record.get("action"), record.get("type"):
        case "start", 105:
            return BuildStarted(drv_path=str(fields[0]))
        case "result", 101:
            return BuildLog(text=plain(str(fields[0])))
        case "msg", _:
            return _message(record, word)
    return None


def _message(record: dict[str, Any], word: str) -> Report | MetadataRead | Message | None:
    text = str(record.get("msg", ""))
    if text.startswith(_TRACE):
        if not text.startswith(f"{_TRACE}{word} "):
            return None  # a trace of the flake's own
        return _REPORT.validate_json(text[len(_TRACE) + len(word) + 1 :])
    if record.get("level") == _ERROR_LEVEL and plain(text).startswith("error"):
        return Message(text=error_text(record))
    return None
