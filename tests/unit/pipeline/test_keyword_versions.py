"""No keyword is written for a server that does not know it."""

from __future__ import annotations

import pytest

from pipelinegen.pipeline.limits import SINCE, Limits
from pipelinegen.pipeline.model import (
    Artifacts,
    Cache,
    Default,
    Environment,
    Forward,
    IdToken,
    Image,
    ImageUser,
    Include,
    Pipeline,
    Reports,
    Retry,
    Trigger,
)
from pipelinegen.pipeline.verify import verify
from pipelinegen.pipeline.verify_server import JOB_USES, PIPELINE_USES
from tests.unit.pipeline.samples import bridge, manual, pipeline, trigger, x

USES: dict[str, Pipeline] = {
    "id_tokens": pipeline(x(id_tokens={"A": IdToken(aud="x")})),
    "workflow:name": pipeline(workflow_name="x"),
    "image:pull_policy": pipeline(x(image=Image(name="i", pull_policy=("always",)))),
    "cache:unprotect": pipeline(x(cache=(Cache(key="k", unprotect=True),))),
    "cache:fallback_keys": pipeline(x(cache=(Cache(key="k", fallback_keys=("l",)),))),
    "artifacts:reports:annotations": pipeline(x(artifacts=Artifacts(reports=Reports(annotations="a.json")))),
    "default:id_tokens": pipeline(default=Default(id_tokens={"A": IdToken(aud="x")})),
    "environment on a trigger job": pipeline(bridge(environment=Environment(name="e"))),
    "image:docker:user": pipeline(x(image=Image(name="i", docker=ImageUser(user="root")))),
    "interruptible on a trigger job": pipeline(bridge(interruptible=True)),
    "workflow:auto_cancel:on_new_commit": pipeline(auto_cancel_on_new_commit="none"),
    "workflow:auto_cancel:on_job_failure": pipeline(auto_cancel_on_job_failure="all"),
    "artifacts:access": pipeline(x(artifacts=Artifacts(access="none"))),
    "manual_confirmation": pipeline(manual(manual_confirmation="Sure?")),
    "retry:exit_codes": pipeline(x(retry=Retry(max=1, exit_codes=(75,)))),
    "trigger:forward": pipeline(bridge(trigger=trigger(forward=Forward(pipeline_variables=True)))),
    "trigger:include:inputs": pipeline(
        bridge(trigger=Trigger(include=(Include(artifact="c.yml", job="summary", inputs={"a": "b"}),)))
    ),
    "image:kubernetes:user": pipeline(x(image=Image(name="i", kubernetes=ImageUser(user="1000")))),
    "trigger:strategy: mirror": pipeline(bridge(trigger=trigger(strategy="mirror"))),
    "manual_confirmation on a stop job": pipeline(
        manual(manual_confirmation="Sure?", environment=Environment(name="e", action="stop"))
    ),
    "artifacts:access: maintainer": pipeline(x(artifacts=Artifacts(access="maintainer"))),
    "variables in environment:deployment_tier": pipeline(
        x(environment=Environment(name="e", action="verify", deployment_tier="$T"))
    ),
}


@pytest.mark.parametrize("ability", USES)
def test_a_keyword_is_refused_one_version_too_early_and_not_later(ability: str) -> None:
    major, minor = SINCE[ability]
    early = f"{major}.{minor - 1}" if minor else f"{major - 1}.99"
    told = [one.message for one in verify(USES[ability], Limits(), early) if one.rule == "L25"]
    assert any(message.startswith(f"{ability} needs GitLab {major}.{minor}") for message in told)
    assert not any(one.rule == "L25" for one in verify(USES[ability], Limits(), f"{major}.{minor}"))


def test_every_keyword_of_the_table_is_looked_for() -> None:
    beyond_the_model = {
        "needs:parallel:matrix",
        "reports of child pipelines in merge requests",
        "CI_COMMIT_DEFAULT_BRANCH_BASE_SHA",
    }
    assert PIPELINE_USES.keys() | JOB_USES.keys() == SINCE.keys() - beyond_the_model
    assert USES.keys() == PIPELINE_USES.keys() | JOB_USES.keys()
