"""Which names of a configuration are secrets of which stage, and that no generated pipeline gives one to a build."""

from __future__ import annotations

from typing import Any

import pytest

from pipelinegen.config_file import parse
from pipelinegen.errors import VerificationError
from pipelinegen.job_names import per_cache
from pipelinegen.pipeline.secret_names import NO_SECRETS, Secrets, pattern
from pipelinegen.plan.model import Stage
from pipelinegen.testing import render_pipeline
from tests.factory import Fleet

ATTIC = {"backend": "attic", "writers": "protected"}
CACHES: dict[str, dict[str, Any]] = {
    "ci": {**ATTIC, "url": "https://a.example/ci", "token_env": "CI_READ", "push_token_env": "CI_PUSH"},
    "mr": {**ATTIC, "writers": "unprotected", "url": "https://a.example/mr", "token_file": "$MR_TOKEN"},
    "public": {
        **ATTIC,
        "url": "https://a.example/public",
        "publish": True,
        "token_env": "PUBLIC_READ",
        "push_token_env": "PUBLIC_PUSH",
    },
    "single": {**ATTIC, "url": "https://a.example/single", "publish": True, "token_env": "SINGLE"},
    "plain": {
        "url": "https://b.example/plain",
        "writers": "protected",
        "publish": True,
        "secret_key_file": "$SIGN",
        "netrc_file": "/run/netrc",
    },
    "handed": {"url": "https://b.example/handed", "writers": "protected", "secret_key_file": "/run/ci.sec"},
}
HOSTS = {
    "web1": {"address": "web1"},
    "web2": {"address": "web2", "ssh_key_file": "keys/deploy"},
    "web3": {"address": "web3", "ssh_key_env": "WEB3_KEY"},
}


def test_publish_and_deploy_secrets_are_known_by_their_stage() -> None:
    secrets = Secrets.of(parse({"caches": CACHES, "hosts": HOSTS}))
    assert secrets.of_stage == {
        Stage.PUSH: ("PUBLIC_PUSH", "SIGN", "SINGLE"),
        Stage.DEPLOY: ("DEPLOY_SSH_KEY", "WEB3_KEY", "keys/deploy"),
    }
    assert secrets.others == ("/run/ci.sec", "/run/netrc", "CI_PUSH", "CI_READ", "MR_TOKEN", "PUBLIC_READ")
    assert secrets.shared == ()
    both = (*secrets.of_stage[Stage.PUSH], *secrets.of_stage[Stage.DEPLOY])
    assert secrets.kept_from("build") == (*both, "OP_CONNECT_TOKEN", "OP_SERVICE_ACCOUNT_TOKEN")
    assert secrets.kept_from("push") == secrets.of_stage[Stage.DEPLOY]


def test_without_caches_and_hosts_there_is_nothing_to_keep() -> None:
    assert Secrets.of(parse({})) == NO_SECRETS
    assert pattern(NO_SECRETS.all) is None


@pytest.mark.parametrize(
    ("token", "environment", "shared"),
    [
        ({"token_file": "/run/token"}, "publish", ("/run/token",)),
        ({"token_env": "TOKEN"}, "publish", ()),
        ({"token_env": "TOKEN"}, "", ("TOKEN",)),
    ],
    ids=["one file", "a variable that may be scoped", "a variable that cannot be scoped"],
)
def test_one_secret_for_builds_and_for_publishing_is_told(
    token: dict[str, str], environment: str, shared: tuple[str, ...]
) -> None:
    caches = {name: {**ATTIC, "url": f"https://a.example/{name}", **token} for name in ("ci", "public")}
    caches["public"]["publish"] = True  # type: ignore[assignment]
    secrets = Secrets.of(parse({"caches": caches, "gitlab": {"publish_environment": environment}}))
    assert secrets.shared == shared
    assert secrets.of_stage == {}


def render(**gitlab: Any) -> str:
    made = Fleet()
    made.package("hello", made.drv("hello"))
    made.host("web1", made.drv("system"))
    hosts = {"web1": {"address": "web1"}}
    handoff = {"mode": "cache", "protected": "ci", "unprotected": "mr"}
    return render_pipeline(
        made.recording(), config=parse({"caches": CACHES, "hosts": hosts, "handoff": handoff, "gitlab": gitlab})
    )


def test_a_generated_pipeline_names_no_secret_at_all() -> None:
    text = render()
    secrets = Secrets.of(parse({"caches": CACHES, "hosts": HOSTS}))
    found = pattern(secrets.all)
    assert found is not None
    assert not found.search(text)
    assert found.search("echo $SINGLE"), "it would be found"


@pytest.mark.parametrize(
    "settings",
    [
        {"before_script": ["attic login main https://a.example $PUBLIC_PUSH"]},
        {"before_script": ["true", "eval $(ssh-agent); ssh-add ${DEPLOY_SSH_KEY}"]},
        {"command": "env TOKEN=$SINGLE pipelinegen"},
        {"image": "registry.example/$SIGN/ci"},
    ],
    ids=["a publish token in a setup line", "a deploy key in a setup line", "in the command", "in the image"],
)
def test_a_configuration_that_gives_builds_a_secret_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as caught:
        render(**settings)
    assert any(finding.startswith("S02: build packages.x86_64-linux.hello: names") for finding in caught.value.findings)


def test_a_longer_name_is_told_from_its_beginning() -> None:
    found = pattern(["/run/key", "/run/key.old"])
    assert found is not None
    match = found.search("cat /run/key.old")
    assert match is not None
    assert match[0] == "/run/key.old"


def test_the_first_cache_has_the_plain_name_and_others_their_own() -> None:
    assert per_cache("junit.xml", ["a", "b+c"]) == ("junit.xml", "junit-b+c.xml")
    assert per_cache("out.d/push.json", ["a", "b"]) == ("out.d/push.json", "out.d/push-b.json")
    assert per_cache("x", []) == ()
