"""A signal in the middle of a build: builders gone, nothing half written."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelinegen.plan.model import Realise, Stage, Unit, Work
from pipelinegen.run.handoff import read_work, write_handoff
from tests.integration.run.conftest import Caches, Store

pytestmark = pytest.mark.nix

JOB = """
import sys
from pathlib import Path
from pipelinegen import process
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.console import Console
from pipelinegen.errors import InterruptedRunError
from pipelinegen.run.build import run_unit
from pipelinegen.run.handoff import read_work
from pipelinegen.run.result import Reports

folder, config, report, begun = map(Path, sys.argv[1:])
work = read_work(folder)
try:
    with process.interruptible():
        begun.touch()
        run_unit(
            work,
            work.units[0],
            folder=folder,
            config=Config.model_validate_json(config.read_bytes()),
            kind=PipelineClass.PROTECTED,
            console=Console(),
            reports=Reports(junit=report),
        )
except InterruptedRunError as error:
    sys.exit(error.exit_code)
"""


def builders(store: Store) -> list[int]:
    """Processes that build into the store (Nix gives each the store's folder in its environment)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            if b"NIX_STORE=" + str(store.root / "store").encode() in variables:
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("delay", [0.0, 0.4, 1.2, 2.5])
def test_an_interrupted_build_leaves_nothing_running_and_nothing_torn(
    store: Store, caches: Caches, tmp_path: Path, delay: float, number: signal.Signals
) -> None:
    drvs = store.instantiate("lib", "app", "eternal")
    builds = tuple(Realise(drv_path=path, outputs=("out",)) for path in drvs.values())
    unit = Unit(job="job", stage=Stage.BUILD, targets=("a",), builds=builds)
    write_handoff(tmp_path / "handoff", Work(flake=".", units=(unit,)), list(drvs.values()))
    config = tmp_path / "config.json"
    config.write_text(caches.config.model_dump_json())
    report = tmp_path / "report" / "junit.xml"
    begun = tmp_path / "begun"
    with subprocess.Popen(
        [sys.executable, "-c", JOB, tmp_path / "handoff", config, report, begun], stderr=subprocess.PIPE
    ) as job:
        while not begun.exists():
            assert job.poll() is None, job.communicate()[1].decode()
            time.sleep(0.02)
        time.sleep(delay)
        job.send_signal(number)
        _, errors = job.communicate(timeout=30)
    assert job.returncode == 128 + number, errors.decode()
    assert b"Traceback" not in errors
    end = time.monotonic() + 5
    while builders(store):
        assert time.monotonic() < end, builders(store)
        time.sleep(0.1)
    assert not report.exists()
    assert read_work(tmp_path / "handoff").units == (unit,)
    assert list(tmp_path.glob("**/.junit*")) == []
