"""A small sound pipeline, and strategies that make any."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pipelinegen.job_names import RESERVED
from pipelinegen.pipeline.model import (
    Artifacts,
    Cache,
    Default,
    Environment,
    ExitCodes,
    Forward,
    IdToken,
    Image,
    ImageUser,
    Include,
    Inherit,
    Job,
    Matrix,
    Need,
    Pipeline,
    Reports,
    Retry,
    Rule,
    Trigger,
    Variable,
)

STAGES = ("build", "test", "push", "deploy")

HOSTILE = (
    "1e3",
    "08",
    "0o17",
    "0x1f",
    "yes",
    "on",
    "y",
    "~",
    "null",
    "1:30",
    "2020-01-01",
    "=",
    "<<",
    "*a",
    "&a",
    "!x",
    "- x",
    "a: b",
    "a #b",
    "#",
    "",
    " ",
    "emoji 😀 and é",
    "${X} $(rm) `rm`",
    "two\nlines\n",
    "\r\n",
    "tab\tand\x00\x07\x7f\x85\xa0",
    "\u2028\u2029\ufeff\u202e\U000e0041\U0001fffe",
    "quotes \" and ' and \\ and \\n",
    "x" * 3000,
)


def job(name: str = "job", **keywords: Any) -> Job:
    """A sound job, except for what `keywords` say."""
    return Job(**{"name": name, "stage": "build", "timeout": "1 hour", "script": ("true",), **keywords})


def pipeline(*jobs: Job, **keywords: Any) -> Pipeline:
    """A sound pipeline with an automatic job, `jobs` and `keywords`."""
    return Pipeline(**{"stages": STAGES, "jobs": (job("summary"), *jobs), **keywords})


def x(**keywords: Any) -> Job:
    """A sound job named x, except for `keywords`."""
    return job("x", **keywords)


def needs(*names: str, **keywords: Any) -> tuple[Need, ...]:
    """Plain needs of jobs of these names."""
    return tuple(Need(job=name, **keywords) for name in names)


def deploy(name: str = "x", **keywords: Any) -> Job:
    """A sound deployment to an environment of its own name."""
    sound = {"environment": Environment(name=name), "resource_group": name, "needs": needs("summary")}
    return job(name, **{"stage": "deploy", **sound, **keywords})


def bridge(**keywords: Any) -> Job:
    """A sound trigger job named x."""
    sound = {"script": (), "timeout": None, "trigger": trigger()}
    return job("x", **{"stage": "deploy", **sound, **keywords})


def trigger(artifact: str = "child.yml", source: str | None = "summary", **keywords: Any) -> Trigger:
    """A child pipeline from an artifact."""
    return Trigger(**{"include": (Include(artifact=artifact, job=source),), "strategy": "depend", **keywords})


def only(*jobs: Job) -> Pipeline:
    """A pipeline of nothing but `jobs`."""
    return Pipeline(stages=STAGES, jobs=jobs)


def manual(name: str = "approve", **keywords: Any) -> Job:
    """A sound manual job."""
    return job(name, **{"when": "manual", "allow_failure": True, **keywords})


def sound_pipeline() -> Pipeline:
    """One of everything that is emitted; nothing in it is worth a finding."""
    inspect = Need(job="inspect", pipeline="$PARENT_PIPELINE_ID", artifacts=True)
    return Pipeline(
        header_comment=("Written by pipelinegen.",),
        workflow_name="flake: 1 build, 1 deploy",
        auto_cancel_on_new_commit="none",
        stages=STAGES,
        default=Default(image=Image(name="nix:latest", entrypoint=("",)), before_script=("set -eu",)),
        variables={"GIT_DEPTH": "1", "LITERAL": Variable(value="$HOME", expand=False)},
        jobs=(
            job(
                "build packages.x86_64-linux.hello",
                needs=(inspect,),
                tags=("x86_64-linux",),
                interruptible=True,
                retry=Retry(max=2, when=("runner_system_failure",), exit_codes=(75,)),
                artifacts=Artifacts(
                    paths=("junit.xml",),
                    reports=Reports(junit=("junit.xml",), annotations="links.json"),
                    when="always",
                    expire_in="1 week",
                ),
                cache=(Cache(key="git", paths=(".cache",), policy="pull"),),
            ),
            job("gate", stage="test", needs=(Need(job="build packages.x86_64-linux.hello"),)),
            job(
                "push packages.x86_64-linux.hello",
                stage="push",
                needs=(Need(job="gate"),),
                environment=Environment(name="publish", action="access"),
                artifacts=Artifacts(paths=("push.json",), reports=Reports(metrics=("metrics.txt",))),
            ),
            job("approve web1", stage="deploy", needs=(Need(job="gate"),), when="manual", allow_failure=True),
            job(
                "deploy web1",
                stage="deploy",
                needs=(Need(job="gate"), Need(job="approve web1")),
                allow_failure=False,
                interruptible=False,
                environment=Environment(
                    name="web1", url="https://web1.example", deployment_tier="production", action="start"
                ),
                resource_group="web1",
                id_tokens={"VAULT": IdToken(aud="https://vault.example")},
            ),
        ),
    )


TEXT = st.one_of(st.text(max_size=12), st.sampled_from(HOSTILE))
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
FLAG = st.none() | st.booleans()
MAYBE = st.none() | TEXT
NAMES = TEXT.filter(lambda name: name not in RESERVED)


def mappings(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with any keys."""
    return st.dictionaries(TEXT, values, max_size=2)


NEEDS = st.builds(
    Need, job=TEXT, artifacts=st.booleans(), optional=st.booleans(), pipeline=st.none() | st.integers() | TEXT
)
IMAGES = st.builds(
    Image,
    name=TEXT,
    entrypoint=st.none() | TEXTS,
    docker=st.none() | st.builds(ImageUser, user=TEXT),
    kubernetes=st.none() | st.builds(ImageUser, user=TEXT),
    pull_policy=TEXTS,
)
RETRIES = st.builds(Retry, max=st.integers(), when=TEXTS, exit_codes=st.lists(st.integers(), max_size=2).map(tuple))
ARTIFACTS = st.builds(
    Artifacts,
    name=MAYBE,
    paths=TEXTS,
    reports=st.none()
    | st.builds(Reports, junit=TEXTS, dotenv=TEXTS, annotations=MAYBE, metrics=st.sampled_from(((), ("m.txt",)))),
    when=MAYBE,
    expire_in=MAYBE,
    access=MAYBE,
)
CACHES = st.builds(Cache, key=TEXT, fallback_keys=TEXTS, paths=TEXTS, policy=MAYBE, when=MAYBE, unprotect=FLAG)
ENVIRONMENTS = st.builds(
    Environment, name=TEXT, url=MAYBE, deployment_tier=MAYBE, action=MAYBE, on_stop=MAYBE, auto_stop_in=MAYBE
)
TOKENS = mappings(st.builds(IdToken, aud=TEXT | TEXTS))
VARIABLES = mappings(TEXT | st.builds(Variable, value=TEXT, description=MAYBE, expand=FLAG))
TRIGGERS = st.builds(
    Trigger,
    include=st.lists(st.builds(Include, artifact=TEXT, job=MAYBE, inputs=mappings(TEXT)), max_size=2).map(tuple),
    strategy=MAYBE,
    forward=st.none() | st.builds(Forward, yaml_variables=FLAG, pipeline_variables=FLAG),
)
RULES = st.lists(
    st.fixed_dictionaries({"if": MAYBE, "when": MAYBE, "allow_failure": FLAG}).map(lambda rule: Rule(**rule)),
    max_size=2,
).map(tuple)
MATRICES = st.builds(Matrix, matrix=st.lists(mappings(TEXT | TEXTS), max_size=2).map(tuple))

KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("when", "start_in", "manual_confirmation", "timeout", "resource_group"), MAYBE),
    **dict.fromkeys(("only", "except", "tags", "script"), TEXTS),
    **dict.fromkeys(("dependencies", "before_script"), st.none() | TEXTS),
    "allow_failure": FLAG | st.builds(ExitCodes, exit_codes=st.lists(st.integers(), max_size=2).map(tuple)),
    "interruptible": FLAG,
    "needs": st.none() | st.lists(NEEDS, max_size=3).map(tuple),
    "rules": RULES,
    "parallel": st.none() | st.integers() | MATRICES,
    "image": MAYBE | IMAGES,
    "inherit": st.none() | st.builds(Inherit, default=FLAG | TEXTS, variables=FLAG | TEXTS),
    "variables": VARIABLES,
    "id_tokens": TOKENS,
    "retry": st.none() | RETRIES,
    "environment": st.none() | ENVIRONMENTS,
    "cache": st.lists(CACHES, max_size=2).map(tuple),
    "artifacts": st.none() | ARTIFACTS,
    "trigger": st.none() | TRIGGERS,
}
"""Keyword of a job → any value for it, sound or not."""

JOBS = st.fixed_dictionaries({"name": NAMES, "stage": TEXT}, optional=KEYWORDS).map(lambda job: Job(**job))

PIPELINES = st.builds(
    Pipeline,
    header_comment=TEXTS,
    workflow_name=MAYBE,
    auto_cancel_on_new_commit=MAYBE,
    auto_cancel_on_job_failure=MAYBE,
    workflow_rules=RULES,
    stages=TEXTS,
    default=st.none()
    | st.builds(
        Default,
        image=MAYBE | IMAGES,
        tags=TEXTS,
        id_tokens=TOKENS,
        retry=st.none() | RETRIES,
        interruptible=FLAG,
        before_script=st.none() | TEXTS,
    ),
    variables=VARIABLES,
    jobs=st.lists(JOBS, max_size=3, unique_by=lambda job: job.name).map(tuple),
)
