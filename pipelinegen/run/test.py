"""`run test`: integration commands and the flake's own check. (Checks are units, see `run.build`.)"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

from pipelinegen import durations, nix, process
from pipelinegen.config import TestConfig
from pipelinegen.console import Console, clean
from pipelinegen.errors import TransientError
from pipelinegen.run.heartbeat import LineLog, duration
from pipelinegen.run.result import ItemResult, Reports, Status, StepResult

LOG_LINES = 25


def run_command(
    test: TestConfig,
    *,
    repository: Path,
    console: Console,
    reports: Reports | None = None,
    environment: Mapping[str, str] | None = None,
) -> StepResult:
    """Run an integration command by `sh -euc` in `repository`, its output shown as it comes.

    `environment` has variables that it gets besides ours, such as those of `cache.access.Access`.

    A command that takes longer than `test.timeout` has failed; so has one that ends with another code than 0.

    Raises:
        ToolError: there is no `sh`, or a report cannot be written.
    """
    lines = _Lines(console, f"running {test.name}")
    started = console.clock()
    why: str | None = None
    try:
        ended = process.run(
            ["sh", "-euc", test.command],
            cwd=repository,
            env=process.environment(extra=environment),
            allowed="any",
            merge_output=True,
            timeout=durations.seconds(test.timeout),
            on_line=lines.line,
            on_idle=lines.idle,
        )
        if ended.returncode != 0:
            why = f"it ended with {ended.returncode}"
    except TransientError:
        why = f"it did not end within {test.timeout}"
    again = process.quote(["sh", "-euc", test.command])
    return _finish(test.name, why, lines, started=started, again=again, reports=reports)


def flake_check(
    reference: str,
    *,
    repository: Path,
    console: Console,
    reports: Reports | None = None,
    environment: Mapping[str, str] | None = None,
) -> StepResult:
    """`nix flake check --no-build`: whether every output evaluates to what its place promises.

    `environment` is as for `run_command`.

    Raises:
        ToolError: there is no Nix, or a report cannot be written.
    """
    lines = _Lines(console, f"checking {reference}")
    started = console.clock()
    code = nix.flake_check(reference, cwd=repository, on_line=lines.line, on_idle=lines.idle, extra=environment)
    again = process.quote(["nix", "flake", "check", "--no-build", reference])
    why = None if code == 0 else lines.last_error() or f"nix ended with {code}"
    return _finish("flake check", why, lines, started=started, again=again, reports=reports)


class _Lines(LineLog):
    """Shows lines and keeps the last ones."""

    def __init__(self, console: Console, what: str) -> None:
        super().__init__(console, what, prefix="")
        self.last: deque[str] = deque(maxlen=LOG_LINES)

    def line(self, line: str) -> None:
        """See `LineLog.line`."""
        super().line(line)
        self.last.append(clean(line, colour=False))

    def last_error(self) -> str | None:
        """The last line in which Nix says what is wrong (since 2.20 it is indented, below a bare `error:`)."""
        said = (line.strip() for line in reversed(self.last))
        return next((line for line in said if line.startswith("error:") and line != "error:"), None)


def _finish(
    name: str, why: str | None, lines: _Lines, *, started: float, again: str, reports: Reports | None
) -> StepResult:
    console = lines.console
    seconds = console.clock() - started
    item = ItemResult(
        name=name,
        status=Status.OK if why is None else Status.FAILED,
        seconds=seconds,
        message=why,
        log=tuple(lines.last) if why is not None else (),
    )
    message = f"{name} failed" if why is not None else None
    result = StepResult(step="test", what=name, seconds=seconds, items=(item,), message=message, why=why)
    (reports or Reports()).write(result)
    if why is None:
        console.say(f"{clean(name, colour=False)}: passed ({duration(seconds)})")
    else:
        # A command of several lines would be another one on a single line.
        console.write("again: " + "\n".join(clean(line, colour=False) for line in again.split("\n")) + "\n")
    return result
