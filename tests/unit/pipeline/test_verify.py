"""Every rule has pipelines that break it, and a sound pipeline breaks none."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from pipelinegen.errors import UsageError, VerificationError
from pipelinegen.pipeline.limits import Limits
from pipelinegen.pipeline.model import (
    Artifacts,
    Cache,
    Default,
    Environment,
    ExitCodes,
    Forward,
    IdToken,
    Image,
    Job,
    Matrix,
    Need,
    Pipeline,
    Retry,
    Rule,
    Trigger,
    Variable,
)
from pipelinegen.pipeline.needs_tree import fan_in
from pipelinegen.pipeline.secret_names import Secrets
from pipelinegen.pipeline.verify import CHECKS, Severity, require_valid, verify
from pipelinegen.plan.model import Stage
from tests.unit.pipeline.samples import (
    STAGES,
    bridge,
    deploy,
    job,
    manual,
    needs,
    only,
    pipeline,
    sound_pipeline,
    trigger,
    x,
)

NEWEST = "99.0"


class Case(NamedTuple):
    """A pipeline that breaks `rule` (and cannot help breaking `also`), and a word of what is said about it."""

    rule: str
    pipeline: Pipeline
    says: str
    job: str | None = "x"
    options: Mapping[str, Any] = MappingProxyType({})
    limits: Limits = Limits()
    version: str = NEWEST
    also: str | None = None


STOP = job(
    "stop", stage="deploy", environment=Environment(name="other", action="stop"), when="manual", allow_failure=True
)

KNOWN: dict[str, Any] = {
    "secret_names": Secrets(
        of_stage={Stage.PUSH: ("PUSH_TOKEN", "/run/keys/cache"), Stage.DEPLOY: ("SSH_KEY",)}, others=("READ_TOKEN",)
    )
}

WAVE = job("wave 1", stage="deploy", needs=needs("x", "z"))
COUNTING = job(
    "wave 1",
    stage="later",
    when="always",
    dependencies=("x", "z"),
    script=("pipelinegen run wave --max-failures 1 -- x z",),
)


def waves(
    collector: Job, behind: tuple[Need, ...] = needs("wave 1"), *more: Job, report: str | None = None
) -> Pipeline:
    """Deployments x and z, a collector, and a deployment y behind it."""
    first = [deploy(name, artifacts=Artifacts(paths=(report or f"{name}.json",), when="always")) for name in ("x", "z")]
    return pipeline(*first, *more, collector, deploy("y", stage="later", needs=behind), stages=(*STAGES, "later"))


CASES = (
    Case("L01", only(), "no job starts", None),
    Case("L01", only(manual()), "no job starts", None),
    Case("L01", only(manual(), job("a", needs=needs("approve")), job("b", needs=needs("a"))), "no job starts", None),
    Case("L01", only(x(when="on_failure")), "no job starts", None),
    Case("L01", only(x(stage=".pre"), job("y", stage=".post")), "no job starts", None),
    Case("L02", pipeline(x(stage="biuld")), "'biuld' is not listed"),
    Case("L02", pipeline(x(stage="push"), stages=()), "'push' is not listed"),
    Case("L03", pipeline(x(needs=needs("ghost"))), "needs 'ghost'"),
    Case("L03", pipeline(x(dependencies=("ghost",))), "depends on 'ghost'"),
    Case("L03", pipeline(x(needs=(), dependencies=("summary",))), "not one of its needs"),
    Case("L03", pipeline(x(dependencies=("summary",))), "in no earlier stage"),
    Case("L03", pipeline(deploy(environment=Environment(name="x", on_stop="ghost"))), "stopped by 'ghost'"),
    Case("L03", pipeline(deploy(environment=Environment(name="x", on_stop="summary"))), "no environment"),
    Case("L03", pipeline(deploy(environment=Environment(name="x", on_stop="stop")), STOP), "another environment"),
    Case("L04", pipeline(x(needs=needs("x"))), "needs itself"),
    Case("L04", pipeline(x(needs=needs("y")), job("y", needs=needs("x"))), "'x' needs 'y' needs 'x'"),
    Case("L05", pipeline(x(needs=needs("summary", "summary"))), "needs 'summary' 2 times"),
    Case("L05", pipeline(x(needs=needs("a", "a", pipeline="$P"))), "needs 'a' 2 times"),
    Case("L06", pipeline(x(needs=needs("t")), job("t", stage="test")), "later stage 'test'"),
    Case("L06", pipeline(x(stage=".pre", needs=needs("summary"))), "later stage 'build'"),
    Case("L07", pipeline(x(needs=needs("summary", "y")), job("y")), "needs 2 jobs", limits=Limits(max_needs=1)),
    Case("L07", pipeline(x(needs=needs("y")), job("y", parallel=3)), "needs 3 jobs", limits=Limits(max_needs=2)),
    Case(
        "L07",
        pipeline(x(needs=(*needs("summary"), *needs("a", pipeline="$P")))),
        "needs 2 jobs",
        limits=Limits(max_needs=1),
    ),
    Case("L08", pipeline(job("")), "1 to 255 characters, this one 0", ""),
    Case("L08", pipeline(job("n" * 256)), "1 to 255 characters, this one 256", "n" * 256),
    Case("L08", pipeline(job("n" * 129), x(needs=needs("n" * 129))), "others need has 1 to 128", "n" * 129),
    Case("L08", pipeline(job("stages")), "reserved", "stages"),
    Case("L08", pipeline(job(".hidden")), "hides", ".hidden"),
    Case("L08", pipeline(x(), x()), "another job of this name"),
    Case("L08", pipeline(stages=(*STAGES, "s" * 256)), "stage's name", None),
    Case("L08", pipeline(workflow_name=""), "`workflow:name`", None),
    Case("L08", pipeline(workflow_name="n" * 256), "`workflow:name`", None),
    Case("L09", pipeline(deploy(environment=Environment(name="user@host"))), "environment 'user@host'"),
    Case("L09", pipeline(deploy(environment=Environment(name="review/"))), "environment 'review/'"),
    Case("L09", pipeline(deploy(environment=Environment(name=""))), "environment ''"),
    Case("L09", pipeline(deploy(environment=Environment(name="a\n"))), "environment"),
    Case("L09", pipeline(deploy(environment=Environment(name="e" * 256))), "256 characters"),
    Case("L09", pipeline(x(resource_group="a:b")), "resource group 'a:b'"),
    Case("L09", pipeline(x(resource_group="/a")), "resource group '/a'"),
    Case("L10", pipeline(deploy(environment=Environment(name="x", deployment_tier="prod"))), "'prod'"),
    Case("L10", pipeline(x(stage="push", environment=Environment(name="x", action="begin"))), "'begin'"),
    Case("L10", pipeline(x(when="sometimes")), "'sometimes'"),
    Case("L10", pipeline(x(when="never")), "'never'"),
    Case("L10", pipeline(x(artifacts=Artifacts(when="never"))), "`artifacts:when`"),
    Case("L10", pipeline(x(artifacts=Artifacts(access="me"))), "`artifacts:access`"),
    Case("L10", pipeline(x(cache=(Cache(key="k", policy="take"),))), "`cache:policy`"),
    Case("L10", pipeline(x(cache=(Cache(key="k", when="never"),))), "`cache:when`"),
    Case("L10", pipeline(x(image=Image(name="i", pull_policy=("maybe",)))), "`image:pull_policy`"),
    Case("L10", pipeline(bridge(trigger=trigger(strategy="hope"))), "`trigger:strategy`"),
    Case("L10", pipeline(auto_cancel_on_new_commit="all"), "on_new_commit", None),
    Case("L10", pipeline(auto_cancel_on_job_failure="some"), "on_job_failure", None),
    Case("L11", pipeline(x(timeout="soon")), "'soon'"),
    Case("L11", pipeline(x(timeout="never")), "'never'"),
    Case("L11", pipeline(x(timeout="0")), "'0'"),
    Case("L11", pipeline(x(timeout="2 months")), "GitLab allows 720h"),
    Case("L11", pipeline(x(when="delayed", start_in="8 days")), "`start_in`"),
    Case("L11", pipeline(x(artifacts=Artifacts(expire_in="a while"))), "'a while'"),
    Case("L11", pipeline(deploy(environment=Environment(name="x", auto_stop_in="never"))), "auto_stop_in"),
    Case("L12", pipeline(x(script=())), "no script"),
    Case("L12", pipeline(x(script=("a", " "))), "empty line"),
    Case("L13", pipeline(bridge(script=("x",))), "cannot have `script`"),
    Case("L13", pipeline(bridge(tags=("a",))), "cannot have `tags`"),
    Case("L13", pipeline(bridge(retry=Retry(max=1))), "cannot have `retry`"),
    Case("L13", pipeline(bridge(timeout="1h")), "cannot have `timeout`"),
    Case("L13", pipeline(bridge(artifacts=Artifacts(paths=("x",)))), "cannot have `artifacts`"),
    Case("L13", pipeline(bridge(id_tokens={"A": IdToken(aud="x")})), "cannot have `id_tokens`"),
    Case("L13", pipeline(bridge(needs=needs("a", pipeline="$P"))), "another pipeline"),
    Case("L13", pipeline(bridge(trigger=Trigger(include=(), strategy="depend"))), "includes 0 files"),
    Case(
        "L13", pipeline(bridge(trigger=Trigger(include=trigger().include * 4, strategy="depend"))), "includes 4 files"
    ),
    Case("L13", pipeline(bridge(trigger=trigger("child.json"))), "does not end in .yml"),
    Case("L13", pipeline(bridge(trigger=trigger(source="ghost"))), "'ghost', which does not exist"),
    Case("L13", pipeline(bridge(trigger=trigger(source=None))), "None, which does not exist"),
    Case("L13", pipeline(bridge(trigger=trigger(source="x"))), "does not run before it"),
    Case("L13", pipeline(bridge(stage="build", trigger=trigger(source="t")), job("t", stage="test")), "run before"),
    Case("L13", pipeline(bridge(needs=needs("y")), job("y")), "not one of its needs"),
    Case("L14", pipeline(x(retry=Retry(max=3))), "`retry:max` is 3"),
    Case("L14", pipeline(x(retry=Retry(max=-1))), "`retry:max` is -1"),
    Case("L14", pipeline(x(retry=Retry(max=1, when=("no_updates_running",)))), "`retry:when`"),
    Case("L14", pipeline(default=Default(retry=Retry(max=3))), "default: `retry:max`", None),
    Case("L15", pipeline(x(cache=(Cache(key="k"),) * 5)), "5 caches"),
    Case("L15", pipeline(x(cache=(Cache(key="a/b"),))), "'a/b'"),
    Case("L15", pipeline(x(cache=(Cache(key=".."),))), "'..'"),
    Case("L15", pipeline(x(cache=(Cache(key="a", fallback_keys=("b/c",)),))), "'b/c'"),
    Case("L15", pipeline(x(cache=(Cache(key="a", fallback_keys=("b",) * 6),))), "6 fallback keys"),
    Case("L16", pipeline(x(tags=("t",) * 50)), "50 tags"),
    Case("L16", pipeline(x(tags=("",))), "empty tag"),
    Case("L17", pipeline(x(parallel=201)), "makes 201 jobs"),
    Case("L17", pipeline(x(parallel=0)), "makes 0 jobs"),
    Case("L17", pipeline(x(parallel=Matrix(matrix=({"A": ("1",) * 20, "B": ("1",) * 11},)))), "makes 220 jobs"),
    Case(
        "L18", pipeline(x(rules=(Rule(when="always"),), only=("main",))), "`rules` and `only`", options={"child": False}
    ),
    Case(
        "L18",
        pipeline(x(rules=(Rule(when="always"),), **{"except": ("main",)})),
        "`rules` and `except`",
        options={"child": False},
    ),
    Case(
        "L18",
        pipeline(x(rules=(Rule(when="always"),), when="delayed", start_in="1h")),
        "`rules` and `start_in`",
        options={"child": False},
    ),
    Case("L19", pipeline(x(start_in="1 hour")), "without `when: delayed`"),
    Case("L19", pipeline(x(when="delayed")), "without `start_in`"),
    Case("L20", pipeline(deploy("a"), deploy("b")), "2 jobs have", None, limits=Limits(max_deployments=1)),
    Case("L21", pipeline(x(), job("y")), "3 jobs", None, limits=Limits(max_jobs=2)),
    Case("L21", pipeline(x(parallel=5)), "6 jobs", None, limits=Limits(max_jobs=5)),
    Case("L22", pipeline(), "4500001 bytes", None, {"yaml_bytes": 4_500_001}, Limits(max_memory=10**9)),
    Case("L22", pipeline(), "of memory", None, {"yaml_bytes": 800_001}),
    Case("L24", pipeline(x(needs=needs("inspect", pipeline=123))), "the number 123"),
    Case("L25", pipeline(x(manual_confirmation="Sure?")), "manual_confirmation needs GitLab 17.1", version="17.0"),
    Case("L25", pipeline(workflow_name="x"), "workflow:name needs", None, version="15.7"),
    Case(
        "L25",
        pipeline(default=Default(retry=Retry(max=1, exit_codes=(75,)))),
        "retry:exit_codes needs",
        None,
        version="16.10",
    ),
    Case("L26", pipeline(deploy(), deploy("y", environment=Environment(name="x"))), "as 'x' does", "y"),
    Case("R1", pipeline(workflow_rules=()), "`workflow:rules`", None),
    Case("R1", pipeline(workflow_rules=(Rule(when="never"),)), "`workflow:rules`", None),
    Case("R1", pipeline(workflow_rules=(Rule(**{"if": "$CI", "when": "always"}),)), "`workflow:rules`", None),
    Case("R3", pipeline(x(when="manual", allow_failure=False)), "blocks"),
    Case("R3", pipeline(x(when="manual", allow_failure=ExitCodes(exit_codes=(1,)))), "blocks"),
    Case("R4", pipeline(x(rules=(Rule(when="always"),))), "has `rules`"),
    Case("R4", pipeline(x(only=("main",))), "has `only`"),
    Case("R4", pipeline(x(**{"except": ("main",)})), "has `except`"),
    Case("R6", pipeline(bridge(trigger=trigger(strategy=None))), "does not wait for it"),
    Case("D01", pipeline(deploy(when="manual", allow_failure=False)), "is manual", also="R3"),
    Case("D01", pipeline(deploy(allow_failure=True)), "allowed to fail"),
    Case("D01", pipeline(deploy(allow_failure=ExitCodes(exit_codes=(10,)))), "allowed to fail"),
    Case("D02", waves(WAVE.model_copy(update={"allow_failure": True})), "is allowed to fail", "wave 1"),
    Case("D02", waves(WAVE.model_copy(update={"allow_failure": ExitCodes(exit_codes=(1,))})), "is allowed", "wave 1"),
    Case("D02", waves(WAVE.model_copy(update={"when": "always"})), "counts nothing", "wave 1"),
    Case("D02", waves(WAVE.model_copy(update={"when": "on_failure"})), "counts nothing", "wave 1"),
    Case("D02", waves(COUNTING.model_copy(update={"script": ("true 'run wave",)})), "counts nothing", "wave 1"),
    Case("D02", waves(COUNTING.model_copy(update={"when": "on_failure"})), "no `needs`", "wave 1"),
    Case("D02", waves(COUNTING.model_copy(update={"needs": needs("x", "z", artifacts=True)})), "no `needs`", "wave 1"),
    Case("D02", waves(COUNTING.model_copy(update={"dependencies": None})), "`dependencies`", "wave 1", also="D03"),
    Case("D03", waves(WAVE, needs("summary")), "neither part of 'wave 1' nor waits", "y"),
    Case("D03", waves(COUNTING, needs("x", "z")), "neither part of 'wave 1' nor waits", "y"),
    Case("D03", waves(WAVE.model_copy(update={"needs": needs("x")})), "neither part", "z"),
    Case("D03", waves(COUNTING.model_copy(update={"dependencies": ("x",)})), "neither part", "z"),
    Case("D03", waves(WAVE, needs("start wave 2"), manual("start wave 2", stage="deploy")), "nor waits for it", "y"),
    Case("D04", waves(COUNTING, report="deploy.json"), "'deploy.json' by 'x' and by 'z'", "wave 1"),
    Case("S01", pipeline(x(environment=Environment(name="publish", action="access"))), "'publish', with its secrets"),
    Case("S01", pipeline(x(environment=Environment(name="p", action="prepare"), stage="test")), "builds or tests"),
    Case("S01", pipeline(deploy(stage="test")), "environment 'x'"),
    Case("S02", pipeline(x(script=("push --token $PUSH_TOKEN",))), "'PUSH_TOKEN' in `script`", options=KNOWN),
    Case("S02", pipeline(x(script=("a", "printenv PUSH_TOKEN"))), "'PUSH_TOKEN' in `script`", options=KNOWN),
    Case("S02", pipeline(x(script=('a "${SSH_KEY}"',))), "'SSH_KEY' in `script`", options=KNOWN),
    Case("S02", pipeline(x(script=("cat /run/keys/cache",))), "'/run/keys/cache' in", options=KNOWN),
    Case("S02", pipeline(x(script=("cat '/run/keys/cache'",), stage="test")), "'/run/keys/cache'", options=KNOWN),
    Case("S02", pipeline(x(before_script=("set -- $SSH_KEY",))), "'SSH_KEY' in `before_script`", options=KNOWN),
    Case("S02", pipeline(x(image="registry/$PUSH_TOKEN/ci")), "in `image`", options=KNOWN),
    Case("S02", pipeline(x(image=Image(name="registry/$PUSH_TOKEN/ci"))), "in `image`", options=KNOWN),
    Case("S02", pipeline(x(artifacts=Artifacts(paths=("/run/keys/cache",)))), "in `artifacts`", options=KNOWN),
    Case("S02", pipeline(x(artifacts=Artifacts(name="$SSH_KEY"))), "'SSH_KEY' in `artifacts`", options=KNOWN),
    Case("S02", pipeline(x(tags=("nix", "$SSH_KEY"))), "'SSH_KEY' in `tags`", options=KNOWN),
    Case("S02", pipeline(x(cache=(Cache(key="$SSH_KEY"),))), "in `cache`", options=KNOWN),
    Case("S02", pipeline(x(cache=(Cache(key="k", fallback_keys=("$SSH_KEY",)),))), "'SSH_KEY' in", options=KNOWN),
    Case("S02", pipeline(x(cache=(Cache(key="k", paths=("/run/keys/cache",)),))), "in `cache`", options=KNOWN),
    Case("S02", pipeline(x(stage="push", script=("a $SSH_KEY",))), "'SSH_KEY' in `script`", options=KNOWN),
    Case("S02", pipeline(deploy(script=("a $PUSH_TOKEN",))), "'PUSH_TOKEN' in `script`", options=KNOWN),
    Case(
        "S02",
        pipeline(deploy(stage="after wave 2", script=("a $PUSH_TOKEN",)), stages=(*STAGES, "after wave 2")),
        "'PUSH_TOKEN' in `script`",
        options=KNOWN,
    ),
    Case("S02", pipeline(deploy(environment=Environment(name="$PUSH_TOKEN"))), "in `environment`", options=KNOWN),
    Case(
        "S02",
        pipeline(deploy(environment=Environment(name="x", url="https://a/$PUSH_TOKEN"))),
        "in `environment`",
        options=KNOWN,
    ),
    Case(
        "S02",
        pipeline(x(before_script=()), default=Default(before_script=("use $PUSH_TOKEN",))),
        "'PUSH_TOKEN' in `before_script`",
        "summary",
        KNOWN,
    ),
    Case("S02", pipeline(x(variables={"A": "$PUSH_TOKEN"})), "in `variables`", options=KNOWN, also="S03"),
    Case("S03", pipeline(x(variables={"A": "$READ_TOKEN"})), "the secret 'READ_TOKEN'", options=KNOWN),
    Case("S03", pipeline(x(variables={"READ_TOKEN": "x"})), "the secret 'READ_TOKEN'", options=KNOWN),
    Case("S03", pipeline(x(stage="push", variables={"A": "$PUSH_TOKEN"})), "'PUSH_TOKEN'", options=KNOWN),
    Case("S03", pipeline(deploy(variables={"A": Variable(value="$SSH_KEY")})), "'SSH_KEY'", options=KNOWN),
    Case("S03", pipeline(variables={"A": "/run/keys/cache"}), "'/run/keys/cache'", None, KNOWN),
    Case("W01", pipeline(job("test 1/3")), "group", "test 1/3"),
    Case("W01", pipeline(job("test 1:3")), "group", "test 1:3"),
    Case("W01", pipeline(job("build python 3 12")), "group", "build python 3 12"),
    Case("W01", pipeline(job("test: [a, b]")), "group", "test: [a, b]"),
    Case("W02", pipeline(deploy(interruptible=True)), "interruptible"),
    Case("W02", pipeline(deploy(), default=Default(interruptible=True)), "interruptible"),
    Case("W02", pipeline(deploy(resource_group=None)), "resource group"),
    Case("W03", pipeline(x(when="manual")), "`allow_failure`"),
    Case("W04", pipeline(deploy()), "merge request", options={"merge_request": True}),
    Case("W05", pipeline(x(timeout=None)), "no timeout"),
    Case("W06", pipeline(*(job(f"j{n}") for n in "abcdefgh")), "9 of 10 jobs", None, limits=Limits(max_jobs=10)),
    Case("W06", pipeline(deploy()), "1 of 1 jobs with an env", None, limits=Limits(max_deployments=1)),
    Case("W06", pipeline(), "700000 of 4500", None, {"yaml_bytes": 3_700_000}, Limits(max_memory=10**9)),
    Case("W06", pipeline(), "estimated", None, {"yaml_bytes": 700_000}),
    Case("W07", pipeline(deploy(needs=needs("summary", optional=True))), "optional"),
    Case("W08", pipeline(), "builds have '/run/key', too", None, {"secret_names": Secrets(shared=("/run/key",))}),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.says}")
def test_a_broken_rule_is_found_and_no_other(case: Case) -> None:
    found = verify(case.pipeline, case.limits, case.version, **case.options)
    assert {one.rule for one in found} == {case.rule, case.also or case.rule}
    assert any(one.rule == case.rule and one.job == case.job and case.says in one.message for one in found), found


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert {case.rule for case in CASES} == {check.name for check in CHECKS}


def test_rules_are_looked_at_in_order_and_once() -> None:
    listed = [check.name for check in CHECKS]
    assert len(set(listed)) == len(listed)
    for letter in "LRDSW":
        ours = [name for name in listed if name.startswith(letter)]
        assert ours == sorted(ours)


@pytest.mark.parametrize("merge_request", [False, True])
def test_a_sound_pipeline_breaks_none(merge_request: bool) -> None:
    found = verify(sound_pipeline(), Limits(), "17.5", yaml_bytes=5000, merge_request=merge_request)
    assert {one.rule for one in found} == ({"W04"} if merge_request else set())


SOUND = {
    "a collector between two waves": waves(WAVE),
    "a collector that counts": waves(COUNTING),
    "a wave that a person starts": waves(
        WAVE, needs("wave 1", "start wave 2"), manual("start wave 2", stage="deploy", needs=needs("wave 1"))
    ),
    "a host with an approval of its own": waves(WAVE, needs("own"), manual("own", stage="deploy")),
    "optional need of a job that is not there": pipeline(x(needs=(*needs("ghost", optional=True), *needs("summary")))),
    "need of a parent's job": pipeline(x(needs=needs("inspect", pipeline="$PARENT_PIPELINE_ID"))),
    "stages before and after all": pipeline(x(stage=".pre"), job("y", stage=".post", needs=needs("x"))),
    "dependency of an earlier stage": pipeline(x(stage="test", dependencies=("summary",))),
    "stages of a file that lists none": pipeline(x(stage="deploy", needs=needs("summary")), stages=()),
    "need in the same stage": pipeline(x(needs=needs("summary"))),
    "name of 255 characters": pipeline(job("n" * 255)),
    "needed name of 128 characters": pipeline(job("n" * 128), x(needs=needs("n" * 128))),
    "python3.12": pipeline(job("build python3.12"), job("a 1/3 b"), job("1/3")),
    "environment from a variable": pipeline(
        deploy(environment=Environment(name="review/$CI_X", deployment_tier="$TIER", auto_stop_in="$TTL"))
    ),
    "one deployment and a check of it": pipeline(
        deploy(), job("y", stage="deploy", environment=Environment(name="x", action="verify"))
    ),
    "artifacts for ever": pipeline(x(artifacts=Artifacts(expire_in="never"))),
    "forty-nine tags": pipeline(x(tags=tuple(f"t{n}" for n in range(49)))),
    "delayed": pipeline(x(when="delayed", start_in="30 minutes")),
    "approval": pipeline(manual(), deploy(needs=needs("approve"))),
    "trigger job": pipeline(bridge(trigger=trigger(strategy="mirror", forward=Forward(pipeline_variables=True)))),
    "environment that a push has access to": pipeline(
        x(stage="push", environment=Environment(name="publish", action="access"))
    ),
    "cache from a variable": pipeline(x(cache=(Cache(key="a.b", policy="$POLICY"),))),
}


@pytest.mark.parametrize("allowed", SOUND.values(), ids=SOUND.keys())
def test_what_gitlab_allows_is_no_finding(allowed: Pipeline) -> None:
    assert verify(allowed, Limits(), NEWEST) == ()


HARMLESS = {
    "secrets in their own stage": pipeline(
        x(stage="push", script=("a $PUSH_TOKEN /run/keys/cache",)), deploy("y", script=("ssh -i $SSH_KEY",))
    ),
    "deployments behind a wave that was counted": pipeline(
        deploy("y", stage="after wave 2", script=("ssh -i $SSH_KEY",)), stages=(*STAGES, "after wave 2")
    ),
    "what builds read with": pipeline(x(script=("a $READ_TOKEN",))),
    "longer words": pipeline(x(script=("$PUSH_TOKENS $MY_PUSH_TOKEN xSSH_KEY", "/run/keys/cache2"))),
    "names of jobs": pipeline(job("build $SSH_KEY"), x(needs=needs("build $SSH_KEY"))),
    "setup lines that only a deployment runs": Pipeline(
        stages=STAGES,
        default=Default(before_script=("ssh-add $SSH_KEY",)),
        jobs=(job("summary", before_script=()), deploy()),
    ),
}


@pytest.mark.parametrize("allowed", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_secret_where_it_belongs_is_no_finding(allowed: Pipeline) -> None:
    assert verify(allowed, Limits(), NEWEST, **KNOWN) == ()


def test_a_file_that_people_include_may_have_rules() -> None:
    bootstrap = pipeline(x(rules=(Rule(**{"if": "$CI_COMMIT_BRANCH"}),)), workflow_rules=())
    assert {one.rule for one in verify(bootstrap, Limits(), NEWEST)} == {"R1", "R4"}
    assert verify(bootstrap, Limits(), NEWEST, child=False) == ()


def test_the_shortest_way_round_is_told_of_a_long_cycle() -> None:
    ring = [job(f"j{n}", needs=needs(f"j{(n + 1) % 5}")) for n in range(5)]
    (found,) = (one for one in verify(pipeline(*ring), Limits(), NEWEST) if one.rule == "L04")
    told = found.message.removeprefix("waits for itself: ").replace("'", "").split(" needs ")
    assert len(told) == 6
    assert told[0] == told[-1]
    for one, other in itertools.pairwise(told):
        assert int(other[1:]) == (int(one[1:]) + 1) % 5


def test_a_valid_pipeline_gives_its_warnings() -> None:
    (warning,) = require_valid(pipeline(x(timeout=None)), Limits(), "17.5")
    assert (warning.rule, warning.severity) == ("W05", Severity.WARNING)


def test_errors_are_raised_all_at_once_before_the_warnings() -> None:
    broken = pipeline(x(needs=needs("ghost"), timeout=None, stage="nowhere"))
    with pytest.raises(VerificationError) as caught:
        require_valid(broken, Limits(), "17.5")
    assert [finding.split(":")[0] for finding in caught.value.findings] == ["L02", "L03", "W05"]
    assert "2 rules" in caught.value.message
    assert caught.value.exit_code == 1


def test_findings_are_one_harmless_line() -> None:
    hostile = "a\n\x1b[2J\x1b[0Ksection_start:0:x\r"
    (found,) = verify(pipeline(job(hostile, needs=needs(hostile + "ghost"))), Limits(), NEWEST)
    assert str(found).startswith("L03: a␊␛[2J")
    assert not set("\n\r\x1b") & set(str(found))
    assert "section_start:" not in str(found)


def test_what_is_no_version_is_a_wrong_use() -> None:
    with pytest.raises(UsageError):
        verify(sound_pipeline(), Limits(), "latest")


def test_ten_thousand_jobs_take_seconds_at_most() -> None:
    chain = [job(f"j{n}x", needs=needs(*(f"j{m}x" for m in range(max(0, n - 5), n)))) for n in range(10_000)]
    gate = job("gate", stage="test", needs=needs(*(one.name for one in chain)))
    large = pipeline(*fan_in([*chain, gate]))
    started = time.monotonic()
    assert verify(large, Limits(max_jobs=20_000), "17.5", yaml_bytes=1000) == ()
    assert time.monotonic() - started < 5, "about half a second on an idle machine"
