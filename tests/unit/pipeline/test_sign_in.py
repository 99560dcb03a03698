"""Who may have the key to 1Password: what is known of it from a configuration and a job's variables."""

from __future__ import annotations

from typing import Any

import pytest

from pipelinegen.config_file import parse
from pipelinegen.errors import VerificationError
from pipelinegen.pipeline.secret_names import Secrets
from pipelinegen.pipeline.sign_in import out_of_scope
from pipelinegen.testing import render_pipeline
from tests.factory import Fleet

ACCOUNT = "OP_SERVICE_ACCOUNT_TOKEN"
PUBLISH = "op://publish/Attic/token"
READ = "op://ci/Attic/read"
KEY = "op://deploy/SSH/private key?ssh-format=openssh"
HELD = {ACCOUNT: "ops_x"}


def config(*, read: dict[str, str], push: dict[str, str], environment: str = "publish", key: str = "$KEY") -> Any:
    cache = {"backend": "attic", "writers": "protected", "publish": True, "url": "https://a.example/public"}
    return parse(
        {
            "caches": {"public": {**cache, **read, **push}},
            "hosts": {"web1": {"address": "web1", "ssh_key_file": key}},
            "gitlab": {"publish_environment": environment},
        }
    )


READ_BY_VARIABLE = {"token_env": "READ"}
PUSH_BY_VARIABLE = {"push_token_env": "PUSH"}
PUSH_BY_REFERENCE = {"push_token_file": PUBLISH}
READ_BY_REFERENCE = {"token_file": READ}


def test_no_build_may_name_the_service_account_where_something_is_published_or_deployed() -> None:
    secrets = Secrets.of(config(read=READ_BY_VARIABLE, push=PUSH_BY_VARIABLE))
    assert ACCOUNT in secrets.kept_from("build")
    assert ACCOUNT in secrets.kept_from("test")
    assert ACCOUNT not in secrets.kept_from("push")
    assert ACCOUNT not in secrets.kept_from("deploy")
    assert ACCOUNT in secrets.all
    assert PUBLISH not in secrets.all


def test_where_builds_read_references_they_have_a_service_account_of_their_own() -> None:
    secrets = Secrets.of(config(read=READ_BY_REFERENCE, push=PUSH_BY_REFERENCE))
    assert ACCOUNT not in secrets.kept_from("build")
    assert PUBLISH in secrets.kept_from("build")
    assert READ not in secrets.kept_from("build")
    assert secrets.shared == ()


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({"read": READ_BY_REFERENCE, "push": PUSH_BY_REFERENCE}, ("OP_CONNECT_TOKEN", ACCOUNT)),
        ({"read": READ_BY_REFERENCE, "push": PUSH_BY_VARIABLE}, ()),
        ({"read": READ_BY_VARIABLE, "push": PUSH_BY_REFERENCE}, ()),
        ({"read": {"token_file": PUBLISH}, "push": PUSH_BY_REFERENCE}, ("OP_CONNECT_TOKEN", ACCOUNT, PUBLISH)),
    ],
    ids=["both by references", "publishing by a variable", "reading by a variable", "one reference for both"],
)
def test_one_service_account_for_builds_and_pushes_is_told_where_pushes_have_no_environment(
    settings: dict[str, Any], shared: tuple[str, ...]
) -> None:
    assert Secrets.of(config(**settings, environment="")).shared == shared


@pytest.mark.parametrize(
    "settings",
    [
        {"before_script": [f"export {ACCOUNT}=$(cat /run/account)"]},
        {"before_script": [f"op read '{PUBLISH}' > token"]},
        {"command": f"env {ACCOUNT}=$CI_ACCOUNT pipelinegen"},
    ],
    ids=["the account in a setup line", "a publish reference in a setup line", "the account in the command"],
)
def test_a_pipeline_whose_builds_could_read_what_publishes_is_refused(settings: dict[str, Any]) -> None:
    made = Fleet()
    made.package("hello", made.drv("hello"))
    made.host("web1", made.drv("system"))
    caches = config(read=READ_BY_VARIABLE, push=PUSH_BY_REFERENCE).model_dump(mode="json", exclude_unset=True)
    with pytest.raises(VerificationError) as caught:
        render_pipeline(made.recording(), config=parse({**caches, "gitlab": settings}))
    assert any(finding.startswith("S02: build packages.x86_64-linux.hello: names") for finding in caught.value.findings)


def test_a_service_account_in_a_job_that_builds_and_needs_none_is_out_of_scope() -> None:
    found = out_of_scope(config(read=READ_BY_VARIABLE, push=PUSH_BY_REFERENCE, key=KEY), HELD)
    assert found is not None
    assert found.variable == ACCOUNT
    assert found.opened == (KEY, PUBLISH)
    assert found.sentence.startswith("jobs that evaluate and build have OP_SERVICE_ACCOUNT_TOKEN, which opens op://")


@pytest.mark.parametrize(
    "environment",
    [{}, {ACCOUNT: ""}, {**HELD, "READ": READ}, {**HELD, "PIPELINEGEN_TOKEN": "op://ci/GitLab/token"}],
    ids=["not there", "empty", "reading takes a reference", "GitLab's token is a reference"],
)
def test_where_it_is_absent_or_needed_nothing_is_said(environment: dict[str, str]) -> None:
    assert out_of_scope(config(read=READ_BY_VARIABLE, push=PUSH_BY_REFERENCE), environment) is None


def test_where_only_other_jobs_could_hold_references_it_is_a_doubt() -> None:
    found = out_of_scope(config(read=READ_BY_VARIABLE, push=PUSH_BY_VARIABLE), HELD)
    assert found is not None
    assert found.opened == ()


def test_a_file_variable_may_hold_a_reference_so_it_is_a_doubt() -> None:
    settings = config(read={"token_file": "$READ"}, push=PUSH_BY_REFERENCE)
    found = out_of_scope(settings, {**HELD, "READ": "/builds/x.tmp/READ"})
    assert found is not None
    assert found.opened == ()


def test_without_anything_to_publish_or_deploy_there_is_nothing_to_protect() -> None:
    assert out_of_scope(parse({}), HELD) is None
    assert Secrets.of(parse({})).sign_in == ()
