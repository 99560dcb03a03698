"""The manual page, from the words of `--help`: `python -m pipelinegen.man_page > pipelinegen.1`.

Macros: man(7). click-man would write one page for each command; it does not see commands that are imported late.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from pipelinegen import __version__
from pipelinegen.cli import COMMANDS, group
from pipelinegen.reference import exit_codes, walk_commands

ABOUT = "turn a Nix flake and a push into the right GitLab child pipeline"


def man_page() -> str:
    """The page of all commands, as roff. Has no date: it is the same wherever it is made."""
    lines = [
        f'.TH PIPELINEGEN 1 "" "pipelinegen {__version__}" "User Commands"',
        ".SH NAME",
        f"pipelinegen \\- {ABOUT}",
        ".SH SYNOPSIS",
        ".B pipelinegen",
        "[options] command [arguments]",
        ".SH COMMANDS",
    ]
    for name, about in COMMANDS.items():
        lines += [".TP", f".B {_text(name)}", _text(about)]
    context = click.Context(group, info_name="pipelinegen", help_option_names=["-h", "--help"])
    for path, command, inner in walk_commands(context, group):
        lines += [f'.SH "{_text(" ".join(path)).upper()}"', ".nf", *_help(command, inner), ".fi"]
    lines += [".SH EXIT STATUS"]
    for code, _, meaning in (("0", "", "Done; also when there is nothing to do."), *exit_codes()):
        lines += [".TP", f".B {code}", _text(meaning)]
    return "\n".join(lines) + "\n"


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    for line in command.get_help(context).splitlines():
        yield _text(line)


def _text(line: str) -> str:
    """A line that roff shows as it is: backslashes, hyphens, and dots and quotes at the start mean something there."""
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line.startswith((".", "'")) else line


if __name__ == "__main__":
    sys.stdout.write(man_page())
