"""The command line: the click group, the only error boundary and the only place that exits."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any

import click

from pipelinegen import __version__

COMMANDS = {
    "preview": "Show what a push would run, what not, and why.",
    "generate": "Write the child pipeline, its plan and what its jobs need.",
    "explain": "Say why an output, job or host is in or out.",
    "check": "Say whether a child pipeline file is sound.",
    "run": "Do one stage of the pipeline here.",
    "generations": "Show the systems that a host can be taken back to.",
    "cache": "Set up and look at the binary caches of the configuration.",
    "memo": "Look at what is remembered of evaluations, check it, and forget it.",
    "config": "Show the settings and where each came from.",
    "doctor": "Say whether this machine, runner or image is ready.",
}
"""Command → its one-line help. Kept here so that `--help` need not import what the commands import."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All commands, in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import `pipelinegen.cli.<name>` and take its command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pipelinegen.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the command that was perhaps meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command {args[0]!r}{f'; did you mean {close[0]!r}?' if close else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in `--help`, from `COMMANDS` alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


EXAMPLES = """\b
  pipelinegen preview                 what would this change run?
  pipelinegen generate -o out         write the child pipeline
  pipelinegen explain packages.x86_64-linux.hello
"""


@click.group(
    cls=LazyGroup,
    help=f"Turn a Nix flake and a push into the right GitLab child pipeline.\n\n{EXAMPLES}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-C", "--directory", type=click.Path(exists=True, file_okay=False), help="Work in this folder.")
@click.option("--config", "config_file", type=click.Path(dir_okay=False), help="Configuration file to use.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour on stderr and stdout; NO_COLOR is respected.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="Show every command that is run.")
@click.option("--debug", is_flag=True, help="Show the traceback of unexpected errors.")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def group(ctx: click.Context, /, **options: Any) -> None:
    """Keep the global options for the commands."""
    ctx.obj = options


def main() -> None:
    """Run the command line and exit with the code of what happened."""
    # Plans are large and hold no cycles: looking for garbage as often as Python does takes a third of the time.
    gc.set_threshold(200_000, 30, 30)
    _open_closed_streams()
    sys.exit(run_command_line(sys.argv[1:]))


def _open_closed_streams() -> None:
    """A stream that whoever started us closed leads nowhere, rather than into the next file that is opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # for as long as we run


def run_command_line(argv: list[str]) -> int:
    """Run one command line; its exit code. Every failure ends here as a clear error."""
    try:
        result = group.main(args=argv, prog_name="pipelinegen", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        from pipelinegen.cli.failure import show_usage_failure

        return show_usage_failure(error)
    except Exception as error:  # noqa: BLE001  # the one boundary: nobody sees a traceback
        from pipelinegen.cli.failure import show_failure

        return show_failure(error, debug="--debug" in argv)
    return result if isinstance(result, int) else 0
