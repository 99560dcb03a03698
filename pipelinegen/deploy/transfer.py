"""Bringing a system's closure to a host: the host fetches what it can itself, the rest is copied."""

from __future__ import annotations

import secrets

from pipelinegen import local_store, process, remote_store
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console, clean
from pipelinegen.deploy.preflight import missing_on
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.errors import CommandError, DeployError, DeployOutcome
from pipelinegen.run.heartbeat import LineLog

ROOTS = "/nix/var/nix/gcroots/pipelinegen"

_ROOT = f"""\
mkdir -p {ROOTS}
# Of deployments that were killed; none takes as long as a day.
find {ROOTS} -maxdepth 1 -type l -mmin +1440 -delete
ln -sfn "$2" "{ROOTS}/$1-new"
if [ -n "$3" ]; then ln -sfn "$3" "{ROOTS}/$1-previous"; fi
"""
_UNROOT = f'rm -f "{ROOTS}/$1-new" "{ROOTS}/$1-previous"'

_FETCH = """\
nix-store --realise "$1" --option narinfo-cache-negative-ttl 0 --option connect-timeout 15 > /dev/null
"""


class _LateError(process.EndNowError):
    """The time for copying is up."""


class Roots:
    """What keeps both systems from the host's garbage collector while a deployment goes on."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._name = f"deployment-{secrets.token_hex(4)}"

    def keep(self, system: str, previous: str | None) -> None:
        """Keep both; the new one before it is there.

        Raises:
            UnreachableError, CommandError: that was not possible.
        """
        self._target.run(_ROOT, self._name, system, previous or "", root=True)

    def release(self, console: Console) -> None:
        """Take it back; the profile keeps systems from now on."""
        try:
            self._target.run(_UNROOT, self._name, root=True)
        except (UnreachableError, CommandError) as error:
            console.warn(f"{ROOTS}/{self._name}-* stay on {self._target.address} for a day: {error.message}")


def transfer(target: Target, host: HostConfig, system: str, console: Console, *, seconds: float) -> None:
    """Make `system` (which is in the local store) valid in the host's store, within `seconds`.

    Raises:
        DeployError: REFUSED, since the host still runs what it ran.
    """
    end = console.clock() + seconds
    try:
        if host.substitute:
            _let_fetch(target, system, console, seconds)
        missing = missing_on(target, local_store.requisites([system]))
    except (UnreachableError, CommandError) as error:
        raise refused("the host cannot be asked what it has", error) from error
    if not missing:
        return
    console.say(f"copying {len(missing)} paths to {target.address}")
    lines = LineLog(console, f"copying to {target.address}")

    def line(text: str) -> None:
        lines.line(text)
        in_time()

    def idle() -> None:
        lines.idle()
        in_time()

    def in_time() -> None:
        if console.clock() > end:
            raise _LateError

    try:
        remote_store.copy(
            [system],
            to=target.store_url,
            # As nixos-rebuild does: what was built here is unsigned. A host heeds it only from trusted users.
            options=("--no-check-sigs",),
            substitute_on_destination=host.substitute,
            env=target.nix_environment,
            on_line=line,
            on_idle=idle,
        )
    except _LateError:
        raise DeployError(
            "the system could not be copied to the host in time",
            outcome=DeployOutcome.REFUSED,
            hint="what arrived stays there: deploy again, or raise `timeout` of the host",
        ) from None
    except CommandError as error:
        raise refused("the system could not be copied to the host", error) from error


def _let_fetch(target: Target, system: str, console: Console, seconds: float) -> None:
    """What the host's own caches have need not travel through here. That they have not all is no failure."""
    lines = LineLog(console, f"waiting for {target.address} to fetch from its caches")
    try:
        target.run(_FETCH, system, root=True, timeout=seconds, on_line=lambda _: None, on_idle=lines.idle)
    except CommandError:
        console.say(f"{target.address} cannot fetch all of it from the caches it knows; the rest is copied")


def refused(message: str, error: CommandError | UnreachableError) -> DeployError:
    """An error before anything on the host was changed."""
    said = list(error.stderr_tail) if isinstance(error, CommandError) else [error.why or ""]
    lines = [clean(line, colour=False) for line in said if line.strip()]
    text = "\n".join([line for line in lines if line.startswith("error:")] or lines[-3:])
    return DeployError(message, outcome=DeployOutcome.REFUSED, why=text or error.message, hint=_hint(text))


def _hint(text: str) -> str | None:
    if "signature" in text:
        return (
            "the host accepts only signed paths from this user: sign the cache it fetches from, deploy as root, "
            "or add the user to trusted-users there"
        )
    if "No space left" in text:
        return "nix-collect-garbage there"
    return None
