"""In which order hosts are deployed: canaries, the rest in waves, and last what the pipeline itself stands on. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig
from pipelinegen.config_hosts import Fleet, HostConfig, Policy

Role = Literal["canary", "rest", "last"]


@dataclass(frozen=True)
class Wave:
    """Hosts that are deployed at the same time; each sorted.

    Attributes:
        number: from 1.
        hosts: those that nobody approves one by one: the next wave waits for them.
        manual: those behind an approval of their own. They wait for the waves before, too, and nobody waits for
            them: perhaps they are never approved.
    """

    number: int
    role: Role
    hosts: tuple[str, ...] = ()
    manual: tuple[str, ...] = ()

    @property
    def everyone(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted((*self.hosts, *self.manual)))


@dataclass(frozen=True)
class Rollout:
    """All waves of a pipeline, and what makes the next one start."""

    waves: tuple[Wave, ...]
    fleet: Fleet

    @property
    def collected(self) -> tuple[Wave, ...]:
        """The waves that have a collector: those that another one waits for, and all where hosts are brought back."""
        automatic = [wave for wave in self.waves if wave.hosts]
        if self.brings_back:
            return tuple(automatic)
        return tuple(wave for wave in automatic if wave.number < len(self.waves))

    @property
    def brings_back(self) -> bool:
        """Whether a wave that fails undoes deployments: not where there is only one, which undoes itself."""
        return self.fleet.rollback_succeeded and sum(len(wave.hosts) for wave in self.waves) > 1

    def allowed(self, wave: Wave) -> int | None:
        """Failed hosts with which this wave has gone well all the same; null where its collector does not count.

        One that does not count is skipped after a failure, as all behind it. One that counts runs, too: so does
        that of the last wave where it decides whether hosts are brought back.
        """
        failures = 0 if wave.role == "canary" else self.fleet.max_failures
        return failures if failures or (self.brings_back and wave == self.collected[-1]) else None

    def before(self, wave: Wave) -> Wave | None:
        """The wave whose collector this one waits for; null for the first."""
        return next((one for one in reversed(self.collected) if one.number < wave.number), None)

    def behind(self, wave: Wave) -> int:
        """Number of the last wave before this one whose failures are counted; 0 for none."""
        return max((one.number for one in self.collected if one.number < wave.number and self.counts(one)), default=0)

    def counts(self, wave: Wave) -> bool:
        """Whether the wave's collector counts failures."""
        return self.allowed(wave) is not None

    def approved(self, wave: Wave) -> bool:
        """Whether a person starts this wave; of a wave of hosts that are approved one by one nobody need do so."""
        later = [one for one in self.waves if one.hosts and one.number > 1]
        if self.fleet.approve == "after-canary":
            later = later[:1] if self.waves[0].role == "canary" else []
        return self.fleet.approve != "none" and wave in later

    def reason(self, host: str) -> str | None:
        """Which wave a host is in, for people; null where there is only one."""
        if len(self.waves) < 2:
            return None
        wave = next(one for one in self.waves if host in one.everyone)
        what = {"canary": ", the canaries", "rest": "", "last": ", what caches or runners run on"}[wave.role]
        before = self.before(wave)
        behind = f": starts when wave {before.number} has gone well" if before else ""
        return f"wave {wave.number} of {len(self.waves)}{what}{behind}"


def make_waves(names: Iterable[str], config: Config) -> Rollout:
    """The waves of the hosts that one pipeline deploys.

    Canaries are first, but for those that must be last by the configuration. Hosts behind an approval of their own
    are no canaries: nobody may ever press the button.

    Args:
        names: of the hosts, all of them configured.
    """
    fleet = config.fleet
    hosts = {name: config.hosts[name] for name in sorted(set(names))}
    role_of: dict[str, Role] = {name: _role(name, host, config) for name, host in hosts.items()}
    groups: list[tuple[Role, tuple[str, ...], tuple[str, ...]]] = []
    for role in ("canary", "rest", "last"):
        some = [name for name in hosts if role_of[name] == role]
        automatic = [name for name in some if hosts[name].policy is not Policy.MANUAL]
        manual = tuple(name for name in some if hosts[name].policy is Policy.MANUAL)
        size = _size(fleet.wave, len(automatic)) if role == "rest" else max(len(automatic), 1)
        chunks = [tuple(automatic[at : at + size]) for at in range(0, len(automatic), size)]
        if manual and not chunks:
            chunks = [()]
        # A person decides when: only the canaries are worth waiting for.
        groups += [(role, chunk, manual if number == 0 else ()) for number, chunk in enumerate(chunks)]
    waves = tuple(Wave(number, role, chunk, by_hand) for number, (role, chunk, by_hand) in enumerate(groups, 1))
    return Rollout(waves, fleet)


def is_named(name: str, fleet: Fleet) -> bool:
    """Whether a host is one of the canaries that the configuration names."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in fleet.canary)


def serves_cache(host: HostConfig, caches: Mapping[str, CacheConfig]) -> bool:
    """Whether the URL of a cache names the host's address."""
    address = host.address.strip("[]").lower().rstrip(".")
    urls = (url for cache in caches.values() for url in (cache.url, cache.push_url) if url)
    return any(_machine(url) == address for url in urls)


def _role(name: str, host: HostConfig, config: Config) -> Role:
    if host.last:
        return "last"
    if is_named(name, config.fleet) and host.policy is not Policy.MANUAL:
        return "canary"
    return "last" if host.last is None and serves_cache(host, config.caches) else "rest"


def _machine(url: str) -> str:
    try:
        machine = urlsplit(url).hostname
    except ValueError:
        machine = None
    return (machine or "").rstrip(".")


def _size(share: str, count: int) -> int:
    """Hosts of a wave: a number, or a share of `count` rounded up."""
    if share.endswith("%"):
        return max(-(-count * int(share[:-1]) // 100), 1)
    return int(share)
