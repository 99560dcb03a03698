"""The names under which a configuration knows its secrets, and who may use which. Pure: no secret is ever here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field

from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig
from pipelinegen.plan.model import AFTER_WAVE, Stage
from pipelinegen.secret_references import SIGN_IN_VARIABLES, is_reference
from pipelinegen.values import Value


@dataclass(frozen=True)
class Uses:
    """What jobs need: files, references to 1Password, and variables with a `$`.

    Attributes:
        building: jobs that evaluate, build and test.
        publishing, deploying: jobs behind the gate.
    """

    building: frozenset[str]
    publishing: frozenset[str]
    deploying: frozenset[str]


def uses(config: Config) -> Uses:
    """The secrets of a configuration by the jobs that need them."""
    caches = config.caches.values()
    building = {name for cache in caches if not cache.publish for name in _pushing(cache)}
    building |= {name for cache in caches for name in _reading(cache)}
    publishing = {name for cache in caches if cache.publish for name in _pushing(cache)}
    keys = [(None if host.ssh_key_env else host.ssh_key_file, host.ssh_key_env) for host in config.hosts.values()]
    deploying = {name for file, variable in keys for name in _given(file, variable)}
    return Uses(frozenset(building), frozenset(publishing), frozenset(deploying))


class Secrets(Value):
    """Names of variables and of files.

    Attributes:
        of_stage: what only jobs of that stage use: publish secrets in `push`, deploy secrets in `deploy`.
        others: of caches that builds read or hand over through.
        shared: those of them that publishing or deploying uses, too, and that are the same secret there.
        sign_in: variables by which jobs that publish or deploy may read secrets from 1Password, where no build does:
            whoever has one has all secrets that it opens, whether or not the configuration shows that they are there.
    """

    of_stage: dict[Stage, tuple[str, ...]] = Field(default_factory=dict)
    others: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    sign_in: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config) -> Secrets:
        """Those of a configuration, sorted.

        What builds use is their own, also where publishing uses it, too. That is one secret for both unless it is
        a variable, which may have another value in the environment of push jobs.
        """
        used = uses(config)
        building = _with_sign_in(used.building)
        scoped = {Stage.PUSH: config.gitlab.publish_environment, Stage.DEPLOY: "any host's"}
        of_stage = {Stage.PUSH: used.publishing, Stage.DEPLOY: used.deploying}
        shared = {
            name
            for stage, names in of_stage.items()
            for name in _with_sign_in(names) & building
            if not (name.startswith("$") and scoped[stage])
        }
        gated = bool(used.publishing | used.deploying)
        return cls(
            of_stage={stage: _plain(names - building) for stage, names in of_stage.items() if names - building},
            others=_plain(building),
            shared=_plain(shared),
            sign_in=_plain(_SIGN_IN - building) if gated else (),
        )

    def kept_from(self, stage: str) -> tuple[str, ...]:
        """Those that jobs of a stage have no business with."""
        # What is deployed behind a wave that was counted is in a stage of its own.
        stage = Stage.DEPLOY if stage.startswith(AFTER_WAVE) else stage
        sign_in = () if stage in (Stage.PUSH, Stage.DEPLOY) else self.sign_in
        return (*(name for owner, names in self.of_stage.items() if owner != stage for name in names), *sign_in)

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        return (*self.kept_from(""), *self.others)


NO_SECRETS = Secrets()


def pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """Finds any of the names as a whole word; null where there are none."""
    # The longest first: of /run/key and /run/key.old the one that is meant is told.
    words = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
    return re.compile(rf"(?<![A-Za-z0-9_])(?:{words})(?![A-Za-z0-9_])") if words else None


_SIGN_IN = frozenset(f"${name}" for name in SIGN_IN_VARIABLES)


def _with_sign_in(names: frozenset[str]) -> frozenset[str]:
    """With the variables that reading references among them takes."""
    return names | _SIGN_IN if any(is_reference(name) for name in names) else names


def _pushing(cache: CacheConfig) -> set[str]:
    """What pushing to it needs: files, and variables with a `$`."""
    if cache.backend == "nix":
        return _given(cache.secret_key_file)
    if cache.push_token_file or cache.push_token_env:
        return _given(cache.push_token_file, cache.push_token_env)
    return _given(cache.token_file, cache.token_env)


def _reading(cache: CacheConfig) -> set[str]:
    """What fetching from it needs and a build may have.

    One token for both is not among it where it publishes: then builds fetch without.
    """
    if cache.backend == "nix":
        return _given(cache.netrc_file)
    if cache.publish and not (cache.push_token_file or cache.push_token_env):
        return set()
    return _given(cache.token_file, cache.token_env)


def _given(file: str | None, variable: str | None = None) -> set[str]:
    return ({file} if file else set()) | ({f"${variable}"} if variable else set())


def _plain(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name.removeprefix("$") for name in names}))
