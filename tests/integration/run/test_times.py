"""Build times with real Nix: of what was built here, and only of that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelinegen.cache.trust import PipelineClass
from pipelinegen.console import Console
from pipelinegen.history_files import read_times
from pipelinegen.job_names import slug
from pipelinegen.plan.model import Realise, Stage, Unit, Work
from pipelinegen.run.build import run_unit
from pipelinegen.run.handoff import write_handoff
from pipelinegen.run.result import Reports
from tests.integration.run.conftest import Caches, Store

pytestmark = pytest.mark.nix

LINUX = "x86_64-linux"

TWO = """
let
  make = name: script: inputs: derivation {
    inherit name inputs;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  };
in rec {
  short = make "short" "echo > $out" [ ];
  # Says beside the store that it has begun.
  endless = make "endless" "echo > $NIX_STORE/../begun; while :; do :; done" [ short ];
}
"""


def build(tmp_path: Path, caches: Caches, console: Console, *drv_paths: str) -> dict[str, float]:
    """Build as a job does; the times that it left, by name."""
    builds = tuple(Realise(drv_path=path, outputs=("out",)) for path in drv_paths)
    unit = Unit(job="build things", stage=Stage.BUILD, targets=("a",), builds=builds, system=LINUX)
    work = write_handoff(tmp_path / "handoff", Work(flake=".", units=(unit,)), drv_paths)
    times = tmp_path / "times" / "build.json"
    run_unit(
        work,
        unit,
        folder=tmp_path / "handoff",
        config=caches.config,
        kind=PipelineClass.PROTECTED,
        console=console,
        reports=Reports(times=times),
    )
    left, trouble = read_times(times)
    found = left.builds
    assert trouble is None
    assert {one.system for one in found} <= {LINUX}
    return {one.name: one.seconds for one in found}


def test_what_a_job_builds_has_a_time_and_what_fails_has_none(
    store: Store, caches: Caches, tmp_path: Path, console: Console
) -> None:
    drvs = store.instantiate("lib", "app", "broken", "above")
    times = build(tmp_path, caches, console, *drvs.values())
    assert set(times) == {"lib", "app"}
    assert all(0 <= seconds < 60 for seconds in times.values())


def test_what_is_there_or_is_fetched_has_no_time(
    store: Store, caches: Caches, tmp_path: Path, console: Console
) -> None:
    drvs = store.instantiate("lib", "app")
    assert set(build(tmp_path, caches, console, drvs["lib"])) == {"lib"}
    assert build(tmp_path, caches, console, drvs["lib"]) == {}
    store.delete(store.output(drvs["lib"]))  # the job's cache still has it
    assert set(build(tmp_path, caches, console, drvs["app"])) == {"app"}
    assert store.valid(store.output(drvs["lib"]))


def test_a_job_that_is_ended_half_way_leaves_the_times_of_what_it_finished(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "two.nix"
    file.write_text(TWO)
    listed = subprocess.run(["nix-instantiate", file], capture_output=True, check=True, text=True).stdout.split()
    builds = tuple(Realise(drv_path=path, outputs=("out",)) for path in listed)
    unit = Unit(job="build things", stage=Stage.BUILD, targets=("a",), builds=builds, system=LINUX)
    write_handoff(tmp_path / "handoff", Work(flake=".", units=(unit,)), listed)
    argv = ["-m", "pipelinegen", "run", "build", "--handoff", "handoff", "--times-dir", "times", "--", "things"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, *argv], cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as job:
        end = time.monotonic() + 30
        while not (tmp_path / "nix" / "begun").exists():
            assert job.poll() is None, job.communicate()[1].decode()
            assert time.monotonic() < end
            time.sleep(0.1)
        job.send_signal(signal.SIGTERM)
        _, said = job.communicate(timeout=30)
    assert job.returncode == 128 + signal.SIGTERM, said.decode()
    left, trouble = read_times(tmp_path / "times" / f"{slug(unit.job)}.json")
    times = left.builds
    assert trouble is None
    assert [one.name for one in times] == ["short"], said.decode()
