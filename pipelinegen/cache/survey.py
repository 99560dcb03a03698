"""Asking the caches of the configuration what they are: for `cache info`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipelinegen.cache.attic.examine import NOWHERE, examine
from pipelinegen.cache.info import CacheInfo, Finding
from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.characters import inert
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import CredentialsError, ToolError

_REFUSED = ("401", "403")


def survey(name: str, cache: CacheConfig, now: Callable[[], float]) -> CacheInfo:
    """Ask a cache what it is.

    Args:
        now: seconds since the epoch.
    """
    base = CacheInfo(
        name=name,
        url=cache.url,
        push_url=cache.push_url,
        writers=cache.writers,
        backend=cache.backend,
        publish=cache.publish,
        public_keys=tuple((cache.public_key or "").split()),
    )
    if cache.backend == "attic":
        return examine(name, cache, now, base)
    return base.model_copy(update={"findings": tuple(_nix_findings(name, cache))})


def _nix_findings(name: str, cache: CacheConfig) -> Iterator[Finding]:
    path = f"/nix/store/{NOWHERE}-pipelinegen"
    try:
        _, trouble = NixStoreCache(name, cache).query([path])
    except (ToolError, CredentialsError) as error:
        trouble = error.message
    if trouble is not None:
        refused = any(code in trouble for code in _REFUSED)
        yield Finding(exit_code=4 if refused else 1, message=f"it does not answer: {inert(trouble)}")
    if cache.public_key is None:
        yield Finding(
            exit_code=0,
            message="it has no public_key: what it holds is believed without a signature",
            hint="do that only for a cache that nobody else can write to",
        )
