"""The files of recorded build times. Reading never fails: what cannot be used counts as nothing, and is said."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pipelinegen.console import clean
from pipelinegen.files import write_atomic
from pipelinegen.history import FORMAT_VERSION, History, Times

MAX_BYTES = 8 << 20
"""Of a file that is read; ten thousand entries have less than a tenth of it."""

M = TypeVar("M", History, Times)


def read_history(file: Path) -> tuple[History, str | None]:
    """The history in `file`, and why it counts as empty although there is something (one sentence)."""
    history, trouble = _read(file, History)
    return history or History(), trouble and f"the recorded build times are not used: {trouble}"


def write_history(file: Path, history: History) -> None:
    """Write `file` in one step.

    Raises:
        ToolError: it cannot be written.
    """
    write_atomic(file, history.to_json())


def read_times(file: Path) -> tuple[Times, str | None]:
    """What a job left, and why that is not known although there is something (one sentence)."""
    times, trouble = _read(file, Times)
    return times or Times(), trouble and f"the build times of a job are not recorded: {trouble}"


def write_times(file: Path, times: Times) -> None:
    """Write `file` in one step.

    Raises:
        ToolError: it cannot be written.
    """
    write_atomic(file, times.model_dump_json() + "\n")


def _read(file: Path, kind: type[M]) -> tuple[M | None, str | None]:
    """What `file` holds, null where there is none; and why it cannot be used."""
    try:
        data = _content(file)
        found = None if data is None else kind.model_validate_json(data, strict=True)
    except ValidationError:
        why = "it is torn, or nothing that pipelinegen wrote"
    except OSError as error:
        why = error.strerror or "it cannot be read"
    except ValueError as error:
        why = str(error)
    else:
        if found is None or _major(found.format_version) == _major(FORMAT_VERSION):
            return found, None
        why = "it is of another format version"
    return None, f"{clean(str(file), colour=False)}: {why}"


def _content(file: Path) -> bytes | None:
    if not file.exists():
        return None
    if not file.is_file():  # opening a pipe could wait for ever
        raise ValueError("it is no file")
    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return data


def _major(version: str) -> str:
    return version.partition(".")[0]
