"""Who answers over the network: caches and GitLab."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from pipelinegen.cache.provisioning.info import CacheInfo, Finding
from pipelinegen.cache.provisioning.survey import survey
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig
from pipelinegen.doctor.model import Check, ok, problem, skipped, warning
from pipelinegen.errors import InterruptedRunError, PipelinegenError

SECONDS = 15.0
"""That GitLab may take to answer."""


def read_caches(config: Config) -> Iterator[CacheInfo]:
    """What every cache says of itself, one after the other: one that is silent takes its time."""
    for name, cache in sorted(config.caches.items()):
        yield _read(name, cache)


def _read(name: str, cache: CacheConfig) -> CacheInfo:
    try:
        return survey(name, cache, time.time)
    except InterruptedRunError:
        raise
    except PipelinegenError as error:
        finding = Finding(exit_code=1, message=f"it cannot be asked: {error.message}", hint=error.hint)
        return CacheInfo(
            name=name,
            url=cache.url,
            push_url=cache.push_url,
            writers=cache.writers,
            backend=cache.backend,
            publish=cache.publish,
            findings=(finding,),
        )


def judge_caches(infos: Iterable[CacheInfo]) -> Iterable[Check]:
    """One line for each cache: its worst finding; `cache info` has all. Pure."""
    for info in infos:
        name = f"cache {info.name}"
        worst = max(info.findings, key=lambda finding: finding.exit_code, default=None)
        if worst is None:
            yield ok(name, f"{info.url} answers")
        elif worst.exit_code:
            yield problem(name, worst.message, worst.hint or f"pipelinegen cache info {info.name}")
        else:
            yield warning(name, worst.message, worst.hint or f"pipelinegen cache info {info.name}")


def read_gitlab(api_url: str) -> str | None:
    """Why GitLab cannot be reached; null where it answers, whatever it says.

    By the library that `gitlab_api` asks with: it has certificates of its own, and variables of its own for them.
    """
    import requests  # noqa: PLC0415  # slow to import

    try:
        requests.get(f"{api_url.rstrip('/')}/version", timeout=SECONDS, allow_redirects=False, stream=True).close()
    except (requests.RequestException, ValueError) as error:
        return str(error) or type(error).__name__
    return None


def judge_gitlab(api_url: str | None, trouble: str | None) -> Check:
    """Whether a job reaches the server that started it. Pure."""
    name = "gitlab"
    if api_url is None:
        return skipped(name, "not in a GitLab job (no CI_API_V4_URL)")
    if trouble is None:
        return ok(name, f"{api_url} answers")
    return warning(
        name,
        f"{api_url} does not answer: {trouble}",
        "what hosts were last given is then not known, so all are deployed; look at proxy, DNS and "
        "certificates (REQUESTS_CA_BUNDLE names them)",
    )
