"""The configured caches as backends, and asking them what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import ValidationError

from pipelinegen import nix
from pipelinegen.cache.model import Answers, Availability, CacheBackend
from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.cache.trust import PipelineClass, publish_caches, trusted_caches
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, Pushing, WriterClass


def backend(
    name: str,
    cache: CacheConfig,
    *,
    upstream: Sequence[CacheBackend] = (),
    pushing: Pushing | None = None,
    reads_push_token: bool = True,
    notice: Callable[[str], None] = lambda _: None,
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
) -> CacheBackend:
    """The backend that speaks a cache's protocol.

    Args:
        name, cache: its name in the configuration, and its settings.
        upstream: the caches that an Attic server leaves paths to.
        pushing: how an Attic server is pushed to.
        reads_push_token: whether its token for pushing may be used for asking, which is faster. Never in a job
            that builds: what a build can see belongs to everybody who can change what is built.
        notice: takes sentences that people should read.
        on_line: takes the lines of a program that copies.
        on_idle: called about once a second while nothing comes from it.
    """
    if cache.backend == "attic":
        from pipelinegen.cache.attic.backend import AtticCache  # noqa: PLC0415  # an HTTP client takes time to load

        return AtticCache(
            name,
            cache,
            pushing=pushing,
            upstream=upstream,
            notice=notice,
            reads_push_token=reads_push_token,
            on_idle=on_idle,
        )
    return NixStoreCache(name, cache, on_line=on_line, on_idle=on_idle)


def backends(caches: Mapping[str, CacheConfig], *, reads_push_tokens: bool = True) -> dict[str, CacheBackend]:
    """The backends of several caches, by name; Attic servers know which of them are upstream's."""
    upstream = {name: backend(name, cache) for name, cache in caches.items() if cache.writers is WriterClass.UPSTREAM}
    known = tuple(upstream.values())
    return {
        name: upstream.get(name) or backend(name, cache, upstream=known, reads_push_token=reads_push_tokens)
        for name, cache in caches.items()
    }


def configured_backend(
    name: str,
    config: Config,
    *,
    notice: Callable[[str], None] = lambda _: None,
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
) -> CacheBackend:
    """The backend of a cache of the configuration, which must be there, with all that pushing to it takes."""
    upstream = {key: cache for key, cache in config.caches.items() if cache.writers is WriterClass.UPSTREAM}
    return backend(
        name,
        config.caches[name],
        upstream=tuple(one for key, one in backends(upstream).items() if key != name),
        pushing=config.push,
        notice=notice,
        on_line=on_line,
        on_idle=on_idle,
    )


class CacheReader:
    """Asks each cache for each path at most once.

    Args:
        caches: the caches to ask, by name.
        trusted: those whose content may be used, in order of preference.
        offline: ask none of them; each answer is unknown.
        reads_push_tokens: see `backend`.
    """

    def __init__(
        self,
        caches: Mapping[str, CacheConfig],
        trusted: Iterable[str],
        *,
        offline: bool = False,
        reads_push_tokens: bool = True,
    ) -> None:
        self._backends = backends(caches, reads_push_tokens=reads_push_tokens)
        self._trusted = tuple(trusted)
        self._answers: dict[str, Answers] = {name: {} for name in self._backends}
        self._trouble = dict.fromkeys(self._backends, "it was not asked (--offline)") if offline else {}

    def ask(self, paths: Iterable[str]) -> Availability:
        """Ask the trusted caches, each only for what no earlier one holds; what is known of these paths."""
        wanted = list(dict.fromkeys(paths))
        left = wanted
        for name in self._trusted:
            left = self._ask_one(name, left)
        return self._known(wanted)

    def ask_all(self, paths: Iterable[str]) -> Availability:
        """Ask every cache for every path."""
        wanted = list(dict.fromkeys(paths))
        for name in self._backends:
            self._ask_one(name, wanted)
        return self._known(wanted)

    def _known(self, paths: list[str]) -> Availability:
        answers = {
            name: {path: known[path] for path in paths if path in known} for name, known in self._answers.items()
        }
        return Availability(caches=answers, trusted=self._trusted, trouble=dict(self._trouble))

    def _ask_one(self, name: str, paths: list[str]) -> list[str]:
        answers = self._answers[name]
        unasked = [path for path in paths if path not in answers]
        if unasked and name not in self._trouble:
            fresh, trouble = self._backends[name].query(unasked)
            answers.update(fresh)
            if trouble is not None:
                self._trouble[name] = trouble
        else:
            # A cache that could not answer is not asked again and again in one run.
            answers.update(dict.fromkeys(unasked))
        return [path for path in paths if not answers.get(path)]


def reader(config: Config, kind: PipelineClass, *, offline: bool = False) -> CacheReader:
    """A reader of the caches that a pipeline of this class trusts, and of those it publishes to."""
    trusted = trusted_caches(config, kind)
    return CacheReader({**trusted, **publish_caches(config)}, trusted, offline=offline)


def with_machine_caches(config: Config, warn: Callable[[str], None]) -> Config:
    """Without caches of its own, a project uses those that the machine's Nix is set up with."""
    if config.caches:
        return config
    settings = nix.settings()
    keys = settings.get("trusted-public-keys") or None
    if keys is None and settings.get("require-sigs") != "false":
        return config  # this Nix accepts nothing from anywhere
    found: dict[str, CacheConfig] = {}
    for number, url in enumerate(settings.get("substituters", "").split(), 1):
        try:
            found[f"nix-{number}"] = CacheConfig(url=url, writers=WriterClass.UPSTREAM, public_key=keys)
        except ValidationError as error:
            # The message leaves the URL out: it may hold a password, which Nix allows and we do not.
            why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            warn(f"substituter {number} of this machine's Nix is not asked: {why}")
    return config.model_copy(update={"caches": found})
