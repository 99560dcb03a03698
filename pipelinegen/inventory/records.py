"""What an evaluator says, line by line, as values. Pure.

Nix's `internal-json` log has one JSON record per line behind `@nix `. Three kinds matter here: the reports of
`walk.nix` (traces that begin with the run's secret word), builds that begin, and errors.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from pipelinegen.console import plain
from pipelinegen.inventory.rules import Visit
from pipelinegen.values import Value

_PREFIX = "@nix "
_BUILD = 105
"""Nix's activity type of a build (`src/libutil/logging.hh`, `actBuild`)."""

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


Report = Annotated[
    Enter | Name | SetDone | Found | Unavailable | Ignored | Caught, Field(discriminator="event")
]

_REPORT: TypeAdapter[Report] = TypeAdapter(Report)


class BuildStarted(Value):
    """Evaluation needs the result of a build, which begins."""

    drv_path: str


class Message(Value):
    """An error, or a line that is in no format: what the evaluator last said before it died."""

    text: str


def read_line(line: str, word: str) -> Report | BuildStarted | Message | None:
    """What a line of the evaluator's stderr means; null for what is of no interest here.

    Args:
        line: without its end.
        word: the run's secret word.

    Raises:
        ValueError: a report is damaged.
    """
    if not line.startswith(_PREFIX):
        text = plain(line).strip()
        return Message(text=text) if text else None
    try:
        record = json.loads(line[len(_PREFIX) :])
    except ValueError:
        return None  # the last line of an evaluator that was killed in the middle of it
    action = record.get("action")
    if action == "start" and record.get("type") == _BUILD and record.get("fields"):
        return BuildStarted(drv_path=str(record["fields"][0]))
    if action != "msg":
        return None
    return _message(record, word)


def _message(record: dict[str, Any], word: str) -> Report | Message | None:
    text = str(record.get("msg", ""))
    if text.startswith(_TRACE):
        if not text.startswith(f"{_TRACE}{word} "):
            return None  # a trace of the flake's own
        return _REPORT.validate_json(text[len(_TRACE) + len(word) + 1 :])
    if record.get("level") == _ERROR_LEVEL and re.match(r"(?:\x1b\[[0-9;]*m)*error", text):
        return Message(text=plain(text).strip())
    return None
