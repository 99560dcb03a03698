"""The configuration: found, checked as a whole, never half believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelinegen import config_file
from pipelinegen.cache.trust import PipelineClass, handoff_cache, trusted_caches
from pipelinegen.errors import ConfigError


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"hots": {}}, "did you mean 'hosts'"),
        ({"evaluation": {"timeuot": 1}}, "did you mean 'timeout'"),
        ({"caches": {"a": {"url": "nonsense"}}}, "no store URL"),
        ({"caches": {"a": {"url": "https://user:password@example.org"}}}, "netrc"),
        ({"caches": {"a": {"url": "https://token@example.org"}}}, "netrc"),
        ({"caches": {"a/b": {"url": "file:///c"}}}, "no cache name"),
        ({"caches": {"a": {"url": "file:///c", "publish": True}}}, "protected"),
        ({"handoff": {"mode": "cache"}}, "needs handoff.protected"),
        ({"handoff": {"mode": "cache", "protected": "x"}}, "there is no cache 'x'"),
        (
            {"handoff": {"protected": "a"}, "caches": {"a": {"url": "file:///c", "writers": "unprotected"}}},
            'must have writers = "protected"',
        ),
        ({"hosts": {"a": {"address": "x", "port": 0}}}, "greater than 0"),
        ({"hosts": {"a": {"address": "-oProxyCommand=x"}}}, "address"),
        ({"hosts": {"a": {"address": "x", "confirm_timeout": "0 seconds"}}}, "confirm_timeout: expected more than no"),
        ({"fleet": {"wave": 5}}, 'fleet.wave: expected a number of hosts such as "5"'),
        ({"hosts": {"a": {"address": "x", "activation_timeout": "0"}}}, "activation_timeout: expected more than no"),
        ({"tests": [{"name": "a", "command": "x"}, {"name": "a", "command": "y"}]}, "one name"),
        ({"tests": [{"name": "a", "command": "x", "timeout": "soon"}]}, "duration"),
        ({"include": ["a..b"]}, "no attribute path"),
        ({"gitlab": {"version": "new"}}, "version"),
    ],
)
def test_mistakes_are_named(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_file.parse(table)
    assert words in str(caught.value.why)


def test_all_mistakes_are_listed_together() -> None:
    with pytest.raises(ConfigError) as caught:
        config_file.parse({"hots": {}, "exclud": [], "gitlab": {"max_jobs": "many"}})
    assert len(caught.value.problems) == 3


def test_the_closest_file_counts_up_to_the_top_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "pipelinegen.toml").write_text("flake_check = true\n")
    repository = tmp_path / "repository"
    flake = repository / "nix" / "flake"
    flake.mkdir(parents=True)
    (repository / ".git").mkdir()
    assert config_file.load(flake).file is None, "a file above the repository is somebody else's"
    (repository / "pyproject.toml").write_text("[tool.pipelinegen]\nflake_check = true\n")
    assert config_file.load(flake).config.flake_check
    (flake / "pipelinegen.toml").write_text("")
    assert not config_file.load(flake).config.flake_check, "nothing is merged"


@pytest.mark.parametrize("content", ["a = ", "[x", b"\xff\xfe"])
def test_a_torn_file_is_an_error_not_a_default(tmp_path: Path, content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "pipelinegen.toml").write_bytes(data)
    with pytest.raises(ConfigError):
        config_file.load(tmp_path)


def test_a_protected_pipeline_trusts_no_cache_that_anybody_can_write() -> None:
    caches = {
        "mine": {"url": "file:///a", "writers": "protected"},
        "any": {"url": "file:///b", "writers": "unprotected"},
        "up": {"url": "file:///c"},
    }
    parsed = config_file.parse(
        {"caches": caches, "handoff": {"mode": "cache", "protected": "mine", "unprotected": "any"}}
    )
    assert list(trusted_caches(parsed, PipelineClass.PROTECTED)) == ["mine", "up"]
    assert list(trusted_caches(parsed, PipelineClass.UNPROTECTED)) == ["any", "mine", "up"]
    assert handoff_cache(parsed, PipelineClass.PROTECTED) == "mine"
    assert handoff_cache(parsed, PipelineClass.UNPROTECTED) == "any"


def attic(name: str, **settings: object) -> dict[str, object]:
    return {"backend": "attic", "url": f"https://c.example/{name}", **settings}


def test_merge_requests_and_main_do_not_push_with_one_token() -> None:
    caches = {
        "any": attic("any", writers="unprotected", token_env="TOKEN"),
        "main": attic("main", writers="protected", token_env="TOKEN"),
    }
    with pytest.raises(ConfigError, match="mistake") as raised:
        config_file.parse({"caches": caches})
    assert "a token of its own" in (raised.value.why or "")
    caches["main"]["push_token_env"] = "MAIN_TOKEN"
    config_file.parse({"caches": caches})


def prod(**settings: object) -> dict[str, object]:
    return attic("prod", **{"writers": "protected", "publish": True, "push_token_env": "PROD", **settings})


@pytest.mark.parametrize(
    ("closed", "opened"),
    [
        (prod(), attic("any", writers="unprotected", url="https://C.example/prod")),
        (prod(), attic("any", writers="unprotected", url="https://c.example:443/prod/")),
        (prod(), attic("any", writers="unprotected", url="http://c.example./prod")),
        (prod(), attic("any", writers="unprotected", push_url="https://c.example//x/../prod")),
        (prod(push_url="http://inside.example:8080/prod"), attic("x", push_url="http://inside.example:8080/prod/")),
        ({"url": "https://c.example/x?priority=10"}, {"url": "https://c.example/x"}),
        ({"url": "file:///srv/%78"}, {"url": "/srv//x/"}),
        ({"url": "ssh://h.example"}, {"url": "ssh-ng://root@H.example?compress=true"}),
    ],
    ids=["case", "port", "scheme", "path", "push address", "settings", "folder", "ssh"],
)
def test_a_cache_that_merge_requests_write_to_is_no_other_cache_under_another_spelling(
    closed: dict[str, object], opened: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="mistake") as raised:
        config_file.parse({"caches": {"closed": closed, "any": {**opened, "writers": "unprotected"}}})
    assert "one URL for both" in (raised.value.why or "")


@pytest.mark.parametrize(
    ("closed", "opened"),
    [
        ("https://c.example/prod", "https://c.example/any"),
        ("https://c.example/prod", "https://c.example:8443/prod"),
        ("s3://bucket?endpoint=one.example", "s3://bucket?endpoint=two.example"),
        ("ssh://h.example?remote-store=/a", "ssh://h.example?remote-store=/b"),
    ],
    ids=["path", "port", "endpoint", "remote store"],
)
def test_caches_in_different_places_are_different(closed: str, opened: str) -> None:
    caches = {"closed": {"url": closed, "writers": "protected"}, "any": {"url": opened, "writers": "unprotected"}}
    config_file.parse({"caches": caches})


@pytest.mark.parametrize(
    ("closed", "opened"),
    [
        (attic("prod", token_env="T"), attic("any", token_env="T", push_token_env="U")),
        (attic("prod", token_file="$T"), attic("any", token_env="T", push_token_env="U")),
        ({"url": "https://c.example/prod", "netrc_file": "$N"}, {"url": "https://c.example/any", "netrc_file": "$N"}),
        ({"url": "file:///prod", "secret_key_file": "$K"}, {"url": "file:///any", "secret_key_file": "$K"}),
    ],
    ids=["reads with it", "variable of either type", "netrc file", "signing key"],
)
def test_nothing_that_merge_requests_have_writes_where_they_must_not(
    closed: dict[str, object], opened: dict[str, object]
) -> None:
    caches = {"closed": {**closed, "writers": "protected"}, "any": {**opened, "writers": "unprotected"}}
    with pytest.raises(ConfigError, match="mistake") as raised:
        config_file.parse({"caches": caches})
    assert "would also write to 'closed'" in (raised.value.why or "")
    caches["closed"]["writers"] = "upstream"
    config_file.parse({"caches": caches})


def test_reading_two_caches_with_one_netrc_file_is_fine_where_it_writes_to_neither() -> None:
    caches = {
        "closed": {"url": "https://c.example/x", "push_url": "ssh://c.example", "netrc_file": "$N"},
        "any": {"url": "https://c.example/any", "netrc_file": "$N", "writers": "unprotected"},
    }
    config_file.parse({"caches": {**caches, "closed": {**caches["closed"], "writers": "protected"}}})


@pytest.mark.parametrize(
    "handed", [attic("prod", url="https://c.example:443/prod"), attic("ci", push_url="http://c.example/prod")]
)
def test_what_build_jobs_leave_is_not_published_under_another_name_either(handed: dict[str, object]) -> None:
    caches = {"public": prod(), "main": {**handed, "writers": "protected", "token_env": "MAIN"}}
    with pytest.raises(ConfigError, match="mistake") as raised:
        config_file.parse({"caches": caches, "handoff": {"mode": "cache", "protected": "main"}})
    assert "published before any test" in (raised.value.why or "")


@pytest.mark.parametrize(
    "table",
    [
        {"backend": "attic", "url": "file:///cache"},
        {"backend": "attic", "url": "https://c.example/"},
        {"backend": "attic", "url": "https://c.example/a.b"},
        {"backend": "attic", "url": "https://c.example/ci?x=1"},
        {"backend": "attic", "url": "https://c.example/ci", "netrc_file": "/netrc"},
        {"backend": "attic", "url": "https://c.example/ci", "token_env": "A", "token_file": "/b"},
        {"backend": "attic", "url": "https://c.example/ci", "token_env": "not a name"},
        {"backend": "attic", "url": "https://c.example/ci", "warm": ["**"]},
        {"url": "https://c.example/ci", "token_env": "A"},
        {"url": "https://c.example/ci", "retention": "1 day"},
        {"url": "https://c.example/ci https://d.example/ci"},
        {"url": "https://c.example/ci\nsandbox = false"},
        {"url": "https://c.example/ci", "public_key": ""},
        {"url": "https://c.example/ci", "public_key": "ci:AAAA AAAA"},
    ],
    ids=[
        *(
            "file",
            "no name",
            "bad name",
            "query",
            "netrc",
            "two tokens",
            "bad variable",
            "warm",
            "nix token",
            "nix age",
        ),
        *("two addresses", "two lines", "empty key", "key without a name"),
    ],
)
def test_settings_that_make_no_sense_for_a_backend_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        config_file.parse({"caches": {"ci": table}})


def test_what_build_jobs_leave_is_not_published_by_that() -> None:
    caches = {"main": {"url": "file:///c", "writers": "protected", "publish": True}}
    with pytest.raises(ConfigError, match="mistake") as raised:
        config_file.parse({"caches": caches, "handoff": {"mode": "cache", "protected": "main"}})
    assert "published before any test" in (raised.value.why or "")


@pytest.mark.parametrize("host", [{"publish": {}}, {"web": {"environment": "publish"}}], ids=["name", "environment"])
def test_pushes_and_deployments_do_not_share_an_environment(host: dict[str, dict[str, str]]) -> None:
    hosts = {name: {"address": "h", **settings} for name, settings in host.items()}
    with pytest.raises(ConfigError, match="mistake") as raised:
        config_file.parse({"hosts": hosts})
    assert "publish_environment" in (raised.value.why or "")
    config_file.parse({"hosts": hosts, "gitlab": {"publish_environment": "caches"}})


def test_of_two_keys_with_one_name_nix_would_believe_one() -> None:
    caches = {name: {"url": f"file:///{name}", "public_key": "ci:AAAA"} for name in ("one", "two")}
    config_file.parse({"caches": caches})
    caches["two"]["public_key"] = "other:CCCC ci:BBBB"
    with pytest.raises(ConfigError, match="mistake") as raised:
        config_file.parse({"caches": caches})
    assert "believes only the first" in (raised.value.why or "")
