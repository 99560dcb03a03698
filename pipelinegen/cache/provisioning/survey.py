"""Asking the caches of the configuration what they are: for `cache info`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipelinegen.cache.nix_store import REFUSED, NixStoreCache
from pipelinegen.cache.provisioning.examine import NOWHERE, examine
from pipelinegen.cache.provisioning.info import CacheInfo, Finding
from pipelinegen.characters import inert
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import CredentialsError, ToolError, TransientError
from pipelinegen.secret_files import opened


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
        with opened(cache.netrc_file, purpose=f"netrc file of cache {name}"):
            _, trouble = NixStoreCache(name, cache).query([path])
    except CredentialsError as error:
        yield Finding(exit_code=4, message=f"{error.message} ({error.where}): {error.why}", hint=error.hint)
        trouble = None
    except (ToolError, TransientError) as error:
        trouble = error.message
    if trouble is not None:
        refused = any(mark in trouble for mark in REFUSED)
        yield Finding(exit_code=4 if refused else 1, message=f"it does not answer: {inert(trouble)}")
    if cache.public_key is None:
        yield Finding(
            exit_code=0,
            message="it has no public_key: what it holds is believed without a signature",
            hint="do that only for a cache that nobody else can write to",
        )
