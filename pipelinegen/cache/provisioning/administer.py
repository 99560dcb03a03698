"""Creating and changing caches on Attic servers: what `provision` finds, asked and done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from pipelinegen import process
from pipelinegen.cache.attic import loop, protocol, token
from pipelinegen.cache.attic.client import AtticClient
from pipelinegen.cache.attic.protocol import Address, CacheSettings
from pipelinegen.cache.attic.push import limits_for, patiently
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.attic.upload import Limits
from pipelinegen.cache.model import FailureClass
from pipelinegen.cache.provisioning import provision
from pipelinegen.cache.provisioning.provision import Action, CachePlan
from pipelinegen.characters import inert
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import (
    CredentialsError,
    PipelinegenError,
    StepFailedError,
    ToolError,
    TransientError,
    UsageError,
)

ANSWER_SECONDS = 60.0
ATTEMPTS = 4
ALL_SECONDS = 120.0
ROUNDS = 4
"""Creating, setting the retention, and once more each where somebody else is at it too."""


@dataclass(frozen=True)
class Managed:
    """A cache and who asks to manage it.

    Attributes:
        name: in the configuration.
        token: as the token was given; null asks as anybody.
        store_dir: of the Nix that is to use it.
    """

    name: str
    config: CacheConfig
    token: SecretStr | None
    store_dir: str = provision.STORE

    @property
    def address(self) -> Address:
        """Where it is managed: where it is pushed to."""
        return protocol.address(self.config.push_url or self.config.url)

    def plan(self, settings: CacheSettings | None) -> CachePlan:
        """See `provision.make_plan`."""
        return provision.make_plan(self.name, self.config, settings, store_dir=self.store_dir)


def look(managed: Managed) -> CacheSettings | None:
    """What the server says of a cache; null where there is none.

    Raises:
        CredentialsError, StepFailedError, TransientError: it does not say.
    """

    async def ask() -> CacheSettings | None:
        async with _client(managed) as client:
            return await _settings(client, _limits())

    try:
        return loop.run(ask())
    except RefusedError as error:
        raise as_error(error, f"the server of cache {managed.name} does not say how it is set") from error


def check_token(managed: Managed, plan: CachePlan, now: float) -> None:
    """See that the token allows what is planned, so that nothing is left half done.

    Args:
        now: seconds since the epoch.

    Raises:
        CredentialsError: it says itself that it does not.
    """
    info = token.decode(managed.token.get_secret_value()) if managed.token is not None else None
    if managed.token is not None and info is None:
        return  # the server knows
    cache = managed.address.cache
    lacking = [word for word in plan.permissions if info is None or info.expired(now) or not info.may(cache, word)]
    if plan.action is Action.NONE or not lacking:
        return
    secret = managed.token.get_secret_value() if managed.token is not None else None
    raise CredentialsError(
        f"cache {managed.name} cannot be changed with this token",
        why=token.complaint(secret, cache, lacking[0], now),
        hint=f"it takes {', '.join(plan.permissions)} on {cache}: `pipelinegen cache token` prints how to make such a "
        "token; give it with --token-file",
    )


def apply(managed: Managed, settings: CacheSettings | None, notice: Callable[[str], None]) -> CacheSettings:
    """Create or change a cache until the server says what is configured; what it then says.

    Args:
        settings: what it said before.
        notice: takes sentences that people should read.

    Raises:
        CredentialsError, StepFailedError, TransientError: something was not done; the sentence says what was.
    """
    done: list[str] = []

    async def change() -> CacheSettings:
        async with _client(managed) as client:
            return await _until_equal(managed, client, settings, done, notice)

    try:
        return loop.run(change())
    except RefusedError as error:
        already = f" ({', '.join(done)})" if done else ""
        raise as_error(error, f"cache {managed.name} is not as configured{already}") from error


async def _until_equal(
    managed: Managed,
    client: AtticClient,
    settings: CacheSettings | None,
    done: list[str],
    notice: Callable[[str], None],
) -> CacheSettings:
    limits = _limits()
    for _ in range(ROUNDS):
        plan = managed.plan(settings)
        if settings is not None and plan.action is Action.NONE:
            return settings
        if settings is None:
            if await _create(client, plan, limits):
                done.append("it was created")
            else:
                notice(f"cache {managed.name} was created by somebody else in the meantime")
        else:
            record = provision.change(plan)
            await patiently(lambda record=record: client.configure(record), limits)  # type: ignore[misc]
            done += [f"{one.field} was set" for one in plan.changes]
        settings = await _settings(client, limits)
        if settings is None:
            raise RefusedError(
                FailureClass.REFUSED,
                f"the name {client.address.cache} is taken, and there is no such cache: it was deleted, and the server "
                "keeps its name",
                hint="another name, or deletion from the server's database (soft-delete-caches)",
            )
    raise RefusedError(FailureClass.SERVER, "the server takes the settings, and then says something else")


async def _create(client: AtticClient, plan: CachePlan, limits: Limits) -> bool:
    """Create the cache; false where it was there."""
    try:
        await patiently(lambda: client.create(provision.creation(plan)), limits)
    except RefusedError as error:
        if error.said == "CacheAlreadyExists":
            return False
        raise
    return True


async def _settings(client: AtticClient, limits: Limits) -> CacheSettings | None:
    try:
        return await patiently(client.settings, limits)
    except RefusedError as error:
        if error.said == "NoSuchCache":
            return None
        raise


def _client(managed: Managed) -> AtticClient:
    return AtticClient(managed.address, managed.token, answer_timeout=ANSWER_SECONDS, connections=1)


def _limits() -> Limits:
    return limits_for(1, ATTEMPTS, ALL_SECONDS)


def as_error(error: RefusedError, message: str) -> PipelinegenError:
    """What a person is told of a refusal: `message`, and why."""
    why = inert(error.message)
    if error.failure in {FailureClass.UNAUTHORIZED, FailureClass.FORBIDDEN}:
        return CredentialsError(message, why=why, hint=error.hint)
    kind = StepFailedError if error.failure.permanent else TransientError
    return kind(message, why=why, hint=error.hint)


def store_dir() -> str:
    """Where the Nix of this machine keeps its store; the usual place where there is no Nix."""
    try:
        answer = process.run(["nix-instantiate", "--eval", "-E", "builtins.storeDir"], timeout=60)
        return str(json.loads(answer.text))
    except (ToolError, TransientError, ValueError):
        return provision.STORE


def now() -> float:
    """Seconds since the epoch, by which tokens are valid."""
    return time.time()


def one_server(managed: list[Managed]) -> None:
    """See that one token is not sent to several servers.

    Raises:
        UsageError: the caches are on more than one.
    """
    servers = sorted({one.address.endpoint for one in managed})
    if len(servers) > 1:
        raise UsageError(
            "one token is for one server, and these caches are on several",
            where=", ".join(servers),
            hint="name the caches of one server, and do the others with their own token",
        )
