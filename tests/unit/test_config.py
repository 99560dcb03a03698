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
