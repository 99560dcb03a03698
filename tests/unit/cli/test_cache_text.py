"""How differences and caches look."""

from __future__ import annotations

from pipelinegen.cache.attic.protocol import CacheSettings
from pipelinegen.cache.provisioning.info import CacheInfo, Finding, TokenReport
from pipelinegen.cache.provisioning.provision import make_plan
from pipelinegen.cli.cache_text import info_lines, plan_lines, plan_summary
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.console import Console

SERVER = CacheSettings(
    is_public=False, store_dir="/nix/store", priority=41, upstream_cache_key_names=("a-1", "b-1"), retention=86400
)


def config(**settings: object) -> CacheConfig:
    given = {"url": "https://cache/ci", "backend": "attic", "writers": "protected", **settings}
    return CacheConfig.model_validate(given)


def test_a_difference_has_a_sign_for_each_setting_and_each_name_of_a_list() -> None:
    plan = make_plan("ci", config(priority=30, upstream_keys=["b-1", "c-1"], retention="forever"), SERVER)
    assert plan_lines(plan, lambda text, _: text) == [
        "~ ci  https://cache/ci  to be changed",
        "    ~ priority       41 -> 30",
        "    ~ upstream_keys",
        "        - a-1",
        "        + c-1",
        "    ~ retention      1 day -> for ever",
        "      (turns collecting by age off: nothing is deleted, and the storage grows without bound)",
        "      (not configured, so left: public no)",
    ]


def test_signs_are_coloured() -> None:
    plan = make_plan("ci", config(upstream_keys=["b-1", "c-1"]), SERVER)
    text = "\n".join(plan_lines(plan, Console(colour=True).style))
    assert "\x1b[31m-\x1b[0m a-1" in text
    assert "\x1b[32m+\x1b[0m c-1" in text
    assert "\x1b[33m~\x1b[0m" in text


def test_the_summary_counts() -> None:
    plans = [
        make_plan("a", config(), None),
        make_plan("b", config(priority=1), SERVER),
        make_plan("c", config(), SERVER),
    ]
    assert plan_summary(plans) == "1 to create, 1 to change, 1 as configured"


def test_names_that_a_server_tells_cannot_move_the_cursor() -> None:
    hostile = SERVER.model_copy(update={"upstream_cache_key_names": ("\x1b[2J\nforged", "b-1")})
    for configured in ({"upstream_keys": ["b-1"]}, {"priority": 1}):
        text = "\n".join(plan_lines(make_plan("ci", config(**configured), hostile), lambda text, _: text))
        assert "\x1b" not in text
        assert "\nforged" not in text


def test_a_cache_is_shown_with_its_tokens_and_findings() -> None:
    info = CacheInfo(
        name="ci",
        url="https://cache/ci",
        push_url="https://push/ci",
        writers=WriterClass.UNPROTECTED,
        backend="attic",
        publish=False,
        tokens=(
            TokenReport(purpose="reading", source="variable A", permissions=("pull",), until="for ever"),
            TokenReport(purpose="pushing", source="file b", readable=False, accepted=False),
        ),
        findings=(Finding(exit_code=4, message="no", hint="do"), Finding(exit_code=0, message="well")),
    )
    assert info.exit_code == 4
    assert info_lines(info, lambda text, _: text) == [
        "ci",
        "  url           https://cache/ci",
        "  pushes go to  https://push/ci",
        "  writers       unprotected: any pipeline, merge requests too",
        "  backend       attic",
        "  token         for reading, from variable A: pull, for ever",
        "  token         for pushing, from file b: it cannot be read here; the server does not accept it",
        "  error: no",
        "    hint do",
        "  warning: well",
    ]
