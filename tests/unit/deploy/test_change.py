"""After a reboot: what undoes it is what the configuration says, and a way back that goes wrong is told as that."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest

from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console
from pipelinegen.deploy import change as module
from pipelinegen.deploy.activation import Applied
from pipelinegen.deploy.change import Change
from pipelinegen.deploy.reboot import Rebooted
from pipelinegen.deploy.ssh import Target
from pipelinegen.deploy.state import HostState
from pipelinegen.deploy.supervised import SupervisedActivation
from pipelinegen.errors import DeployError, DeployOutcome

pytestmark = pytest.mark.processes

OLD, NEW = "/nix/store/old", "/nix/store/new"
BEFORE = HostState(running=OLD, profile=OLD)
WELL = Rebooted(state=HostState(running=NEW, profile=NEW))
BAD = Rebooted(state=HostState(running=NEW, profile=NEW, failed=("web.service",)))
BACK = Rebooted(state=BEFORE)
HEALTH = [{"command": "exit 1", "within": "1s"}]


class Booting(Change):
    """A change whose reboots end as they are told to; `addresses` are those of before and after each of them."""

    def __init__(self, *reboots: Rebooted, **settings: object) -> None:
        host = HostConfig.model_validate({"address": "web1", **settings})
        self.reboots = list(reboots)
        self.addresses: list[tuple[str, str]] = []
        super().__init__(
            "web1",
            host,
            Target("web1"),
            Console(io.StringIO()),
            action="reboot",
            revision=None,
            deadline=1e12,
            phase=lambda *_: contextlib.nullcontext(),
            sleep=lambda _: None,
        )


def make(change: Booting) -> Applied:
    def applied(_: object, system: str, before: HostState) -> Applied:
        return Applied(state=before.model_copy(update={"profile": system}))

    def rebooted(target: Target, *_: object, up: Target, **__: Any) -> Rebooted:
        change.addresses.append((target.address, up.address))
        return change.reboots.pop(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SupervisedActivation, "apply", applied)
        patch.setattr(module, "reboot", rebooted)
        return change.make(NEW, BEFORE)


def test_what_boots_and_is_well_is_deployed() -> None:
    assert make(Booting(WELL)).outcome is None


@pytest.mark.parametrize(
    ("rebooted", "settings", "outcome"),
    [
        pytest.param(BAD, {"rollback_on": ["units"]}, DeployOutcome.ROLLED_BACK, id="units"),
        pytest.param(BAD, {"rollback_on": ["health"]}, DeployOutcome.FAILED, id="units, which undo nothing"),
        pytest.param(
            BAD, {"rollback_on": ["health"], "health": HEALTH}, DeployOutcome.ROLLED_BACK, id="units, then health"
        ),
        pytest.param(
            WELL, {"rollback_on": ["units"], "health": HEALTH}, DeployOutcome.FAILED, id="health, which undoes nothing"
        ),
        pytest.param(WELL, {"rollback_on": ["health"], "health": HEALTH}, DeployOutcome.ROLLED_BACK, id="health"),
    ],
)
def test_only_what_is_to_undo_a_deployment_undoes_a_reboot(
    rebooted: Rebooted, settings: dict[str, object], outcome: DeployOutcome
) -> None:
    assert make(Booting(rebooted, BACK, **settings)).outcome is outcome


def test_a_host_that_is_not_rebooted_back_still_runs_the_bad_system() -> None:
    stuck = Rebooted(DeployOutcome.REBOOT_REQUIRED, "the host was not rebooted", hint="the next boot takes the new one")
    applied = make(Booting(BAD, stuck))
    assert applied.outcome is DeployOutcome.ROLLBACK_FAILED
    assert applied.state is not None
    assert (applied.state.running, applied.state.profile) == (NEW, OLD)
    assert "web.service" in (applied.why or "")


def test_a_host_that_moved_is_rebooted_back_where_it_is_now() -> None:
    change = Booting(BAD, BACK, confirm_address="web1.new")
    assert make(change).outcome is DeployOutcome.ROLLED_BACK
    assert change.addresses == [("web1", "web1.new"), ("web1.new", "web1")]


def test_where_copying_took_all_the_time_nothing_is_switched() -> None:
    change = Booting(WELL)
    change._deadline = 0
    with pytest.raises(DeployError, match="no time left") as raised:
        make(change)
    assert raised.value.outcome is DeployOutcome.REFUSED
