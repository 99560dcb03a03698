"""How a failure looks: one sentence, at most four labelled lines, the failing command; never a traceback."""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path

import click

from pipelinegen import __version__
from pipelinegen.console import Console, clean, plain, want_colour
from pipelinegen.errors import CommandError, PipelinegenError, ToolError, UsageError

BUG = 70
TRANSIENT = 75
INDENT = " " * 9


def show_failure(error: Exception, *, debug: bool = False) -> int:
    """Write the error to stderr; the exit code."""
    console = Console(colour=want_colour(sys.stderr))
    if debug:
        console.write(traceback.format_exc())
    if isinstance(error, BrokenPipeError):
        # Whoever read our output went away; that is no failure of ours, and exit must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EIO, errno.EDQUOT}:
        error = ToolError("the result cannot be written", why=error.strerror)
    if isinstance(error, PipelinegenError):
        console.write(format_failure(error, console))
        return error.exit_code
    console.write(f"{console.style('error:', 'red')} this is a bug in pipelinegen ({type(error).__name__})\n")
    console.write(f"  why    {clean(str(error), colour=False)[:300]}\n")
    console.write(f"  hint   the report to send is {_write_report()}\n")
    return BUG


def show_usage_failure(error: click.ClickException) -> int:
    """Write what click says of a wrong command line in our shape; the exit code."""
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help says what there is" if context is not None else None
    console = Console(colour=want_colour(sys.stderr))
    console.write(format_failure(UsageError(message[:1].lower() + message[1:], hint=hint), console))
    return error.exit_code


def format_failure(error: PipelinegenError, console: Console) -> str:
    """The text of an expected failure."""
    lines = [f"{console.style('error:', 'red')} {plain(error.message)}"]
    for label, text in (("where", error.where), ("why", error.why), ("hint", error.hint)):
        if text:
            first, *rest = plain(text).split("\n")
            lines.append(f"  {console.style(f'{label:<6}', 'bold')} {first}")
            lines += [INDENT + line for line in rest]
    if isinstance(error, CommandError):
        lines.append(f"  {console.style('ran   ', 'bold')} {plain(error.command)[:2000]}")
        lines += [INDENT + clean(line, colour=False) for line in error.stderr_tail]
    return "\n".join(lines) + "\n"


def _write_report() -> str:
    text = "\n".join(
        [
            f"pipelinegen {__version__}, Python {platform.python_version()}, {sys.platform}",
            "",
            traceback.format_exc(),
        ]
    )
    try:
        descriptor, name = tempfile.mkstemp(prefix="pipelinegen-bug-", suffix=".txt")
        os.close(descriptor)
        Path(name).write_text(text, "utf-8")
    except OSError:
        return "not written: no temporary folder"
    return name
