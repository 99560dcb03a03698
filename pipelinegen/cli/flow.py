"""The options and the call that `preview`, `generate` and `explain` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pipelinegen.cli.session import Session
from pipelinegen.files import is_folder
from pipelinegen.generate import Request

F = TypeVar("F", bound=Callable[..., Any])


def flow_options(function: F) -> F:
    """Add FLAKE, --base, --offline, --history and --no-memo."""
    for decorate in (
        click.argument("flake", default="."),
        click.option("--base", metavar="REV", help="Compare with this commit instead of the one found."),
        click.option("--offline", is_flag=True, help="Ask no cache: everything counts as not available."),
        click.option(
            "--history",
            metavar="FILE",
            help="Build times of earlier pipelines, as `run record` keeps them; also PIPELINEGEN_HISTORY.",
        ),
        click.option(
            "--no-memo", is_flag=True, help="Evaluate every output, remember nothing, and use nothing remembered."
        ),
    ):
        function = decorate(function)
    return function


def make_request(
    session: Session,
    flake: str,
    base: str | None = None,
    *,
    offline: bool = False,
    history: str | None = None,
    no_memo: bool = False,
    verify_memo: bool = False,
    output: Path | None = None,
) -> Request:
    """The request of this command line; the configuration is searched from the flake's folder upwards."""
    folder = session.directory / flake.partition("#")[0].partition("?")[0]
    here = is_folder(folder)
    if here and not flake.startswith((".", "/")):
        flake = f"./{flake}"  # to Nix a bare word is a name in its registry, to a person it is a folder
    return Request(
        flake=flake,
        directory=session.directory,
        loaded=session.load_config(folder if here else Path(session.directory)),
        env=session.env,
        cache_directory=session.cache_directory,
        base=base,
        offline=offline,
        history=session.history(history),
        memo=not no_memo,
        verify_memo=verify_memo,
        output=output,
    )
