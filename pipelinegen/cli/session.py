"""What every command needs: console, configuration, the typed view of CI, from the global options."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from pipelinegen import config_file as configuration
from pipelinegen import process
from pipelinegen.ci_env import CiEnv
from pipelinegen.config_file import LoadedConfig
from pipelinegen.console import Console, want_colour
from pipelinegen.errors import UsageError
from pipelinegen.job_names import OUTPUTS


class _CommandLog(logging.Handler):
    """Shows the commands that are run, with --verbose."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.foreign(record.getMessage())


@dataclass(frozen=True)
class Session:
    """The surroundings of one command."""

    console: Console
    directory: Path
    config_file: Path | None
    color: str
    env: CiEnv

    def load_config(self, start: Path | None = None) -> LoadedConfig:
        """The configuration for the flake in `start` (the working folder by default)."""
        return configuration.load(start or self.directory, explicit=self.config_file)

    @property
    def cache_directory(self) -> Path:
        """Where evaluations are kept: in the project in CI (GitLab caches nothing else), else XDG's."""
        from pipelinegen.memo.place import cache_folder

        if self.env.cache_directory:
            return cache_folder(self.env, self.directory / self.env.cache_directory)
        if self.env.project_dir:
            return cache_folder(self.env, Path(self.env.project_dir) / ".pipelinegen-cache")
        return process.cache_home() / "pipelinegen"

    def handoff(self, option: str | None) -> Path:
        """The folder that `generate` wrote: the option, else `PIPELINEGEN_HANDOFF`, else `.pipelinegen`."""
        # The variable wins over what the pipeline file says, so that a job can be repeated elsewhere.
        return self.directory / (self.env.handoff or option or ".pipelinegen")

    @property
    def outputs(self) -> Path:
        """Where jobs leave outputs for each other as artifacts: below the working folder, for each pipeline.

        What an earlier pipeline, perhaps a merge request's, left in a working folder is not looked at.
        """
        return self.directory / OUTPUTS / (self.env.pipeline_id or "local")

    def history(self, option: str | None) -> Path | None:
        """The file of recorded build times: the option, else `PIPELINEGEN_HISTORY`; null means the usual place."""
        named = option or self.env.history
        return self.directory / named if named else None

    @property
    def colour_on_stdout(self) -> bool:
        """Whether results on stdout may carry colour."""
        return want_colour(sys.stdout, self.color)


def open_session(ctx: click.Context) -> Session:
    """Read the global options that the group kept.

    Raises:
        UsageError: --config names no file.
    """
    options = ctx.find_root().obj
    environment = CiEnv.from_environment(os.environ)
    console = Console(
        colour=want_colour(sys.stderr, options["color"]), sections=environment.gitlab, quiet=options["quiet"]
    )
    if options["verbose"]:
        log = logging.getLogger("pipelinegen")
        log.setLevel(logging.DEBUG)
        log.handlers = [_CommandLog(console)]
    directory = Path(options["directory"] or ".").resolve()
    config_file = None
    if options["config_file"]:
        config_file = (directory / options["config_file"]).resolve()
        if not config_file.is_file():
            raise UsageError("there is no such configuration file", where=str(config_file))
    return Session(console, directory, config_file, options["color"], environment)
