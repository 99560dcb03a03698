"""Which tokens a configuration asks for, and the lines that make them."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.cache.provisioning.grant_lines import script, shared_variables
from pipelinegen.cache.provisioning.grants import Grant, Role, Variable, grants
from pipelinegen.config import Config

A = "https://cache.example.org/"
CI_MAIN: dict[str, Any] = {"backend": "attic", "url": f"{A}ci-main", "writers": "protected", "token_env": "CI_MAIN"}
CI_MR: dict[str, Any] = {"backend": "attic", "url": f"{A}ci-mr", "writers": "unprotected", "token_file": "$CI_MR"}
PROD: dict[str, Any] = {
    "backend": "attic",
    "url": f"{A}prod",
    "writers": "protected",
    "publish": True,
    "token_env": "READ",
    "push_token_env": "PUBLISH",
}
HANDOFF = {"mode": "cache", "protected": "ci-main", "unprotected": "ci-mr"}


def config(*, handoff: dict[str, Any] | None = None, gitlab: dict[str, Any] | None = None, **caches: Any) -> Config:
    named = {name.replace("_", "-"): cache for name, cache in caches.items()}
    return Config.model_validate({"caches": named, "handoff": handoff or {}, "gitlab": gitlab or {}})


USUAL = config(handoff=HANDOFF, ci_main=CI_MAIN, ci_mr=CI_MR, prod=PROD)


def by_role(configuration: Config) -> dict[Role, Grant]:
    found = grants(configuration)
    assert len({grant.role for grant in found}) == len(found)
    return {grant.role: grant for grant in found}


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        (Role.PEOPLE, {"prod": "pull"}),
        (Role.READING, {"ci-main": "pull", "ci-mr": "pull", "prod": "pull"}),
        (Role.UNPROTECTED, {"ci-main": "pull", "ci-mr": "pull push", "prod": "pull"}),
        (Role.PROTECTED, {"ci-main": "pull push", "prod": "pull"}),
        (Role.PUBLISHING, {"prod": "pull push"}),
        (
            Role.ADMINISTRATION,
            dict.fromkeys(("ci-main", "ci-mr", "prod"), "pull create-cache configure-cache configure-cache-retention"),
        ),
    ],
    ids=[role.value for role in Role],
)
def test_each_role_gets_what_it_needs_and_no_more(role: Role, rights: dict[str, str]) -> None:
    assert {cache: " ".join(words) for cache, words in by_role(USUAL)[role].rights} == rights


def test_nobody_but_the_jobs_of_merge_requests_may_push_where_they_push() -> None:
    pushing = {
        cache: [
            grant.role for grant in grants(USUAL) for name, words in grant.rights if name == cache and "push" in words
        ]
        for cache in ("ci-main", "ci-mr", "prod")
    }
    assert pushing == {"ci-main": [Role.PROTECTED], "ci-mr": [Role.UNPROTECTED], "prod": [Role.PUBLISHING]}


@pytest.mark.parametrize(
    ("role", "variables"),
    [
        (Role.PEOPLE, ()),
        (Role.READING, (Variable("READ", file=False, protected=False),)),
        (Role.UNPROTECTED, (Variable("CI_MR", file=True, protected=False),)),
        (Role.PROTECTED, (Variable("CI_MAIN", file=False, protected=True),)),
        (Role.PUBLISHING, (Variable("PUBLISH", file=False, protected=True, scope="publish"),)),
        (Role.ADMINISTRATION, ()),
    ],
    ids=[role.value for role in Role],
)
def test_each_token_goes_where_only_its_jobs_see_it(role: Role, variables: tuple[Variable, ...]) -> None:
    assert by_role(USUAL)[role].variables == variables


def test_a_token_that_only_pushes_is_no_password_and_so_need_not_read_everything() -> None:
    split = {**CI_MAIN, "push_token_env": "CI_MAIN_PUSH"}
    found = by_role(config(handoff=HANDOFF, ci_main=split, ci_mr=CI_MR, prod=PROD))
    assert found[Role.PROTECTED].rights == (("ci-main", ("pull", "push")),)
    assert found[Role.PROTECTED].variables == (Variable("CI_MAIN_PUSH", file=False, protected=True),)
    assert Variable("CI_MAIN", file=False, protected=False) in found[Role.READING].variables


def test_the_one_token_of_a_publish_cache_reads_everything_since_nix_sends_one_password_per_host() -> None:
    one = {key: value for key, value in PROD.items() if key != "push_token_env"} | {"token_env": "PROD"}
    more = {**CI_MAIN, "url": f"{A}more", "token_env": None}
    found = by_role(config(handoff=HANDOFF, ci_main=CI_MAIN, ci_mr=CI_MR, prod=one, more=more))
    assert dict(found[Role.PUBLISHING].rights) == {
        "ci-main": ("pull",),
        "more": ("pull",),
        "prod": ("pull", "push"),
    }
    assert Role.READING not in found


def test_each_server_has_tokens_of_its_own_and_those_of_others_are_not_ours_to_make() -> None:
    elsewhere = {**PROD, "url": "https://far.example.org/attic/prod"}
    foreign = {"backend": "attic", "url": "https://theirs.example.org/theirs", "token_env": "THEIRS"}
    plain = {"url": "https://d.example.org", "writers": "protected"}
    found = grants(config(handoff=HANDOFF, ci_main=CI_MAIN, ci_mr=CI_MR, prod=elsewhere, theirs=foreign, plain=plain))
    assert [(grant.server, grant.role) for grant in found] == [
        (A, Role.PEOPLE),
        (A, Role.UNPROTECTED),
        (A, Role.PROTECTED),
        (A, Role.ADMINISTRATION),
        ("https://far.example.org/attic/", Role.PEOPLE),
        ("https://far.example.org/attic/", Role.READING),
        ("https://far.example.org/attic/", Role.PUBLISHING),
        ("https://far.example.org/attic/", Role.ADMINISTRATION),
    ]


def test_public_caches_need_no_token_for_people() -> None:
    assert Role.PEOPLE not in by_role(config(prod={**PROD, "public": True}))


def test_names_on_the_server_count_not_those_of_the_configuration() -> None:
    found = by_role(config(prod={**PROD, "url": f"{A}other-name"}))
    assert found[Role.PUBLISHING].rights == (("other-name", ("pull", "push")),)
    assert found[Role.PUBLISHING].caches == ("prod",)


def test_the_line_names_every_cache_exactly_and_is_quoted_for_a_shell() -> None:
    line = by_role(USUAL)[Role.PUBLISHING].command(["ssh", "root@cache", "/bin/my atticadm"])
    assert shlex.split(line) == [
        *("ssh", "root@cache", "/bin/my atticadm", "make-token", "--sub", "pipelinegen-publish"),
        *("--validity", "90days", "--pull", "prod", "--push", "prod"),
    ]
    assert not any("*" in grant.command(["atticadm"]) for grant in grants(USUAL))


def test_the_script_is_sound_for_a_shell_and_says_where_each_token_goes() -> None:
    lines = script(grants(USUAL), ["atticadm"])
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands == [grant.command(["atticadm"]) for grant in grants(USUAL)]
    text = "\n".join(lines)
    assert "takes one entry of a token for a cache and merges none" in text
    assert "atticd-atticadm" in text
    assert "variable PUBLISH: masked and hidden, protected, environment scope publish" in text
    assert "variable CI_MR: type File, masked and hidden, not protected" in text


def test_on_nixos_the_script_does_not_say_what_the_command_is_there() -> None:
    assert not any("On NixOS" in line for line in script(grants(USUAL), ["atticd-atticadm"]))


def test_without_an_environment_the_script_says_that_building_jobs_see_the_publish_token() -> None:
    open_to_all = config(prod=PROD, gitlab={"publish_environment": ""})
    assert "all environments" in "\n".join(script(grants(open_to_all), ["atticadm"]))


@pytest.mark.parametrize(
    ("caches", "words"),
    [
        (
            {"ci_main": {**CI_MAIN, "token_env": "ONE"}, "prod": {**PROD, "push_token_env": "ONE"}},
            "who builds could publish",
        ),
        ({"ci_main": CI_MAIN, "prod": PROD, "far": {**PROD, "url": "https://far.example.org/far"}}, "of 2 servers"),
    ],
    ids=["building and publishing", "two servers"],
)
def test_a_variable_that_would_have_to_hold_two_tokens_is_told(caches: dict[str, Any], words: str) -> None:
    handoff = {role: name for role, name in HANDOFF.items() if role == "mode" or name.replace("-", "_") in caches}
    sentences = shared_variables(grants(config(handoff=handoff, **caches)))
    assert any(words in sentence for sentence in sentences), sentences


def test_the_documentation_shows_a_line_that_its_configuration_gives() -> None:
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "use-an-attic-cache.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    printed = script(grants(Config.model_validate(tomllib.loads(block))), ["atticadm"])
    (shown,) = re.findall(r"\$ pipelinegen cache token\n…\n(.*?)```", page, re.DOTALL)
    assert shown in "\n".join(printed) + "\n"


def test_the_usual_variables_hold_one_token_each() -> None:
    assert shared_variables(grants(USUAL)) == []


def test_a_token_that_is_read_by_a_reference_goes_to_1password() -> None:
    prod = {**PROD, "token_env": None, "push_token_env": None}
    prod |= {"token_file": "op://read/it/token", "push_token_file": "op://publish/it/token"}
    main = {**CI_MAIN, "token_env": None, "token_file": "op://jobs/ci/token"}
    found = by_role(config(handoff={"mode": "cache", "protected": "ci-main"}, ci_main=main, prod=prod))
    places = {role: grant.places for role, grant in found.items()}
    assert places[Role.READING] == ("1Password, where op://read/it/token leads",)
    assert places[Role.PUBLISHING] == ("1Password, where op://publish/it/token leads",)
    assert places[Role.PROTECTED] == ("1Password, where op://jobs/ci/token leads",)
