"""The configuration: `pipelinegen.toml`, or `[tool.pipelinegen]` in a `pyproject.toml`.

The closest file between the flake and the top of the repository counts; nothing is merged. Unknown keys
are errors. Secrets are never values here, only names of files or of variables that hold file names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from pipelinegen.config_caches import CacheConfig, Handoff, Pushing, WriterClass, refuse_equal_key_names
from pipelinegen.config_hosts import Fleet, HostConfig
from pipelinegen.config_trust import refuse_mixing
from pipelinegen.config_words import Duration, Pattern
from pipelinegen.values import Value

FILE_NAME = "pipelinegen.toml"


class Evaluation(Value):
    """How the flake is evaluated."""

    impure: bool = Field(default=False, description="evaluate with --impure; off keeps results reproducible")
    allow_import_from_derivation: bool = Field(
        default=True, description="let evaluation build what it needs, in the bootstrap job"
    )
    broken: Literal["skip", "fail"] = Field(
        default="skip", description="what becomes of outputs marked broken, unsupported or unavailable"
    )
    timeout: int = Field(default=1800, gt=0, description="seconds one output may take to evaluate")
    max_memory_mb: int = Field(default=4096, gt=0, description="memory ceiling of one evaluator, in MiB")
    workers: int | None = Field(
        default=None, gt=0, description="evaluators at once; by default one per core, as far as memory allows"
    )
    max_bases: int = Field(
        default=3,
        ge=0,
        description="commits at most that are evaluated to learn what hosts were last given, where GitLab knows only "
        "the commit; hosts beyond them are deployed",
    )
    evaluator: Literal["nix", "nix-eval-jobs"] = Field(
        default="nix", description="what evaluates: Nix itself, or nix-eval-jobs where it is installed"
    )
    memo: bool = Field(
        default=True,
        description="remember what evaluating each output read, and evaluate only what a change can reach",
    )


class Runner(Value):
    """Which GitLab runners build for a system (and, where given, only for these features)."""

    system: str = Field(description="such as x86_64-linux")
    features: tuple[str, ...] = Field(
        default=(), description="requiredSystemFeatures it offers, such as kvm or big-parallel"
    )
    tags: tuple[str, ...] = Field(default=(), description="runner tags of the jobs")
    count: int = Field(default=2, gt=0, description="how many such runners work at once; jobs are balanced for them")
    builds: int = Field(default=1, gt=0, description="derivations that one job builds at once (Nix's max-jobs there)")


class TestConfig(Value):
    """An integration command in the test stage."""

    __test__ = False  # not a pytest class

    name: str = Field(min_length=1, max_length=80, description="name of the job")
    command: str = Field(min_length=1, description="run by `sh -euc` in the checked-out repository")
    targets: tuple[Pattern, ...] = Field(
        default=(), description="runs when one of these is built, published or deployed; without it always"
    )
    timeout: Duration = Field(default="1 hour", description="time limit of the job")


class GitLab(Value):
    """What GitLab server and runners allow."""

    version: str = Field(default="17.5", pattern=r"^\d+\.\d+", description="oldest server version to serve")
    image: str | None = Field(
        default=None, description="container image of every job; without it the one in `PIPELINEGEN_IMAGE`"
    )
    max_jobs: int = Field(
        default=450,
        gt=0,
        description="jobs per pipeline that the plan allows; servers may count those of all running pipelines together",
    )
    max_needs: int = Field(default=50, gt=1, description="`needs` per job that the server allows")
    max_deployments: int = Field(default=500, gt=0, description="deployment jobs per pipeline that the server allows")
    max_pipelines: int = Field(
        default=5, gt=0, le=20, description="child pipelines that a plan may become when it does not fit one"
    )
    max_artifact_mb: int = Field(default=100, gt=0, description="MiB of one artifact archive that the server allows")
    publish_environment: str = Field(
        default="publish",
        pattern=r"^([A-Za-z0-9_/${}.-][A-Za-z0-9_/${}. -]*)?$",
        description="environment of push jobs, so that variables with tokens can be scoped to them; empty for none",
    )
    timeout: Duration = Field(default="1 hour", description="time limit of build and test jobs")
    command: str = Field(default="pipelinegen", description="how jobs call pipelinegen")
    before_script: tuple[str, ...] = Field(default=(), description="lines run first in every job")


class Packing(Value):
    """How derivations are put together into jobs."""

    job_seconds: float = Field(default=30, ge=0, description="what a job costs besides its builds, in seconds")
    default_seconds: float = Field(
        default=30, gt=0, description="what building a derivation takes of which no time was recorded, in seconds"
    )
    max_job_seconds: float = Field(
        default=1800, gt=0, description="work that one job should hold at most, where it can be divided"
    )
    repeat: bool = Field(
        default=True, description="let several jobs build what is cheaper to build again than to hand over"
    )
    record: bool = Field(
        default=True, description="record build times for later pipelines, in a job of its own and GitLab's cache"
    )


class Config(Value):
    """The whole configuration; every key has a default."""

    include: tuple[Pattern, ...] = Field(default=(), description="attribute patterns besides the standard ones")
    exclude: tuple[Pattern, ...] = Field(default=(), description="attributes never looked at")
    ignore_paths: tuple[str, ...] = Field(
        default=(), description="globs of files that cannot change any output, such as `docs/**`"
    )
    refs: tuple[str, ...] = Field(
        default=(), description="branches (globs) that push and deploy; the default branch when empty"
    )
    flake_check: bool = Field(default=False, description="run `nix flake check --no-build` in the test stage")
    evaluation: Evaluation = Evaluation()
    gitlab: GitLab = GitLab()
    runners: tuple[Runner, ...] = Field(
        default=(Runner(system="x86_64-linux"),), description="systems that can be built; others are skipped"
    )
    caches: dict[str, CacheConfig] = Field(default_factory=dict, description="binary caches by name")
    handoff: Handoff = Handoff()
    push: Pushing = Pushing()
    packing: Packing = Packing()
    hosts: dict[str, HostConfig] = Field(default_factory=dict, description="hosts that are deployed, by name")
    hosts_from: tuple[Literal["deploy-rs", "colmena"], ...] = Field(
        default=(), description="outputs of the flake that name more hosts: deploy-rs's `deploy.nodes`, colmena's hive"
    )
    fleet: Fleet = Fleet()
    tests: tuple[TestConfig, ...] = Field(default=(), description="integration commands")

    @model_validator(mode="after")
    def _reachable(self) -> Config:
        lost = [f"hosts.{name}: the address is missing" for name, host in self.hosts.items() if not host.address]
        if lost and not self.hosts_from:
            raise ValueError("; ".join(lost))
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for name in self.caches:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,49}", name):
                raise ValueError(f"caches: {name!r} is no cache name (letters, digits, - _ +)")
        for role, expected in (
            ("protected", WriterClass.PROTECTED),
            ("unprotected", WriterClass.UNPROTECTED),
        ):
            name = getattr(self.handoff, role)
            if name is None:
                continue
            if name not in self.caches:
                raise ValueError(f"handoff.{role}: there is no cache {name!r}{close_match(name, self.caches)}")
            if self.caches[name].writers is not expected:
                raise ValueError(f'handoff.{role}: cache {name!r} must have writers = "{expected}"')
            if self.caches[name].publish:
                raise ValueError(
                    f"handoff.{role}: cache {name!r} is published to: what build jobs leave there would be published "
                    "before any test, and they would hold the key to it; take another cache for the handoff"
                )
        if self.handoff.mode == "cache" and not (self.handoff.protected or self.handoff.unprotected):
            raise ValueError('handoff.mode = "cache" needs handoff.protected or handoff.unprotected')
        refuse_mixing(self.caches, self.handoff)
        refuse_equal_key_names(self.caches)
        for name, host in self.hosts.items():
            if self.gitlab.publish_environment == (host.environment or name):
                raise ValueError(
                    f"gitlab.publish_environment: {host.environment or name!r} is the environment of host {name!r}, so "
                    "that pushes would have its key and its deployments the tokens of pushes; give one another name"
                )
        names = [test.name for test in self.tests]
        if len(set(names)) != len(names):
            raise ValueError("tests: two tests have one name")
        return self


def close_match(word: str, known: Iterable[str]) -> str:
    """`; did you mean '…'?`, or nothing."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
