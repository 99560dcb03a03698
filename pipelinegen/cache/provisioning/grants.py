"""Which tokens a project needs, each with the least rights, and how to make them. Pure.

Three things decide about what a token holds. Attic takes one entry of a token for a cache and merges none, so
every cache is named exactly and gets all its rights. Nix sends one password per host, so a token for reading covers
everything that its holder reads on that server. And tokens cannot be revoked, so they are short-lived.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelinegen.cache.attic.protocol import address
from pipelinegen.cache.attic.token import PERMISSIONS
from pipelinegen.cache.trust import PipelineClass, handoff_cache, publish_caches, trusted_caches
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.secret_references import is_reference

VALIDITY = "90days"
"""Without a space, which a command over SSH would be divided at."""

ADMIN_VALIDITY = "1day"


class Role(enum.StrEnum):
    """Who holds a token; the value is what it is made out to (`sub`)."""

    PEOPLE = "pipelinegen-read"
    READING = "pipelinegen-read-ci"
    UNPROTECTED = "pipelinegen-jobs-unprotected"
    PROTECTED = "pipelinegen-jobs-protected"
    PUBLISHING = "pipelinegen-publish"
    ADMINISTRATION = "pipelinegen-admin"


@dataclass(frozen=True)
class Variable:
    """A CI/CD variable that a token goes into.

    Attributes:
        file: whether its type is File.
        protected: whether only pipelines of protected refs may have it.
        scope: the environment whose jobs alone may have it; null for all jobs.
    """

    name: str
    file: bool
    protected: bool
    scope: str | None = None


@dataclass(frozen=True)
class Grant:
    """One token of one server.

    Attributes:
        server: where it is valid, as an address.
        rights: (cache on the server, its permissions in the order of `PERMISSIONS`), sorted by cache.
        variables: where it goes in GitLab.
        places: where else it goes, one phrase each.
        caches: names in the configuration of the caches that it is about.
    """

    server: str
    role: Role
    validity: str
    rights: tuple[tuple[str, tuple[str, ...]], ...]
    variables: tuple[Variable, ...]
    places: tuple[str, ...]
    caches: tuple[str, ...]

    def command(self, program: Sequence[str]) -> str:
        """The line that makes it, quoted for a shell."""
        words = [*program, "make-token", "--sub", self.role.value, "--validity", self.validity]
        for permission in PERMISSIONS:
            for cache, permissions in self.rights:
                if permission in permissions:
                    words += [f"--{permission}", cache]
        return shlex.join(words)


def grants(config: Config) -> list[Grant]:
    """The tokens that the configuration asks for, by server and then by role.

    Servers of which no cache is ours (`writers = "upstream"`) are left out: their owner makes tokens.
    """
    servers: dict[str, dict[str, CacheConfig]] = {}
    for name, cache in sorted(config.caches.items()):
        if cache.backend == "attic":
            servers.setdefault(address(cache.url).endpoint, {})[name] = cache
    return [
        grant
        for server, caches in sorted(servers.items())
        if any(cache.writers is not WriterClass.UPSTREAM for cache in caches.values())
        for grant in _of_server(config, server, caches)
    ]


def _of_server(config: Config, server: str, caches: dict[str, CacheConfig]) -> list[Grant]:
    reads = {kind: [name for name in trusted_caches(config, kind) if name in caches] for kind in PipelineClass}
    protected, unprotected = reads[PipelineClass.PROTECTED], reads[PipelineClass.UNPROTECTED]
    handoff = {kind: name if (name := handoff_cache(config, kind)) in caches else None for kind in PipelineClass}
    publish = [name for name in publish_caches(config) if name in caches]
    scope = config.gitlab.publish_environment or None

    def grant(
        role: Role,
        pulls: Iterable[str],
        pushes: Iterable[str] = (),
        *,
        variables: Iterable[Variable] = (),
        places: tuple[str, ...] = (),
    ) -> Grant:
        rights: dict[str, set[str]] = {}
        for name in pulls:
            rights.setdefault(address(caches[name].url).cache, set()).add("pull")
        for name in pushes:
            # Before it pushes, a client asks how the cache is set, which is reading.
            rights.setdefault(address(caches[name].url).cache, set()).update({"pull", "push"})
        return Grant(
            server=server,
            role=role,
            validity=VALIDITY,
            rights=_sorted(rights),
            variables=tuple(variables),
            places=places,
            caches=tuple(sorted({*pulls, *pushes})),
        )

    found = []
    believed = publish or protected
    if not all(caches[name].public for name in believed):
        found.append(grant(Role.PEOPLE, believed, places=("the netrc files of hosts and developers, as password",)))
    writers = {name for name in (*handoff.values(), *publish) if name is not None}
    reading = [variable for name in caches if (variable := _reading(caches[name], alone=name in writers)) is not None]
    kept = _kept(caches[name].token_file for name in caches if name not in writers or _separate(caches[name]))
    if reading or kept:
        found.append(grant(Role.READING, unprotected, variables=_unique(reading), places=kept))
    for kind, role in ((PipelineClass.UNPROTECTED, Role.UNPROTECTED), (PipelineClass.PROTECTED, Role.PROTECTED)):
        name = handoff[kind]
        if name is not None:
            into = _pushing(caches[name], protected=kind is PipelineClass.PROTECTED)
            alone = _separate(caches[name])
            places = _kept([_pushed_with(caches[name])])
            found.append(grant(role, () if alone else reads[kind], [name], variables=into, places=places))
    if publish:
        alone = all(_separate(caches[name]) for name in publish)
        variables = _unique(
            [variable for name in publish for variable in _pushing(caches[name], protected=True, scope=scope)]
        )
        places = _kept(_pushed_with(caches[name]) for name in publish)
        found.append(grant(Role.PUBLISHING, () if alone else protected, publish, variables=variables, places=places))
    found.append(_administration(server, caches))
    return found


def _administration(server: str, caches: dict[str, CacheConfig]) -> Grant:
    ours = {name: cache for name, cache in caches.items() if cache.writers is not WriterClass.UPSTREAM}
    words = {"pull", "create-cache", "configure-cache", "configure-cache-retention"}
    return Grant(
        server=server,
        role=Role.ADMINISTRATION,
        validity=ADMIN_VALIDITY,
        rights=_sorted({address(cache.url).cache: set(words) for cache in ours.values()}),
        variables=(),
        places=("a file of your own, for as long as it takes; no CI/CD variable",),
        caches=tuple(sorted(ours)),
    )


def _sorted(rights: dict[str, set[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(
        (cache, tuple(word for word in PERMISSIONS if word in words)) for cache, words in sorted(rights.items())
    )


def _separate(cache: CacheConfig) -> bool:
    """Whether reading from it takes another token than pushing to it."""
    return bool(cache.push_token_file or cache.push_token_env)


def _pushed_with(cache: CacheConfig) -> str | None:
    """The setting for a file with the token for pushing to it."""
    return cache.push_token_file if _separate(cache) else cache.token_file


def _kept(files: Iterable[str | None]) -> tuple[str, ...]:
    """Where tokens go that are read by references."""
    found = sorted({file for file in files if file is not None and is_reference(file)})
    return tuple(f"1Password, where {reference} leads" for reference in found)


def _reading(cache: CacheConfig, *, alone: bool) -> Variable | None:
    """The variable with a token that is for reading alone.

    Args:
        alone: the cache is pushed to, so that its token is for reading only where pushing has another.
    """
    if alone and not _separate(cache):
        return None
    return _variable(cache.token_file, cache.token_env, protected=False)


def _pushing(cache: CacheConfig, *, protected: bool, scope: str | None = None) -> list[Variable]:
    if _separate(cache):
        found = _variable(cache.push_token_file, cache.push_token_env, protected=protected, scope=scope)
    else:
        found = _variable(cache.token_file, cache.token_env, protected=protected, scope=scope)
    return [found] if found else []


def _variable(file: str | None, variable: str | None, *, protected: bool, scope: str | None = None) -> Variable | None:
    if variable is not None:
        return Variable(variable, file=False, protected=protected, scope=scope)
    if file is not None and file.startswith("$"):
        return Variable(file[1:], file=True, protected=protected, scope=scope)
    return None


def _unique(variables: Sequence[Variable]) -> tuple[Variable, ...]:
    return tuple(dict.fromkeys(variables))
