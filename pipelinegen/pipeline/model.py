"""GitLab's keywords as frozen values: exactly those that pipelinegen emits or must be able to refuse.

Field names are GitLab's keywords and their order here is their order in the file. An absent value (None,
or an empty collection where GitLab sees no difference) is not written at all, so every default means what
GitLab means by leaving the keyword out. The one exception is `Need.artifacts`, which is always written.

The model holds broken pipelines too: judging them is the task of `verify`, which can say more than a
type can. Keywords and their meaning: https://docs.gitlab.com/ci/yaml/.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, model_serializer

from pipelinegen.values import Value

T = TypeVar("T")


def _sorted(mapping: dict[str, T]) -> dict[str, T]:
    return dict(sorted(mapping.items()))


Sorted = Annotated[dict[str, T], AfterValidator(_sorted)]
"""A mapping whose keys are names that users chose; sorted, so that equal values are written equally."""


class Variable(Value):
    """A CI variable with more than a value; `expand=False` keeps `$` literal, across a trigger too."""

    value: str
    description: str | None = None
    expand: bool | None = None


Variables = Sorted[str | Variable]


class ImageUser(Value):
    """The user that a container executor runs the image as."""

    user: str


class Image(Value):
    """A container image; `entrypoint=("",)` for images whose entry point is no shell."""

    name: str
    entrypoint: tuple[str, ...] | None = None
    docker: ImageUser | None = None
    kubernetes: ImageUser | None = None
    pull_policy: tuple[str, ...] = ()


class Matrix(Value):
    """`parallel:matrix`: one job per combination of each entry's values."""

    matrix: tuple[Sorted[str | tuple[str, ...]], ...]

    @property
    def combinations(self) -> int:
        """How many jobs this makes."""
        return sum(
            math.prod(1 if isinstance(values, str) else len(values) for values in entry.values())
            for entry in self.matrix
        )


class Need(Value):
    """A job that must have succeeded first.

    Attributes:
        job: its name.
        artifacts: whether to download what it uploaded. GitLab's default is true; ours is false, because
            results travel through a cache.
        optional: no error when the job does not exist; the dependent then starts without it.
        pipeline: id of the parent pipeline that the job is in (an expression such as
            `$PARENT_PIPELINE_ID`), null for a job of this pipeline. GitLab accepts only a string; the
            number is here to be refused.
    """

    pipeline: str | int | None = None
    job: str
    artifacts: bool = False
    optional: bool = False

    @model_serializer
    def _always_with_artifacts(self) -> dict[str, Any]:
        written: dict[str, Any] = {} if self.pipeline is None else {"pipeline": self.pipeline}
        written |= {"job": self.job, "artifacts": self.artifacts}
        return written | ({"optional": True} if self.optional else {})


class Retry(Value):
    """How often GitLab starts a failed job again, and after which failures and exit codes."""

    max: int
    when: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()


class ExitCodes(Value):
    """`allow_failure:exit_codes`: failing with one of these is only a warning."""

    exit_codes: tuple[int, ...]


class Environment(Value):
    """What a job deploys to, or else does with an environment (`action`)."""

    name: str
    url: str | None = None
    deployment_tier: str | None = None
    action: str | None = None
    on_stop: str | None = None
    auto_stop_in: str | None = None

    @property
    def deploys(self) -> bool:
        """Whether the job makes a deployment (GitLab's default action is `start`)."""
        return self.action in (None, "start")


class Reports(Value):
    """Files that GitLab reads; uploaded whether the job succeeds or not."""

    junit: tuple[str, ...] = ()
    dotenv: tuple[str, ...] = ()
    annotations: str | None = None
    metrics: tuple[str, ...] = ()


class Artifacts(Value):
    """Files that a job uploads."""

    name: str | None = None
    paths: tuple[str, ...] = ()
    reports: Reports | None = None
    when: str | None = None
    expire_in: str | None = None
    access: str | None = None


class Cache(Value):
    """Files that jobs of different pipelines share, as far as the runner still has them."""

    key: str
    fallback_keys: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    policy: str | None = None
    when: str | None = None
    unprotect: bool | None = None


class IdToken(Value):
    """A signed statement of who this job is, for the audiences `aud`."""

    aud: str | tuple[str, ...]


class Inherit(Value):
    """Which of the file's `default` and `variables` a job takes over."""

    default: bool | tuple[str, ...] | None = None
    variables: bool | tuple[str, ...] | None = None


class Include(Value):
    """A file that another job uploaded, to be run as a child pipeline."""

    artifact: str
    job: str | None = None
    inputs: Sorted[str] = Field(default_factory=dict)


class Forward(Value):
    """Which variables a child pipeline gets."""

    yaml_variables: bool | None = None
    pipeline_variables: bool | None = None


class Trigger(Value):
    """The child pipeline that a trigger job starts."""

    include: tuple[Include, ...]
    strategy: str | None = None
    forward: Forward | None = None


class Rule(Value):
    """One entry of `rules`. A child pipeline has only the unconditional one of its `workflow`."""

    if_: str | None = Field(default=None, alias="if")
    when: str | None = None
    allow_failure: bool | None = None


ALWAYS = (Rule(when="always"),)
"""The `workflow:rules` of every child: without any, GitLab drops all jobs in merge request pipelines."""


class Default(Value):
    """Keywords that jobs without their own take over (`default:timeout` has no effect, so it is absent)."""

    image: str | Image | None = None
    tags: tuple[str, ...] = ()
    id_tokens: Sorted[IdToken] = Field(default_factory=dict)
    retry: Retry | None = None
    interruptible: bool | None = None
    before_script: tuple[str, ...] | None = None


class Job(Value):
    """One job, or (with `trigger`) the job that starts a child pipeline.

    Attributes:
        needs: null waits for all earlier stages; an empty tuple starts at once.
        dependencies: null downloads what `needs` says; an empty tuple downloads nothing.
        before_script: null takes over the default; an empty tuple runs nothing.
        rules, only, except_, start_in, parallel: never emitted in a child, here to be refused.
    """

    name: str
    stage: str
    when: str | None = None
    start_in: str | None = None
    manual_confirmation: str | None = None
    allow_failure: bool | ExitCodes | None = None
    interruptible: bool | None = None
    needs: tuple[Need, ...] | None = None
    dependencies: tuple[str, ...] | None = None
    rules: tuple[Rule, ...] = ()
    only: tuple[str, ...] = ()
    except_: tuple[str, ...] = Field(default=(), alias="except")
    parallel: int | Matrix | None = None
    tags: tuple[str, ...] = ()
    image: str | Image | None = None
    inherit: Inherit | None = None
    variables: Variables = Field(default_factory=dict)
    id_tokens: Sorted[IdToken] = Field(default_factory=dict)
    timeout: str | None = None
    retry: Retry | None = None
    environment: Environment | None = None
    resource_group: str | None = None
    cache: tuple[Cache, ...] = ()
    before_script: tuple[str, ...] | None = None
    script: tuple[str, ...] = ()
    artifacts: Artifacts | None = None
    trigger: Trigger | None = None

    @property
    def manual(self) -> bool:
        """Whether it waits for a person to press play."""
        return self.when == "manual"

    @property
    def automatic(self) -> bool:
        """Whether it starts without a person and without a failure elsewhere."""
        return self.when in (None, "on_success", "always", "delayed")

    @property
    def deploys(self) -> bool:
        """Whether it makes a deployment."""
        return self.environment is not None and self.environment.deploys

    @property
    def instances(self) -> int:
        """How many jobs GitLab makes of it."""
        if isinstance(self.parallel, Matrix):
            return self.parallel.combinations
        return 1 if self.parallel is None else self.parallel

    @property
    def local_needs(self) -> tuple[str, ...]:
        """Names of the jobs of this pipeline that it needs."""
        return tuple(need.job for need in self.needs or () if need.pipeline is None)


class Pipeline(Value):
    """A whole CI file.

    Attributes:
        header_comment: lines of the comment above everything; any text.
        workflow_name: the pipeline's title. GitLab expands `$NAME` in it.
        auto_cancel_on_new_commit: `conservative`, `interruptible` or `none`.
        auto_cancel_on_job_failure: `all` or `none`.
        workflow_rules: `ALWAYS` in every child.
        variables: GitLab expands `$NAME` in values, see `emit.escape_variable_value`.
    """

    header_comment: tuple[str, ...] = ()
    workflow_name: str | None = None
    auto_cancel_on_new_commit: str | None = None
    auto_cancel_on_job_failure: str | None = None
    workflow_rules: tuple[Rule, ...] = ALWAYS
    stages: tuple[str, ...]
    default: Default | None = None
    variables: Variables = Field(default_factory=dict)
    jobs: tuple[Job, ...]

    def job(self, name: str) -> Job | None:
        """The first job of that name."""
        return next((job for job in self.jobs if job.name == name), None)


Document = Mapping[str, Any]
"""A CI file as plain data: mappings, lists, text, numbers, booleans and nulls."""
