"""Hosts that a flake describes for deploy-rs and colmena, read by real Nix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelinegen import config_file
from pipelinegen.errors import ConfigError, FlakeError
from pipelinegen.inventory.flake_hosts import with_flake_hosts
from pipelinegen.inventory.host_records import Merged
from pipelinegen.inventory.read import read_inventory, read_source
from tests.integration.conftest import ONE_NIX
from tests.integration.inventory.conftest import write_flake

pytestmark = pytest.mark.nix

SYSTEMS = """
  nixosConfigurations = builtins.listToAttrs (map (name: {
    inherit name;
    value.config.system.build.toplevel = drv "nixos-system-${name}" { };
  }) [ "web1" "web2" "db" ]);
"""

DEPLOY = """
  deploy = {
    sshUser = "deploy";
    sshOpts = [ "-p" "2222" ];
    nodes.web1 = {
      # A text that depends on a derivation, which is not built for it.
      hostname = builtins.substring 0 16 "web1.example.org${drv "not-built" { builder = "/bin/false"; }}";
      confirmTimeout = 60;
      profiles.system = {
        user = "root";
        path = throw "nobody needs the system here";
        sshUser = "root";
      };
    };
    nodes.web2 = { hostname = self.lib.address; profiles.system.user = "root"; };
    nodes.elsewhere = { hostname = "x"; profiles.system = { }; };
  };
  lib.address = "10.0.0.2";
"""

HIVE = """
  colmenaHive = {
    __schema = "v0.5";
    nodes = throw "nobody needs the systems here";
    deploymentConfig = {
      db = {
        targetHost = "db.example.org"; targetUser = "admin"; targetPort = 22022; tags = [ "big" ];
        keys.password.text = throw "secret";
      };
      web1 = { targetHost = "other"; targetPort = 1; };
    };
  };
"""

Read = Callable[..., Merged]


@pytest.fixture
def read(nix_bin: Path, tmp_path: Path) -> Read:
    """`read(outputs, hosts_from=[…], hosts={…})`: a configuration merged with the hosts of a flake."""

    def read(outputs: str, *, systems: str = SYSTEMS, **tables: object) -> Merged:
        folder = write_flake(tmp_path / "flake", f"{{ {systems} {outputs} }}")
        config = config_file.parse(dict(tables))
        source = read_source(f"path:{folder}", cwd=tmp_path, config=config)
        return with_flake_hosts(source, read_inventory(source, config), config)

    return read


def test_hosts_of_both_tools_are_read_without_their_systems_and_merged_with_the_configuration(read: Read) -> None:
    merged = read(
        DEPLOY + HIVE,
        hosts_from=["deploy-rs", "colmena"],
        hosts={"web2": {"port": 22, "gate": "related"}, "db": {"tier": "staging"}},
    )
    hosts = {
        name: (host.user, host.address, host.port, host.confirm_timeout) for name, host in merged.config.hosts.items()
    }
    assert hosts == {
        "web1": ("root", "web1.example.org", 2222, "60 seconds"),
        "web2": ("deploy", "10.0.0.2", 22, "30 seconds"),
        "db": ("admin", "db.example.org", 22022, "30 seconds"),
    }
    assert merged.settings == {
        "db": '{"address":"db.example.org","port":22022,"user":"admin"}',
        "web1": '{"address":"web1.example.org","confirm_timeout":"60 seconds","port":2222,"user":"root"}',
        "web2": '{"address":"10.0.0.2","user":"deploy"}',
    }
    assert merged.config.hosts["db"].tier == "staging"
    assert any("nixosConfigurations.elsewhere" in note for note in merged.notes)
    assert any("keys are not uploaded: password" in note for note in merged.notes)


@ONE_NIX
def test_without_the_setting_nothing_of_it_is_looked_at(read: Read) -> None:
    merged = read('deploy = throw "not to be looked at";')
    assert (merged.config.hosts, merged.settings, merged.notes) == ({}, {}, ())


def test_a_node_that_cannot_be_evaluated_is_named_with_the_message_of_nix(read: Read) -> None:
    broken = 'deploy.nodes = { web1.hostname = "a" + 1; web2 = { hostname = "b"; profiles.system = { }; }; };'
    with pytest.raises(FlakeError) as raised:
        read(broken, hosts_from=["deploy-rs"])
    assert raised.value.where == "deploy.nodes.web1"
    assert "cannot coerce an integer" in str(raised.value.why) or "cannot add an integer" in str(raised.value.why)


@ONE_NIX
def test_a_host_that_fails_as_a_whole_does_not_take_the_others_along(read: Read) -> None:
    hive = """
      colmenaHive.deploymentConfig = { bad = throw "a module is broken"; db.targetHost = "db.example.org"; };
    """
    hosts = {"bad": {"tier": "staging"}}
    with_bad = ' // { bad.config.system.build.toplevel = throw "a module is broken"; };'
    merged = read(hive, systems=SYSTEMS.rstrip().removesuffix(";") + with_bad, hosts_from=["colmena"], hosts=hosts)
    assert {name: host.address for name, host in merged.config.hosts.items()} == {"bad": "", "db": "db.example.org"}
    assert merged.notes == ("colmenaHive.bad: cannot be evaluated, like the host itself",)


@ONE_NIX
@pytest.mark.parametrize(
    ("outputs", "tool", "words"),
    [
        pytest.param("", "deploy-rs", "no deploy.nodes", id="no deploy-rs"),
        pytest.param("", "colmena", "no colmenaHive", id="no colmena"),
        pytest.param(
            "colmena = { meta = { }; web1 = { }; };", "colmena", "where the flake evaluates it", id="raw hive"
        ),
    ],
)
def test_a_tool_that_the_flake_does_not_use_is_told(read: Read, outputs: str, tool: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        read(outputs, hosts_from=[tool])
    assert raised.value.hint


@ONE_NIX
@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param("./.", "'type': 'path'", id="a path"),
        pytest.param("x: x", "'type': 'lambda'", id="a function"),
        pytest.param('drv "x" { }', "'type': 'set'", id="a derivation"),
        pytest.param('"-oProxyCommand=touch /tmp/x"', "-oProxyCommand", id="an option of ssh"),
        pytest.param('"a\\nb"', "hosts.web1.address", id="two lines"),
    ],
)
def test_hostile_values_are_refused_and_build_nothing(read: Read, value: str, found: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(f"deploy.nodes.web1 = {{ hostname = {value}; profiles.system = {{ }}; }};", hosts_from=["deploy-rs"])
    assert found in str(raised.value.why)
    assert "deploy.nodes.web1" in str(raised.value.why)


@ONE_NIX
def test_pure_evaluation_holds_for_hosts_too(read: Read) -> None:
    with pytest.raises(FlakeError):
        read('deploy.nodes.web1.hostname = builtins.readFile "/etc/hostname";', hosts_from=["deploy-rs"])
