"""What deploy-rs and colmena say of hosts, in our words, and merged with the configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelinegen import config_file
from pipelinegen.config import Config
from pipelinegen.errors import ConfigError
from pipelinegen.inventory.host_records import FoundHost, from_colmena, from_deploy_rs, merge


def node(system: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    return {"name": "web1", "hostname": "web1.example.org", "settings": settings, "profiles": {"system": system or {}}}


def colmena(keys: tuple[str, ...] = (), **settings: Any) -> dict[str, Any]:
    return {"name": "web1", "settings": {"targetHost": "web1.example.org", **settings}, "keys": list(keys)}


def configured(**tables: Any) -> Config:
    return config_file.parse({"hosts_from": ["deploy-rs"], **tables})


@pytest.mark.parametrize(
    ("record", "above", "settings"),
    [
        pytest.param(node(), {}, {}, id="nothing but a name"),
        pytest.param(node(sshUser="node"), {"sshUser": "above"}, {"user": "node"}, id="a node wins over what is above"),
        pytest.param(
            node({"sshUser": "profile"}, sshUser="node"), {}, {"user": "profile"}, id="a profile wins over its node"
        ),
        pytest.param(node(), {"sshUser": "above"}, {"user": "above"}, id="what is above counts last"),
        pytest.param(
            node({"sshOpts": ["-p", "1"]}, sshOpts=["-p", "2"]), {"sshOpts": ["-p3"]}, {"port": 1}, id="the first port"
        ),
        pytest.param(node(sshOpts=["-o", "Port=2222"]), {}, {"port": 2222}, id="a port as an option"),
        pytest.param(node(sshOpts=["-oPort 2222"]), {}, {"port": 2222}, id="a port as an option in one word"),
        pytest.param(node(sshOpts=["-i", "/run/key"]), {}, {"ssh_key_file": "/run/key"}, id="a key"),
        pytest.param(
            node(activationTimeout=600, confirmTimeout=60),
            {},
            {"activation_timeout": "600 seconds", "confirm_timeout": "60 seconds"},
            id="times",
        ),
        pytest.param(node(fastConnection=True), {}, {"substitute": False}, id="a fast connection"),
        pytest.param(node(autoRollback=False), {"autoRollback": True}, {"rollback_on": ()}, id="no rollback"),
        pytest.param(node(autoRollback=True, magicRollback=True, remoteBuild=True), {}, {}, id="its defaults"),
        pytest.param(node(user="root", sshUser="admin"), {}, {"user": "admin"}, id="sudo to root"),
    ],
)
def test_a_node_of_deploy_rs_in_our_words(
    record: dict[str, Any], above: dict[str, Any], settings: dict[str, Any]
) -> None:
    host = from_deploy_rs(record, above)
    assert host.skipped is None
    assert host.settings == {"address": "web1.example.org", **settings}


@pytest.mark.parametrize(
    ("record", "note"),
    [
        pytest.param(node(magicRollback=False), "magicRollback = false", id="magicRollback"),
        pytest.param(node(autoRollback=False), "autoRollback = false", id="autoRollback"),
        pytest.param(node(interactiveSudo=True), "interactiveSudo", id="interactiveSudo"),
        pytest.param(node(sudo="doas -u"), "sudo = doas -u", id="another sudo"),
        pytest.param(node(sshOpts=["-i", "~/.ssh/id"]), "not taken over: -i ~/.ssh/id", id="a key at home"),
        pytest.param(
            node(sshOpts=["-o", "StrictHostKeyChecking=no", "-A"]),
            "not taken over: -o StrictHostKeyChecking=no -A",
            id="other options",
        ),
        pytest.param(
            node() | {"profiles": {"system": {}, "mail": {}}}, "only the profile `system`", id="other profiles"
        ),
    ],
)
def test_what_has_no_meaning_here_is_told(record: dict[str, Any], note: str) -> None:
    host = from_deploy_rs(record, {})
    assert any(note in one for one in host.notes)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        pytest.param(node() | {"profiles": {"home": {}}}, "no profile `system`", id="no system"),
        pytest.param(node({"user": "anna"}), "belongs to the user anna", id="somebody's own profile"),
    ],
)
def test_what_is_no_host_of_nixos_is_not_deployed(record: dict[str, Any], why: str) -> None:
    assert why in (from_deploy_rs(record, {}).skipped or "")


@pytest.mark.parametrize(
    ("record", "settings"),
    [
        pytest.param(colmena(), {}, id="its defaults"),
        pytest.param(colmena(targetUser="admin", targetPort=22022), {"user": "admin", "port": 22022}, id="login"),
        pytest.param(colmena(targetUser=None, targetPort=None), {}, id="nothing said"),
        pytest.param(colmena(replaceUnknownProfiles=False), {"on_drift": "refuse"}, id="unknown profiles stay"),
        pytest.param(
            colmena(sshOptions=["-p", "1", "-i", "/k"], targetPort=2), {"port": 2, "ssh_key_file": "/k"}, id="options"
        ),
        pytest.param(colmena(privilegeEscalationCommand=["sudo", "-H", "--"]), {}, id="sudo"),
    ],
)
def test_a_node_of_colmena_in_our_words(record: dict[str, Any], settings: dict[str, Any]) -> None:
    host = from_colmena(record)
    assert host.skipped is None
    assert host.settings == {"address": "web1.example.org", **settings}
    assert host.notes == []


def test_a_node_without_an_address_and_keys_that_nobody_uploads_are_told() -> None:
    assert "targetHost is null" in (from_colmena(colmena(targetHost=None)).skipped or "")
    assert from_colmena(colmena(("wifi", "db"))).notes == ["deployment.keys are not uploaded: db, wifi"]
    assert "doas" in from_colmena(colmena(privilegeEscalationCommand=["doas"])).notes[0]


def found(name: str = "web1", where: str = "there", **settings: Any) -> FoundHost:
    return FoundHost(name, where, settings)


def test_the_configuration_wins_key_by_key_and_only_the_rest_is_for_the_job() -> None:
    config = configured(hosts={"web1": {"user": "ours", "gate": "related"}})
    merged = merge(config, [found(address="a", user="theirs", port=2)], ["web1"])
    host = merged.config.hosts["web1"]
    assert (host.address, host.user, host.port, host.gate) == ("a", "ours", 2, "related")
    assert json.loads(merged.settings["web1"]) == {"address": "a", "port": 2}


def test_what_a_job_is_told_makes_the_same_host() -> None:
    config = configured(hosts={"web1": {"user": "ours"}})
    merged = merge(config, [found(address="a", port=2, rollback_on=(), activation_timeout="600 seconds")], ["web1"])
    loaded = config_file.LoadedConfig(config=config)
    assert config_file.with_host(loaded, "web1", merged.settings["web1"]).hosts == merged.config.hosts


def test_the_first_source_wins_over_the_second() -> None:
    merged = merge(configured(), [found(address="a"), found(address="b", port=2)], ["web1"])
    assert (merged.config.hosts["web1"].address, merged.config.hosts["web1"].port) == ("a", 2)


def test_a_node_of_an_unknown_name_is_nobodys_host_and_told() -> None:
    merged = merge(configured(), [found("web.2", address="a")], ["web1"])
    assert merged.config.hosts == {}
    assert 'there is no nixosConfigurations."web.2"' in merged.notes[0]


def test_a_host_that_the_flake_does_not_know_keeps_its_settings_and_needs_no_more() -> None:
    merged = merge(configured(hosts={"web2": {"address": "b"}}), [found(address="a")], ["web1"])
    assert sorted(merged.config.hosts) == ["web1", "web2"]
    assert sorted(merged.settings) == ["web1"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        pytest.param({"address": "-oProxyCommand=evil"}, "hosts.web1.address (from there)", id="an option as address"),
        pytest.param({"address": "a\nb"}, "hosts.web1.address (from there)", id="a line break"),
        pytest.param({"address": {"type": "set"}}, "hosts.web1.address (from there)", id="a set"),
        pytest.param({"address": "a", "user": "a b"}, "hosts.web1.user (from there)", id="a hostile user"),
        pytest.param({"address": "a", "port": 70000}, "hosts.web1.port (from there)", id="no port"),
        pytest.param({"address": "a", "port": "x;id"}, "hosts.web1.port (from there)", id="a hostile port"),
        pytest.param(
            {"address": "a", "confirm_timeout": "-1 seconds"}, "hosts.web1.confirm_timeout (from there)", id="no time"
        ),
        pytest.param({"user": "a"}, "hosts.web1.address: missing", id="no address"),
    ],
)
def test_nonsense_is_refused_with_its_place(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        merge(configured(), [found(**settings)], ["web1"])
    assert problem in str(raised.value.why)
    assert "\n" not in raised.value.problems[0]


def test_rules_about_all_hosts_hold_for_those_of_the_flake() -> None:
    config = configured(gitlab={"publish_environment": "web1"})
    with pytest.raises(ConfigError) as raised:
        merge(config, [found(address="a")], ["web1"])
    assert "publish_environment" in str(raised.value.why)


def test_an_address_may_be_missing_only_where_the_flake_can_give_it() -> None:
    with pytest.raises(ConfigError) as raised:
        config_file.parse({"hosts": {"web1": {"user": "a"}}})
    assert "hosts.web1: the address is missing" in str(raised.value.why)
