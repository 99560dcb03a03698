"""The supervisor alone, on a real machine: whatever we do or fail to do, it comes to an end that it names."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelinegen.deploy.ssh import Target
from pipelinegen.deploy.state import read_state
from pipelinegen.deploy.supervisor import Order, Status, Supervisor
from tests.lab.host import Host
from tests.lab.machine import FLEET
from tests.lab.store import PrivateStore

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.xdist_group("deploy-supervisor")]

SYSTEMS = Path(__file__).with_name("systems.nix")


@dataclass
class Bench:
    """A machine, and orders to its supervisor."""

    host: Host
    store: PrivateStore

    @property
    def target(self) -> Target:
        return Target(self.host.address, key_file=self.host.ssh_key, known_hosts=self.host.known_hosts)

    def system(self, name: str) -> str:
        """A system of `systems.nix`, on the machine."""
        arguments = ("--argstr", "name", self.host.name, "--arg", "fleet", str(FLEET))
        path = self.store.run("nix-build", "--no-out-link", SYSTEMS, "-A", name, *arguments).stdout.strip()
        to = ("--no-check-sigs", "--to", self.host.store_url)
        self.store.run("nix", "copy", *to, path, env=self.host.nix_ssh_environment)
        return path

    def order(self, system: str, **more: object) -> Order:
        now = read_state(self.target)
        values = {
            "action": "switch",
            "system": system,
            "previous": now.running,
            "previous_profile": now.profile,
            "activation_seconds": 10,
            "confirm_seconds": 4,
            "limit_seconds": 60,
            "log_folder": "/var/log/nixos-rebuild",
            **more,
        }
        return Order(**values)  # type: ignore[arg-type]

    def runs_and_boots(self) -> tuple[str, str]:
        return self.host.current_system(), self.host.profile()

    def initially(self) -> bool:
        return self.runs_and_boots() == (self.host.initial_system, self.host.initial_system)


def until(supervisor: Supervisor, good: Callable[[Status], bool], seconds: float = 40) -> Status:
    end = time.monotonic() + seconds
    while not good(status := supervisor.status()):
        assert time.monotonic() < end, status
        time.sleep(0.3)
    return status


@pytest.fixture(scope="module")
def bench(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(host, PrivateStore(tmp_path_factory.mktemp("bench") / "store"))


@pytest.fixture(autouse=True)
def as_before(bench: Bench) -> None:
    first = bench.host.initial_system
    bench.host.ssh(f"nix-env -p /nix/var/nix/profiles/system --set {first}; {first}/bin/switch-to-configuration switch")


def test_what_is_confirmed_runs_and_boots_and_is_remembered(bench: Bench) -> None:
    good = bench.system("good")
    supervisor = Supervisor(bench.target)
    supervisor.start(bench.order(good, revision="abc"))
    supervisor.start(bench.order(good))  # after a lost connection
    until(supervisor, lambda status: status.phase == "waiting")
    # While it waits nothing is decided, and nobody else may switch.
    assert bench.runs_and_boots() == (good, bench.host.initial_system)
    refused = bench.host.ssh(f"{good}/bin/switch-to-configuration switch", check=False)
    assert refused.returncode == 11
    supervisor.sign_of_life()
    second = Supervisor(bench.target)
    second.start(bench.order(good))
    assert "another deployment" in until(second, lambda status: status.over).reason
    assert supervisor.decide("confirm") == "confirm"
    assert supervisor.decide("undo", "too late") == "confirm"
    status = until(supervisor, lambda status: status.over)
    assert (status.result, status.activation_exit, status.boot_exit) == ("confirmed", 0, 0)
    assert bench.runs_and_boots() == (good, good)
    deployed = bench.host.read("cat /var/lib/pipelinegen/deployed")
    assert f"system={good}" in deployed
    assert "revision=abc" in deployed
    assert status.log_file is not None
    assert "activating the configuration" in bench.host.read(f"cat {status.log_file}")
    assert bench.host.read("ls /nix/var/nix/gcroots/pipelinegen") == ""


def test_silence_undoes_it_and_signs_of_life_hold_that_off(bench: Bench) -> None:
    supervisor = Supervisor(bench.target)
    supervisor.start(bench.order(bench.system("good")))
    until(supervisor, lambda status: status.phase == "waiting")
    for _ in range(8):
        supervisor.sign_of_life()
        time.sleep(0.8)
    assert supervisor.status().phase == "waiting"
    status = until(supervisor, lambda status: status.over)
    assert (status.result, status.reason) == ("restored", "nobody confirmed it: no sign of life for 4 s")
    assert bench.initially()
    assert bench.host.failed_units() == []


@pytest.mark.parametrize(
    ("system", "reason"),
    [
        pytest.param("broken-activation", "switch-to-configuration ended with 2", id="fails"),
        pytest.param("endless", "the activation did not end within 4 s", id="does not end"),
    ],
)
def test_an_activation_that_fails_is_undone_without_us(bench: Bench, system: str, reason: str) -> None:
    supervisor = Supervisor(bench.target)
    supervisor.start(bench.order(bench.system(system), activation_seconds=4))
    status = until(supervisor, lambda status: status.over)
    assert (status.result, status.reason) == ("restored", reason)
    assert bench.initially()


def test_who_decides_first_decides(bench: Bench) -> None:
    supervisor = Supervisor(bench.target)
    supervisor.start(bench.order(bench.system("good")))
    until(supervisor, lambda status: status.phase == "waiting")
    assert supervisor.decide("undo", "a\nhostile\x1b[31m reason").startswith("undo a hostile")
    assert supervisor.decide("confirm").startswith("undo")
    assert until(supervisor, lambda status: status.over).result == "restored"
    assert bench.initially()


def test_what_was_confirmed_can_be_taken_back_later(bench: Bench) -> None:
    good, before = bench.system("good"), bench.order("")
    supervisor = Supervisor(bench.target)
    supervisor.start(bench.order(good))
    until(supervisor, lambda status: status.phase == "waiting")
    supervisor.decide("confirm")
    until(supervisor, lambda status: status.over)
    back = Supervisor(bench.target)
    order = bench.order(before.previous, action="restore", previous=good, previous_profile=before.previous_profile)
    back.start(order)
    assert until(back, lambda status: status.over).result == "restored"
    assert bench.initially()
    # Once more there is nothing to take back: another system runs.
    again = Supervisor(bench.target)
    again.start(order)
    assert "another system meanwhile" in until(again, lambda status: status.over).reason


def test_a_host_that_was_given_another_system_meanwhile_is_left_alone(bench: Bench) -> None:
    order = bench.order(bench.system("good"))
    better = bench.system("better")
    bench.host.ssh(f"nix-env -p /nix/var/nix/profiles/system --set {better}; {better}/bin/switch-to-configuration test")
    supervisor = Supervisor(bench.target)
    supervisor.start(order)
    status = until(supervisor, lambda status: status.over)
    assert (status.result, status.reason) == ("refused", "the host was given another system meanwhile")
    assert bench.runs_and_boots() == (better, better)
