"""Asking the configured caches, and telling jobs where they may fetch from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from pipelinegen import nix, secret_files
from pipelinegen.cache.model import Answers, Availability
from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.cache.trust import PipelineClass, handoff_cache, publish_caches, trusted_caches
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.errors import CredentialsError


def backend(
    name: str,
    config: CacheConfig,
    *,
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
) -> NixStoreCache:
    """The backend that speaks this cache's protocol."""
    return NixStoreCache(name, config, on_line=on_line, on_idle=on_idle)


class CacheReader:
    """Asks each cache for each path at most once.

    Args:
        caches: the caches to ask, by name.
        trusted: those whose content may be used, in order of preference.
        offline: ask none of them; each answer is unknown.
    """

    def __init__(self, caches: Mapping[str, CacheConfig], trusted: Iterable[str], *, offline: bool = False) -> None:
        self._backends = {name: backend(name, cache) for name, cache in caches.items()}
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


def substitution(config: Config, kind: PipelineClass, *, first: Path | None = None) -> nix.Substitution | None:
    """Where jobs of a pipeline of this class fetch from; null (Nix's own settings) without any cache.

    Args:
        first: folder with a binary cache that comes before all others and needs no signatures.

    Raises:
        CredentialsError: the netrc file of the handoff cache is missing.
    """
    if not config.caches and first is None:
        return None
    handoff = handoff_cache(config, kind)
    offered, netrc = [], []
    for name, cache in trusted_caches(config, kind).items():
        try:
            file = secret_files.resolve_optional(cache.netrc_file, purpose=f"netrc file of cache {name}")
        except CredentialsError:
            if name == handoff:
                raise
            # Credentials of protected pipelines are absent in others. Planning could not ask this cache
            # either, so nothing relies on it.
            continue
        offered.append(backend(name, cache).substituter())
        netrc += [file] if file else []
    here = () if first is None else (f"file://{first}?trusted=true",)
    return nix.Substitution(
        substituters=(*here, *(one["url"] for one in offered)),
        public_keys=tuple(dict.fromkeys(key for one in offered for key in one.get("public_key", "").split())),
        netrc_file=netrc[0] if netrc else None,
    )
