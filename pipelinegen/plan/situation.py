"""Everything the rules look at, as one value."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipelinegen import attrpath
from pipelinegen.cache.model import Availability
from pipelinegen.cache.trust import PipelineClass, handoff_mode
from pipelinegen.changes.model import ChangeSet, Status
from pipelinegen.config import Config, Runner
from pipelinegen.config_caches import CacheConfig
from pipelinegen.inventory.model import FlakeOutput, Inventory

ANY_SYSTEM = "builtin"
"""The system of Nix's built-in builders (downloads), which run anywhere."""


@dataclass(frozen=True)
class Ref:
    """What the pipeline runs for.

    Attributes:
        name: branch or tag; null when unknown.
        is_branch: whether `name` is a branch.
        default_branch: name of the default branch; null when unknown.
        merge_request: whether this is a merge request pipeline.
        kind: whether its content was approved.
        scheduled: whether a schedule started it, and nobody pushed.
    """

    name: str | None = None
    is_branch: bool = True
    default_branch: str | None = None
    merge_request: bool = False
    kind: PipelineClass = PipelineClass.UNPROTECTED
    scheduled: bool = False


@dataclass(frozen=True)
class Situation:
    """Config, flake, change, caches and ref of one push.

    Attributes:
        flake: the flake relative to the top of the repository (`.`, `./nixos`), so that a plan is the same
            wherever the repository lies.
        deployed: host → system path of its last successful deployment; a host that is absent was given
            something unknown.
        not_told: host → why it is not known what it was given, as the end of a sentence, where that was asked.
        host_settings: host → what the flake and not the configuration says of it, as a JSON object for its jobs.
        shut: publish cache → why nothing is sent there, however it is asked for (`rules.shut_caches`).
    """

    config: Config
    inventory: Inventory
    changes: ChangeSet
    availability: Availability
    ref: Ref
    flake: str = "."
    deployed: dict[str, str] = field(default_factory=dict)
    not_told: dict[str, str] = field(default_factory=dict)
    host_settings: dict[str, str] = field(default_factory=dict)
    shut: dict[str, str] = field(default_factory=dict)

    @property
    def hands_artifacts(self) -> bool:
        """Whether jobs of this pipeline hand outputs over as artifacts."""
        return handoff_mode(self.config, self.ref.kind) == "artifacts"

    def status(self, output: FlakeOutput) -> Status:
        """How the output compares with the base; not known means just that."""
        return self.changes.status.get(output.attr, Status.UNKNOWN)

    def runner(self, system: str, features: tuple[str, ...]) -> Runner | None:
        """The first configured runner that can build this."""
        return find_runner(self.config.runners, system, features)

    def available(self, output: FlakeOutput) -> dict[str, bool | None]:
        """Cache name → whether it holds all wanted outputs (null: it could not say, or paths are unknown)."""
        if len(output.wanted_paths) < len(output.wanted):
            return dict.fromkeys(self.availability.caches)
        return {
            name: _all(answers.get(path) for path in output.wanted_paths)
            for name, answers in self.availability.caches.items()
        }

    def publish_caches(self, output: FlakeOutput) -> dict[str, CacheConfig]:
        """The caches that this output is published to, by name."""
        return {
            name: cache
            for name, cache in sorted(self.config.caches.items())
            if cache.publish and _named(cache.include, output)
        }

    def warmed(self, output: FlakeOutput) -> tuple[str, ...]:
        """The publish caches that this pipeline keeps from collecting the output; none unless it is scheduled."""
        if not self.ref.scheduled:
            return ()
        return tuple(name for name, cache in self.publish_caches(output).items() if _named(cache.warm, output))

    def closed_reason(self) -> str | None:
        """Why this pipeline may neither publish nor deploy; null when it may."""
        ref = self.ref
        if ref.kind is PipelineClass.FORK:
            return "what comes from another project is neither published nor deployed"
        if ref.merge_request:
            return "merge request pipelines neither publish nor deploy"
        if not ref.is_branch or ref.name is None:
            return "only branches publish and deploy"
        allowed = self.config.refs or ((ref.default_branch,) if ref.default_branch else ())
        if not any(fnmatch.fnmatchcase(ref.name, pattern) for pattern in allowed):
            named = ", ".join(allowed) or "no branch"
            return f"branch {ref.name} neither publishes nor deploys ({named} does)"
        if ref.kind is not PipelineClass.PROTECTED:
            return f"branch {ref.name} is not protected, so anybody could have written this"
        return None


def _named(patterns: Iterable[str], output: FlakeOutput) -> bool:
    return any(attrpath.matches(attrpath.parse_pattern(pattern), output.path) for pattern in patterns)


def _all(answers: object) -> bool | None:
    values = list(answers)  # type: ignore[call-overload]
    if any(value is False for value in values):
        return False
    return None if any(value is None for value in values) else True


def find_runner(runners: Sequence[Runner], system: str, features: tuple[str, ...]) -> Runner | None:
    """The first configured runner of this system that offers all features; downloads have any system."""
    for runner in runners:
        if system in {runner.system, ANY_SYSTEM} and set(features) <= set(runner.features):
            return runner
    return None


def few_needs(allowed: int) -> int:
    """`needs` that a job gets at most: some below what the server allows."""
    return max(allowed - 5, 2)
