"""Many deployments with random faults on machines that are never set up anew: no state that was not named.

PIPELINEGEN_FAULT_RUNS says how many (40 where it is not set), PIPELINEGEN_FAULT_SEED draws others.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.lab.conftest import MakeHost
from tests.lab.deployer import Deployer
from tests.lab.faults import Gauntlet
from tests.lab.store import PrivateStore

RUNS = int(os.environ.get("PIPELINEGEN_FAULT_RUNS", "40"))
SEED = int(os.environ.get("PIPELINEGEN_FAULT_SEED", "5"))
SEQUENCES = 4

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.time_limit(60 + 60 * RUNS // SEQUENCES)]


@pytest.mark.parametrize(
    "sequence",
    [
        pytest.param(number, marks=pytest.mark.xdist_group(f"deploy-random-{number}"), id=f"sequence {number}")
        for number in range(SEQUENCES)
    ],
)
def test_after_every_fault_the_host_is_in_the_state_that_was_named(
    make_host: MakeHost, systems: tuple[PrivateStore, dict[str, str]], tmp_path: Path, sequence: int
) -> None:
    deployer = Deployer(systems[0], make_host("web1"), tmp_path, patience=10, built=systems[1])
    deployer.configure()
    print(f"PIPELINEGEN_FAULT_SEED={SEED} PIPELINEGEN_FAULT_RUNS={RUNS}, sequence {sequence}")  # noqa: T201
    luck = random.Random(f"{SEED} {sequence}")  # noqa: S311  # drawn again from the same seed
    gauntlet = Gauntlet(deployer, luck)
    for _ in range(RUNS // SEQUENCES):
        print(gauntlet.run(), flush=True)  # noqa: T201
    gauntlet.works()
