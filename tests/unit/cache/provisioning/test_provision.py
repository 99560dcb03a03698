"""What is changed on a server, what is left alone, and what a person is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.cache.attic.protocol import CacheSettings
from pipelinegen.cache.provisioning import provision, wording
from pipelinegen.cache.provisioning.provision import Action, CachePlan, Change
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.errors import ConfigError

DAY = 86400
SERVER = CacheSettings(
    is_public=False,
    store_dir="/nix/store",
    priority=41,
    upstream_cache_key_names=("cache.nixos.org-1",),
    retention=90 * DAY,
    public_key="ci:key",
)


def config(**settings: Any) -> CacheConfig:
    return CacheConfig(url="https://cache/ci", backend="attic", writers=WriterClass.PROTECTED, **settings)


def plan(settings: CacheSettings | None = SERVER, **configured: Any) -> CachePlan:
    return provision.make_plan("ci", config(**configured), settings)


@pytest.mark.parametrize(
    ("configured", "record"),
    [
        ({}, {}),
        ({"public": False, "priority": 41, "retention": "90 days", "upstream_keys": ["cache.nixos.org-1"]}, {}),
        ({"priority": 30}, {"priority": 30}),
        ({"public": True}, {"is_public": True}),
        ({"retention": "server"}, {"retention_period": "Global"}),
        ({"retention": "forever"}, {"retention_period": {"Period": 0}}),
        ({"retention": "1h 30m"}, {"retention_period": {"Period": 5400}}),
        ({"upstream_keys": []}, {"upstream_cache_key_names": []}),
        ({"upstream_keys": ["b-1", "a-1"]}, {"upstream_cache_key_names": ["b-1", "a-1"]}),
        ({"public": True, "retention": "90 days"}, {"is_public": True}),
    ],
    ids=[
        "nothing configured",
        "all equal",
        "priority alone",
        "visibility alone",
        "retention of the server",
        "retention for ever",
        "retention in hours",
        "no upstream",
        "other upstreams",
        "one of two differs",
    ],
)
def test_a_change_holds_what_is_configured_and_differs_and_nothing_else(
    configured: dict[str, Any], record: dict[str, Any]
) -> None:
    planned = plan(**configured)
    assert provision.change(planned) == record
    assert planned.action is (Action.CHANGE if record else Action.NONE)


def test_the_order_of_upstream_keys_is_no_difference() -> None:
    settings = SERVER.model_copy(update={"upstream_cache_key_names": ("a-1", "b-1")})
    assert plan(settings, upstream_keys=["b-1", "a-1"]).action is Action.NONE


def test_a_new_cache_gets_every_setting_that_a_creation_needs_and_no_retention() -> None:
    planned = plan(None, priority=30, retention="90 days")
    assert provision.creation(planned) == {
        "keypair": "Generate",
        "is_public": False,
        "store_dir": "/nix/store",
        "priority": 30,
        "upstream_cache_key_names": ["cache.nixos.org-1"],
    }
    assert Change(field="retention", after=90 * DAY) in planned.changes
    assert [one.field for one in planned.changes if not one.configured] == ["public", "store_dir", "upstream_keys"]


def test_a_new_cache_has_the_store_of_the_nix_that_uses_it() -> None:
    planned = provision.make_plan("ci", config(), None, store_dir="/other/store")
    assert provision.creation(planned)["store_dir"] == "/other/store"


@pytest.mark.parametrize(
    ("retention", "words"),
    [
        ("24856 days", "longer than a server can keep"),
        ("0 days", "no time at all"),
    ],
)
def test_a_retention_that_a_server_would_refuse_or_misunderstand_is_refused(retention: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(retention=retention)


def test_the_longest_retention_is_taken() -> None:
    assert provision.change(plan(retention=f"{2**31 - 1} s")) == {"retention_period": {"Period": 2**31 - 1}}


@pytest.mark.parametrize(
    ("settings", "configured", "permissions"),
    [
        (SERVER, {}, ("pull",)),
        (SERVER, {"priority": 1}, ("pull", "configure-cache")),
        (SERVER, {"retention": "1 day"}, ("pull", "configure-cache", "configure-cache-retention")),
        (None, {}, ("pull", "create-cache")),
        (None, {"retention": "1 day"}, ("pull", "create-cache", "configure-cache", "configure-cache-retention")),
    ],
    ids=["nothing", "change", "retention", "creation", "creation with retention"],
)
def test_a_plan_says_what_its_token_must_allow(
    settings: CacheSettings | None, configured: dict[str, Any], permissions: tuple[str, ...]
) -> None:
    assert plan(settings, **configured).permissions == permissions


settings_of_servers = st.builds(
    CacheSettings,
    is_public=st.booleans(),
    store_dir=st.sampled_from(["/nix/store", "/other"]),
    priority=st.integers(-(2**31), 2**31 - 1),
    upstream_cache_key_names=st.lists(st.sampled_from(["a-1", "b-1", "c-1"])).map(tuple),
    retention_period=st.none() | st.integers(0, 2**31 - 1),
)
configurations = st.fixed_dictionaries(
    {},
    optional={
        "public": st.booleans(),
        "priority": st.integers(0, 2**31 - 1),
        "upstream_keys": st.lists(st.sampled_from(["a-1", "b-1", "c-1"])).map(tuple),
        "retention": st.sampled_from(["server", "forever"]) | st.integers(1, 2**31 - 1).map("{} seconds".format),
    },
)


def as_a_server(settings: CacheSettings | None, record: dict[str, Any]) -> CacheSettings:
    """What a server says after it took a record."""
    known = settings.model_dump() if settings is not None else {}
    known["retention_period"] = known.pop("retention", None)
    known.update({name: value for name, value in record.items() if name != "keypair"})
    return CacheSettings.model_validate(known)


@given(settings_of_servers | st.none(), configurations)
def test_a_second_run_changes_nothing_and_the_first_leaves_what_is_not_configured(
    before: CacheSettings | None, configured: dict[str, Any]
) -> None:
    first = plan(before, **configured)
    after = before
    if before is None:
        record = provision.creation(first)
        assert set(record) == {"keypair", *provision.WIRE.values()} - {"retention_period"}
        after = as_a_server(None, record)
        record = provision.change(plan(after, **configured))
        assert set(record) <= {"retention_period"}, "a creation sets everything else"
    else:
        record = provision.change(first)
    after = as_a_server(after, record)
    assert "keypair" not in record
    assert plan(after, **configured).action is Action.NONE
    if before is not None:
        touched = {provision.WIRE[field] for field in configured}
        for field in provision.WIRE:
            if provision.WIRE[field] not in touched:
                assert provision.current(before)[field] == provision.current(after)[field]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(field="retention", before=90 * DAY, after="forever"), "turns collecting by age off"),
        (Change(field="retention", after="forever"), "turns collecting by age off"),
        (Change(field="retention", before=90 * DAY, after=DAY), "nobody has fetched for 1 day is deleted"),
        (Change(field="retention", before="forever", after=DAY), "nobody has fetched for 1 day is deleted"),
        (Change(field="retention", before="server", after=DAY), "nobody has fetched for 1 day is deleted"),
        (Change(field="retention", before=DAY, after="server"), "the server's own retention"),
        (Change(field="retention", before=DAY, after=2 * DAY), None),
        (Change(field="retention", after=DAY), None),
        (Change(field="public", before=False, after=True), "anybody who reaches the server"),
        (Change(field="public", before=True, after=False), "without a token"),
        (Change(field="priority", before=1, after=2), None),
    ],
    ids=lambda value: (
        None if value is None or isinstance(value, str) else f"{value.field} {value.before} {value.after}"
    ),
)
def test_a_person_is_told_what_a_change_means(change: Change, words: str | None) -> None:
    told = wording.consequence(change)
    assert (told is None) == (words is None)
    assert words is None or words in (told or "")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("retention", 0, "0 seconds"),
        ("retention", 90 * DAY, "90 days"),
        ("retention", 131_461, "1 day 12 hours 31 minutes 1 second"),
        ("retention", "forever", "for ever"),
        ("retention", "server", "as the server is set"),
        ("public", True, "yes"),
        ("upstream_keys", (), "none"),
        ("priority", None, "not told"),
    ],
)
def test_settings_are_words(field: str, value: provision.Setting, words: str) -> None:
    assert wording.words(field, value) == words
