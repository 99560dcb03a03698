"""Nix's `--log-format internal-json` as values. Pure.

Each line of stderr is `@nix ` and a JSON record. The numbers are those of Nix's `logging.hh`; they have
been the same from Nix 2.8 to 2.34 and in Lix. What a builder prints arrives as *data* in a record of its
own activity, so it cannot pass for a record; but Nix lets a builder send messages (`@nix` lines of its
own), so a message proves nothing about other derivations.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

OPTIONS = ("--log-format", "internal-json")

INFORMATION = 3

_PREFIX = "@nix "
_PENDING_LIMIT = 4 << 20
"""Characters of one record that are put together again; a longer one is dropped."""

_RESULT_LOG_LINE = 101
_RESULT_PROGRESS = 105
_RESULT_POST_BUILD_LOG_LINE = 107

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_DRV = re.compile(r"'?(/[^\s'!*^]+\.drv)\b")
_BUILDER_FAILED = re.compile(r"builder for '[^']*' (failed with [^\n;]*)")
_DRV_PATH = re.compile(r"/[!-~]+\.drv")
_DEPENDENTS = re.compile(r"dependenc(?:y|ies)\b.*\bfailed|[0-9]+ dependenc(?:y|ies) failed", re.DOTALL)


@dataclass(frozen=True)
class Started:
    """A build began."""

    activity: int
    drv_path: str


@dataclass(frozen=True)
class Fetching:
    """A store path is being fetched."""

    path: str
    source: str


@dataclass(frozen=True)
class LogLine:
    """A builder printed a line."""

    activity: int
    text: str


@dataclass(frozen=True)
class Stopped:
    """An activity ended; up to Nix 2.26 a build's only when everything does."""

    activity: int


@dataclass(frozen=True)
class Progress:
    """How many builds run and how many have failed."""

    running: int
    failed: int


@dataclass(frozen=True)
class BuildFailed:
    """Nix says that derivations failed, and why."""

    drv_paths: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Message:
    """Anything else that Nix says; level 0 is an error, 1 a warning, 3 information."""

    level: int
    text: str


Event = Started | Fetching | LogLine | Stopped | Progress | BuildFailed | Message


def summary(message: str) -> str:
    """One line of a message about a build: Nix 2.34 tells the reason in lines of their own."""
    if found := _BUILDER_FAILED.match(message):
        return f"builder {found.group(1)}"
    first, *rest = (line.strip() for line in message.split("\n"))
    reasons = [line for line in rest if line.startswith(("Reason: ", "Required "))]
    return "; ".join(line.removeprefix("Reason: ").rstrip(".") for line in reasons) or first.rstrip(":")


class Parser:
    """Turns lines into events; keeps what one line says about a later one."""

    def __init__(self) -> None:
        self._builds: set[int] = set()
        self._pending = ""

    def feed(self, line: str) -> Event | None:
        """The event of one line of stderr; null for what is of no interest.

        A record longer than what the reader takes at once arrives in pieces, which are put together.
        """
        if line.startswith(_PREFIX):
            self._pending = line
        elif self._pending:
            self._pending += line
        else:
            return Message(INFORMATION, line) if line.strip() else None
        try:
            record = json.loads(self._pending.removeprefix(_PREFIX))
        except (ValueError, RecursionError):
            if len(self._pending) > _PENDING_LIMIT:
                self._pending = ""
            return None
        self._pending = ""
        try:
            return self._event(record)
        except (KeyError, IndexError, TypeError, ValueError):
            return None  # a record of a shape we do not know tells us nothing

    def _event(self, record: dict[str, Any]) -> Event | None:
        match record["action"]:
            case "start":
                return self._start(int(record["id"]), record)
            case "stop":
                return Stopped(int(record["id"]))
            case "result":
                return self._result(int(record["id"]), record)
            case "msg":
                return _message(int(record["level"]), str(record["msg"]))
        return None

    def _start(self, activity: int, record: dict[str, Any]) -> Event | None:
        match record["type"]:
            case 104:
                self._builds.add(activity)
            case 105 if _DRV_PATH.fullmatch(str(record["fields"][0])):
                return Started(activity, str(record["fields"][0]))
            case 108:
                return Fetching(str(record["fields"][0]), str(record["fields"][1]))
        return None

    def _result(self, activity: int, record: dict[str, Any]) -> Event | None:
        fields = record["fields"]
        if record["type"] in {_RESULT_LOG_LINE, _RESULT_POST_BUILD_LOG_LINE}:
            return LogLine(activity, str(fields[0]))
        if record["type"] == _RESULT_PROGRESS and activity in self._builds:
            return Progress(running=int(fields[2]), failed=int(fields[3]))
        return None


def _message(level: int, coloured: str) -> Event:
    text = _COLOUR.sub("", coloured)
    sentence = text.removeprefix("error: ").strip()
    drv_paths = tuple(dict.fromkeys(_DRV.findall(sentence)))
    # The closing "build of 'a.drv', 'b.drv' failed" and failures of dependents only repeat what was said.
    if sentence.startswith("build of ") or (drv_paths and _DEPENDENTS.search(sentence)):
        return Message(INFORMATION, text)
    if level != 0 or not drv_paths:
        return Message(level, text)
    return BuildFailed(drv_paths[:1], sentence)
