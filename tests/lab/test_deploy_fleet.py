"""Five machines in waves, by a real child pipeline: what a bad canary comes to, and a good one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.delivery import Ran, plan_and_run
from tests.lab.deployer import SHORT, look
from tests.lab.host import Host, known_hosts, running_host
from tests.lab.machine import Lab
from tests.lab.repo import Project, new_project
from tests.lab.runner import Runner, push_variables
from tests.lab.store import SigningKey, write_job_nix

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("deploy-fleet"), pytest.mark.time_limit(400)]

CANARY, OTHERS = "m1", ("m2", "m3", "m4", "m5")
HOSTS = (CANARY, *OTHERS)

_FLAKE = """\
{
  outputs =
    { self }:
    let
      machine = name: {
        config.system.build.toplevel = import ./lib/system.nix {
          system = "x86_64-linux";
          inherit name;
          host = import ./host.nix name;
        };
      };
    in
    {
      nixosConfigurations = builtins.listToAttrs (
        map (name: { inherit name; value = machine name; }) [ "m1" "m2" "m3" "m4" "m5" ]
      );
    };
}
"""

_HOST = """\
name: {
  motd = "the first of ${name}";
  activation = if name == "m1" then "echo 'the canary is ill'; exit 7" else "";
}
"""

_CONFIG = """\
refs = ["main"]

[gitlab]
command = {command}

[packing]
record = false

[handoff]
mode = "cache"
protected = "ci"

[caches.ci]
url = "file://{folder}/cache"
writers = "protected"
public_key = "{key}"
secret_key_file = "$CI_CACHE_KEY"

[fleet]
canary = ["m1"]
wave = "2"
"""


@dataclass
class Machines:
    """The machines, and the project that is pushed."""

    folder: Path
    runner: Runner
    project: Project
    hosts: dict[str, Host]
    key: SigningKey
    count: int = 0

    def push(self) -> Ran:
        """Push `main`, and run the pipeline of that."""
        self.count += 1
        hosts_file = known_hosts(list(self.hosts.values()), self.folder / "known_hosts")
        secrets = {
            "CI_CACHE_KEY": str(self.key.secret_file),
            "DEPLOY_KNOWN_HOSTS": str(hosts_file),
            **{f"DEPLOY_KEY_{name}": str(host.ssh_key) for name, host in self.hosts.items()},
        }
        return plan_and_run(
            self.project,
            self.runner,
            self.folder / f"pipeline-{self.count}",
            branch="main",
            variables=push_variables(branch="main", commit=self.project.head),
            planning={},
            running=secrets,
        )


@pytest.fixture
def machines(lab: Lab, runner: Runner, signing_key: SigningKey, tmp_path: Path) -> Iterator[Machines]:
    if problem := lab.host_problem():
        pytest.skip(f"lab: {problem}")
    config = _CONFIG.format(
        command=json.dumps(str(write_job_nix(tmp_path / "job-nix"))), folder=tmp_path, key=signing_key.public
    )
    with contextlib.ExitStack() as stack:
        hosts = {
            name: stack.enter_context(running_host(lab.base_image, name, tmp_path / "hosts" / name)) for name in HOSTS
        }
        for name, host in hosts.items():
            keys = {"address": host.address, "ssh_key_file": f"$DEPLOY_KEY_{name}", **SHORT}
            config += "\n".join([f"\n[hosts.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())])
        files = {"flake.nix": _FLAKE, "host.nix": _HOST, "pipelinegen.toml": config + "\n"}
        yield Machines(tmp_path, runner, new_project(tmp_path / "project", files=files), hosts, signing_key)


def logins(host: Host) -> int:
    """How often somebody logged in."""
    return int(host.read("journalctl --no-pager --identifier sshd | grep -c 'Accepted publickey' || true"))


def test_behind_a_bad_canary_no_other_machine_is_touched_and_a_good_one_opens_the_way(machines: Machines) -> None:
    hosts = machines.hosts
    before = {name: logins(host) for name, host in hosts.items()}
    bad = machines.push()
    result = bad.result
    assert result.jobs[f"deploy {CANARY}"].status == "failed", result.describe()
    assert bad.deploy_report(CANARY)["result"] == "rolled-back"
    assert logins(hosts[CANARY]) > before[CANARY]
    assert {f"deploy {name}" for name in OTHERS} <= result.names("not run"), result.describe()
    found = look(hosts[CANARY])
    assert (found.runs, found.boots, found.ours) == (hosts[CANARY].initial_system,) * 2 + ((),)
    for name in OTHERS:
        found = look(hosts[name])
        assert (found.runs, found.boots, found.ours, found.litter) == (hosts[name].initial_system,) * 2 + ((), ())
        assert logins(hosts[name]) == before[name], "somebody was there"

    machines.project.edit("host.nix", "exit 7", "true")
    machines.project.commit("the canary is well")
    good = machines.push()
    assert good.result.passed, good.result.describe()
    assert {good.deploy_report(name)["result"] for name in HOSTS} == {"deployed"}
    for name in HOSTS:
        found = look(hosts[name])
        assert found.runs == found.boots == good.deploy_report(name)["system"] != hosts[name].initial_system
