"""The plan: one decision per output and stage, and the jobs that carry them out.

`Plan` is also the schema of `plan.json` and of `preview --json`. `FORMAT_VERSION` follows semantic rules:
the minor number grows when fields are added, the major number when something is renamed or removed.
"""

from __future__ import annotations

import enum

from pydantic import Field

from pipelinegen.changes.model import Base, Head, Status
from pipelinegen.values import Value

FORMAT_VERSION = "1.0"


class Choice(enum.StrEnum):
    """What happens to an output in a stage."""

    RUN = "run"
    SKIP = "skip"
    FAIL = "fail"


class Stage(enum.StrEnum):
    """The four stages, in order."""

    BUILD = "build"
    TEST = "test"
    PUSH = "push"
    DEPLOY = "deploy"


AFTER_WAVE = "after wave "
"""How the stages behind `deploy` begin: each has the deployments behind a wave whose failures are counted."""


class Decision(Value):
    """One decision with the job that carries it out (null when skipped) and its reasons."""

    decision: Choice
    job: str | None = None
    reasons: tuple[str, ...] = Field(min_length=1)


class PlannedOutput(Value):
    """An output of the flake and what happens to it."""

    attr: str
    drv_attr: str
    kind: str
    system: str
    drv_path: str | None
    status: Status
    available: dict[str, bool | None] = Field(
        default_factory=dict, description="cache name → all wanted paths are there (null: unknown)"
    )
    decisions: dict[Stage, Decision] = Field(default_factory=dict)


class Failure(Value):
    """An output that failed to evaluate, with Nix's message."""

    attr: str
    message: str


class PlannedJob(Value):
    """A job of the child pipeline, before it is put into GitLab's words.

    Attributes:
        targets: attribute paths that it finishes, pushes or deploys.
        serves: build and test jobs: attribute paths that need something of it; of many, a few.
        served: how many targets need something of it.
        derivations: how many it is to build.
        repeats: how many of them other jobs build, too, because that is cheaper than handing them over.
        seconds: estimate of what its builds take.
    """

    name: str
    stage: Stage
    targets: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    served: int = 0
    needs: tuple[str, ...] = ()
    derivations: int = 0
    repeats: int = 0
    seconds: float = 0.0


class Plan(Value):
    """Everything that was decided for one push."""

    format_version: str = FORMAT_VERSION
    flake: str
    base: Base | None = Field(description="null when there is no commit to compare with")
    head: Head
    outputs: tuple[PlannedOutput, ...] = ()
    removed: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    jobs: tuple[PlannedJob, ...] = ()
    notes: tuple[str, ...] = Field(
        default=(), description="what a person should know: caches that did not answer, builds of the evaluator"
    )


class Realise(Value):
    """A derivation and the output names that somebody uses."""

    drv_path: str
    outputs: tuple[str, ...]

    @property
    def installable(self) -> str:
        """As `nix-store --realise` takes it: `/nix/store/….drv!out,dev`."""
        return f"{self.drv_path}!{','.join(self.outputs)}"


class Unit(Value):
    """The work of one build or test job.

    Attributes:
        job: name of the job.
        stage: build or test.
        targets: attribute paths that it finishes (whose derivation it builds), sorted.
        serves: attribute paths that need something of it, sorted: enough of them that all it builds is needed.
        served: how many targets need something of it.
        builds: what it realises, dependencies first; exactly the output names that somebody uses.
        repeats: derivations that other units build, too, because that is cheaper than handing them over.
        fetch: output paths made elsewhere that it needs, fetched by name before anything is built
            (a derivation with `allowSubstitutes = false` would else be built again).
        needs: names of the jobs that make what it fetches.
        taken: whether another job of the pipeline reads what it makes.
        system: where it builds; features: what the machine must offer.
        seconds: estimate of what its builds take.
        timeout, max_silent: seconds, the largest its targets ask for.
    """

    job: str
    stage: Stage
    targets: tuple[str, ...]
    serves: tuple[str, ...] = ()
    served: int = 0
    builds: tuple[Realise, ...]
    repeats: tuple[str, ...] = ()
    fetch: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    taken: bool = True
    system: str = ""
    features: tuple[str, ...] = ()
    seconds: float = 0.0
    timeout: int | None = None
    max_silent: int | None = None


class Attribute(Value):
    """An output of the flake: the attribute, where its derivation is below it, and that derivation."""

    path: tuple[str, ...]
    suffix: tuple[str, ...] = ()
    drv_path: str


class Evaluation(Value):
    """What was evaluated, for jobs that do it again.

    Attributes:
        rev: the commit; null for a tree with uncommitted changes, or without git.
        nix_version: of the Nix that evaluated.
        attributes: the outputs that units serve, by name.
    """

    rev: str | None = None
    nix_version: str = ""
    attributes: dict[str, Attribute] = Field(default_factory=dict)


class Work(Value):
    """`work.json`: what `run build`, `run test` and `run failure` read beside the exported derivations.

    Attributes:
        units: the build and test jobs' work.
        failures: the outputs that failed to evaluate, with Nix's messages.
        derivations: name of the export beside this file; null when nothing is built, or jobs evaluate.
        evaluation: how jobs come by derivations without an export; null where there is one.
    """

    format_version: str = FORMAT_VERSION
    flake: str
    units: tuple[Unit, ...] = ()
    failures: tuple[Failure, ...] = ()
    derivations: str | None = None
    evaluation: Evaluation | None = None


RECORD_JOB = "record build times"
"""The name of the job that does `Action.RECORD`. It is in the push stage, and no push."""


class Action(enum.StrEnum):
    """What a job does."""

    BUILD = "build"
    TEST = "test"
    EVALUATION_FAILURE = "evaluation-failure"
    COMMAND = "command"
    FLAKE_CHECK = "flake-check"
    GATE = "gate"
    PUSH = "push"
    APPROVE = "approve"
    DEPLOY = "deploy"
    START = "start"
    WAVE = "wave"
    ROLL_BACK = "roll back"
    RECORD = "record"
    SUMMARY = "summary"


class Task(Value):
    """A job with everything that its script needs, before it is put into GitLab's words.

    Attributes:
        name: name of the job; also how `Unit.job` and `Decision.job` refer to it.
        action, stage, targets, needs: as their types say; `targets` are attribute paths.
        derivations: how many derivations it is to build.
        system, features: what its runner must offer; system "" means any.
        timeout: seconds its targets ask for; null means the configured time.
        takes: those of `needs` whose outputs it reads.
        needs_handoff: whether it reads the folder that `generate` wrote.
        store_paths: push: what is pushed; deploy: the system.
        caches: push: names of the caches.
        touch: push: whether what is there already is fetched once, so that it is not collected.
        subject: the host, the integration command's name, the failed attribute, or the number of a wave.
        settings: deploy, roll back: what the flake says of the host, a JSON object; "" for nothing.
        says: summary: lines to print.
        hosts: wave: those whose deployments it collects.
        reads: wave, roll back: the deployments whose reports it reads. A wave that does runs however they ended,
            and waits for all stages before its own instead of needing them.
        allowed: wave: failed hosts with which it has gone well all the same; null where it reads no reports.
        reported: deploy: whether another job reads its report.
        behind: number of the wave behind whose stage it stands; 0 for the first stage of deployments.
    """

    name: str
    action: Action
    stage: Stage
    targets: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    derivations: int = 0
    system: str = ""
    features: tuple[str, ...] = ()
    timeout: int | None = None
    takes: tuple[str, ...] = ()
    needs_handoff: bool = False
    store_paths: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    touch: bool = False
    subject: str = ""
    settings: str = ""
    says: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    allowed: int | None = None
    reported: bool = False
    behind: int = 0


class Planned(Value):
    """Everything planning yields: the plan for people, the work for jobs, the tasks for the pipeline."""

    plan: Plan
    work: Work
    tasks: tuple[Task, ...]
