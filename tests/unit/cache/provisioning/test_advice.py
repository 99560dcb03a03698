"""What the retention of a cache means: how often a schedule must run, and when storage grows."""

from __future__ import annotations

import re

import pytest

from pipelinegen.cache.attic.protocol import CacheSettings
from pipelinegen.cache.provisioning.advice import RHYTHMS, advice, retention_advice
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.durations import DAY, HOUR, WEEK


def cache(**settings: object) -> CacheConfig:
    fixed = {"url": "https://a.example/c", "backend": "attic", "writers": WriterClass.PROTECTED, "publish": True}
    return CacheConfig.model_validate({**fixed, **settings})


def rhythm(sentences: tuple[str, ...]) -> str:
    found = re.search(r"(once a week|once a day|every 12 hours|once an hour) or more often", " ".join(sentences))
    assert found is not None, sentences
    return found[1]


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (90 * DAY, "once a week"),
        (30 * DAY, "once a week"),
        (2 * WEEK + 1, "once a week"),
        (2 * WEEK, "once a day"),
        (3 * DAY, "once a day"),
        (2 * DAY, "every 12 hours"),
        (DAY, "once an hour"),
        (3 * HOUR, "once an hour"),
    ],
)
def test_a_schedule_runs_more_than_twice_in_each_retention(retention: int, expected: str) -> None:
    assert rhythm(advice(retention)) == expected
    every = {words: seconds for seconds, words in RHYTHMS}[expected]
    assert every < retention / 2


def test_a_retention_that_no_schedule_can_meet_is_told() -> None:
    assert any("so short a retention" in sentence for sentence in advice(2 * HOUR))


@pytest.mark.parametrize("settings", [cache(retention="forever"), cache(retention="0s"), CacheSettings(retention=0)])
def test_without_collection_the_storage_grows(settings: CacheConfig | CacheSettings) -> None:
    (sentence,) = retention_advice(settings)
    assert "grows without bound" in sentence


@pytest.mark.parametrize("settings", [cache(), cache(retention="server"), CacheSettings()])
def test_an_unknown_retention_may_be_none(settings: CacheConfig | CacheSettings) -> None:
    text = " ".join(retention_advice(settings))
    assert "the server's own" in text
    assert "twice in each retention" in text


def test_collection_goes_path_by_path() -> None:
    assert "path by path" in advice(30 * DAY)[0]


def test_what_is_kept_warm_is_told_from_what_should_be() -> None:
    assert any("keeps what `warm` names" in one for one in retention_advice(cache(retention="30 days", warm=["**"])))
    assert any("name it in `warm`" in one for one in retention_advice(cache(retention="30 days")))
    handoff = cache(retention="30 days", publish=False)
    assert "waits for an approval" in retention_advice(handoff)[-1]
    server = CacheSettings(retention=30 * DAY)
    assert retention_advice(server, publishes=False) == retention_advice(handoff)
    assert retention_advice(server, warms=True) == retention_advice(cache(retention="30 days", warm=["**"]))
    assert retention_advice(server) == retention_advice(cache(retention="30 days"))
