"""`pipelinegen cache provision|info|token|report|backup`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pipelinegen.cli import cache_watch
from pipelinegen.cli.session import Session, open_session

if TYPE_CHECKING:
    from pipelinegen.cache.attic.protocol import CacheSettings
    from pipelinegen.cache.provisioning.administer import Managed
    from pipelinegen.cache.provisioning.client_lines import Offered
    from pipelinegen.cache.provisioning.provision import CachePlan

FORMAT_VERSION = "1.0"


@click.group(help="Set up and look at the binary caches of the configuration.")
def command() -> None:
    """Nothing of its own."""


command.add_command(cache_watch.report)
command.add_command(cache_watch.backup)


@command.command(
    "provision",
    help="Create and change caches on their Attic servers until they are as configured: NAMEs, or all but those "
    'with writers = "upstream". Shows what would be changed and asks. What is not configured is left as it is. Prints '
    "lines for nix.conf, flake.nix and pipelinegen.toml.",
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can answer.")
@click.option("--dry-run", is_flag=True, help="Only show what would be changed.")
@click.option("--token-file", metavar="FILE", help="File with a token that may create and configure the caches.")
@click.option("--token-env", metavar="NAME", help="Environment variable that holds such a token.")
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def provision(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    *,
    yes: bool,
    dry_run: bool,
    token_file: str | None,
    token_env: str | None,
    as_json: bool,
) -> int:
    """Show the difference, ask, change, and print what to paste."""
    from pipelinegen.cache.provisioning import administer
    from pipelinegen.cache.provisioning.provision import Action

    session = open_session(ctx)
    managed = _managed(session, names, token_file, token_env)
    settings = {one.name: administer.look(one) for one in managed}
    plans = {one.name: one.plan(settings[one.name]) for one in managed}
    todo = [one for one in managed if plans[one.name].action is not Action.NONE]
    _show_plans(session, list(plans.values()), on_stdout=dry_run and not as_json)
    if todo and not dry_run:
        for one in todo:
            administer.check_token(one, plans[one.name], administer.now())
        if not _agreed(yes=yes):
            session.console.say("nothing was changed")
            return 1
        for one in todo:
            settings[one.name] = administer.apply(one, settings[one.name], session.console.warn)
            session.console.say(f"cache {one.name}: {_DONE[plans[one.name].action.value]}")
    elif not todo:
        session.console.say("nothing to change")
    offered = [_offered(one, settings[one.name]) for one in managed]
    warnings = _key_warnings(session, offered)
    if as_json:
        _echo_json(_provision_record(plans, offered, warnings, applied=bool(todo) and not dry_run))
    elif not dry_run:
        from pipelinegen.cache.provisioning.client_lines import client_lines

        click.echo("\n".join(client_lines(offered)))
    return 0


_DONE = {"create": "created", "change": "changed"}


@command.command(
    "info",
    help="Say what each cache is (NAMEs, or all), what the tokens of this machine may do there, when they expire, and "
    "what is wrong with it. Exit code 1 where a cache cannot be used, 4 where credentials are the reason.",
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON record.")
@click.pass_context
def info(ctx: click.Context, /, names: tuple[str, ...], *, as_json: bool) -> int:
    """Ask every cache and show the answers."""
    from pipelinegen.cache.provisioning import administer
    from pipelinegen.cache.provisioning.survey import survey
    from pipelinegen.cli.cache_text import info_lines

    session = open_session(ctx)
    caches = session.load_config().config.caches
    chosen = _chosen(names, caches, "[caches.…] of pipelinegen.toml")
    found = []
    for name in chosen:
        found.append(survey(name, caches[name], administer.now))
        if not as_json:
            lines = info_lines(found[-1], _style(session, on_stdout=True))
            click.echo("".join(f"{line}\n" for line in ([""] if len(found) > 1 else []) + lines), nl=False)
    if as_json:
        _echo_json({"caches": [{**one.model_dump(mode="json"), "exit_code": one.exit_code} for one in found]})
    return max((one.exit_code for one in found), default=0)


@command.command(
    "token",
    help="Print the commands that make the tokens which the caches of the configuration need (those for NAMEs, or "
    "all), one for each role, with the least rights, and say where each goes. Run them where the Attic server is.",
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--server-command", default="atticadm", show_default=True, metavar="COMMAND", help="What makes tokens there."
)
@click.pass_context
def token(ctx: click.Context, /, names: tuple[str, ...], *, server_command: str) -> int:
    """Print the lines; nothing is run."""
    from pipelinegen.cache.provisioning import grant_lines, grants
    from pipelinegen.errors import UsageError

    session = open_session(ctx)
    try:
        program = shlex.split(server_command)
    except ValueError as error:
        raise UsageError("--server-command cannot be read", why=str(error)) from error
    if not program:
        raise UsageError("--server-command is empty", hint="atticadm, or atticd-atticadm on NixOS")
    every = grants.grants(session.load_config().config)
    chosen = _chosen(names, sorted({name for grant in every for name in grant.caches}), OURS)
    found = [grant for grant in every if set(chosen) & set(grant.caches)]
    click.echo("\n".join(grant_lines.script(found, program)))
    for sentence in grant_lines.shared_variables(every):
        session.console.warn(sentence)
    return 0


OURS = 'caches with backend = "attic" and other writers than "upstream"'


def _chosen(names: tuple[str, ...], known: Any, what: str) -> list[str]:
    """The named ones, or all that there are.

    Raises:
        UsageError: one is not there, or there is none at all.
    """
    from pipelinegen.config import close_match
    from pipelinegen.errors import UsageError

    if not known:
        raise UsageError("there is no cache to do this with", hint=f"it is for {what}")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"there is no such cache: {unknown[0]!r}{close_match(unknown[0], known)}", hint=f"it is for {what}"
        )
    return list(dict.fromkeys(names)) or sorted(known)


def _managed(session: Session, names: tuple[str, ...], token_file: str | None, token_env: str | None) -> list[Managed]:
    from pipelinegen.cache.provisioning import administer
    from pipelinegen.config_caches import WriterClass
    from pipelinegen.errors import UsageError
    from pipelinegen.secret_files import cache_token, read_secret

    if token_file is not None and token_env is not None:
        raise UsageError("--token-file and --token-env are two ways to give one token", hint="use one of them")
    caches = {
        name: cache
        for name, cache in session.load_config().config.caches.items()
        if cache.backend == "attic" and cache.writers is not WriterClass.UPSTREAM
    }
    chosen = _chosen(names, caches, OURS)
    if token_file is not None and not token_file.startswith("$"):
        token_file = str(session.directory / token_file)
    given = read_secret(token_file, token_env, purpose="token for provisioning")
    folder = administer.store_dir()
    managed = [
        administer.Managed(
            name, caches[name], given if given is not None else cache_token(name, caches[name], push=True), folder
        )
        for name in chosen
    ]
    if given is not None:
        administer.one_server(managed)
    return managed


def _show_plans(session: Session, plans: list[CachePlan], *, on_stdout: bool) -> None:
    """What would be changed: the result of a dry run, else something for people."""
    from pipelinegen.cli.cache_text import plan_lines, plan_summary

    style = _style(session, on_stdout=on_stdout)
    lines = [*(line for plan in plans for line in plan_lines(plan, style)), plan_summary(plans)]
    if on_stdout:
        click.echo("\n".join(lines))
    else:
        session.console.write("".join(f"{line}\n" for line in lines))


def _agreed(*, yes: bool) -> bool:
    from pipelinegen.errors import UsageError

    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nothing was changed: nobody can be asked here", hint="--yes makes the changes shown above")
    return click.confirm("Make these changes?", default=False, err=True)


def _offered(one: Managed, settings: CacheSettings | None) -> Offered:
    from pipelinegen.cache.provisioning.client_lines import Offered, readable_key

    return Offered(
        name=one.name,
        config=one.config,
        public=settings is not None and bool(settings.is_public),
        public_key=readable_key(settings.public_key) if settings is not None else None,
    )


def _key_warnings(session: Session, offered: list[Offered]) -> list[str]:
    from pipelinegen.cache.provisioning.client_lines import clashing_names, other_keys

    keys = {name: cache.public_key or "" for name, cache in session.load_config().config.caches.items()}
    keys |= {one.name: one.public_key for one in offered if one.public_key is not None}
    sentences = [*other_keys(offered), *clashing_names(keys)]
    for sentence in sentences:
        session.console.warn(sentence)
    return sentences


def _provision_record(
    plans: dict[str, CachePlan], offered: list[Offered], warnings: list[str], *, applied: bool
) -> dict[str, Any]:
    keys = {one.name: one.public_key for one in offered}
    caches = [{**plan.model_dump(mode="json"), "public_key": keys[name]} for name, plan in plans.items()]
    return {"applied": applied, "caches": caches, "warnings": warnings}


def _echo_json(record: dict[str, Any]) -> None:
    # As ASCII: what servers say of themselves may hold what terminals obey.
    click.echo(json.dumps({"format_version": FORMAT_VERSION, **record}, indent=2))


def _style(session: Session, *, on_stdout: bool) -> Callable[[str, str], str]:
    from pipelinegen.console import Console

    return Console(colour=session.colour_on_stdout).style if on_stdout else session.console.style
