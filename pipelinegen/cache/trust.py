"""Which caches a pipeline believes, by who can write to them. Pure.

A merge request can push whatever it likes into a cache that its own jobs can write to. A pipeline on a
protected ref that fetched from there would sign, publish and deploy it. So a protected pipeline trusts only
caches written by protected pipelines and upstream ones, and hands over through a cache of its own.
"""

from __future__ import annotations

import enum
from typing import Literal

from pipelinegen.ci_env import CiEnv
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, WriterClass


class PipelineClass(enum.StrEnum):
    """Whether the pipeline's content was approved (protected ref) or may be anybody's."""

    PROTECTED = "protected"
    UNPROTECTED = "unprotected"
    FORK = "fork"
    """A merge request from another project: believes what unprotected pipelines believe, writes to no cache."""


def pipeline_class(env: CiEnv) -> PipelineClass:
    """The class of a pipeline, by what GitLab says of it.

    What comes from another project is that of a fork, wherever its pipeline runs: in the fork itself, or in the
    project that is asked to merge it. So is a pull request of another server.
    """
    if env.external_target_sha is not None or (env.merge_request is not None and env.merge_request.from_fork):
        return PipelineClass.FORK
    return PipelineClass.PROTECTED if env.protected else PipelineClass.UNPROTECTED


def trusted_caches(config: Config, kind: PipelineClass) -> dict[str, CacheConfig]:
    """The caches that a pipeline of this class asks and fetches from: handoff first, then by name."""
    handoff = handoff_cache(config, kind)
    return {
        name: cache
        for name, cache in sorted(config.caches.items(), key=lambda item: (item[0] != handoff, item[0]))
        if not (cache.writers is WriterClass.UNPROTECTED and kind is PipelineClass.PROTECTED)
    }


def handoff_cache(config: Config, kind: PipelineClass) -> str | None:
    """The cache through which jobs of this pipeline hand outputs over; null where they do it in another way."""
    if config.handoff.mode != "cache" or kind is PipelineClass.FORK:
        return None
    return config.handoff.protected if kind is PipelineClass.PROTECTED else config.handoff.unprotected


def handoff_mode(config: Config, kind: PipelineClass) -> Literal["cache", "artifacts", "runner"]:
    """How jobs of this pipeline hand outputs over: as artifacts, where no cache is meant for its class."""
    if config.handoff.mode == "cache" and handoff_cache(config, kind) is None:
        return "artifacts"
    return config.handoff.mode


def publish_caches(config: Config) -> dict[str, CacheConfig]:
    """The caches that the push stage fills, by name."""
    return {name: cache for name, cache in sorted(config.caches.items()) if cache.publish}
