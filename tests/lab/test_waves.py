"""The pipeline of a fleet in waves, run by a pipeline runner; deployments are played by a script, the rest is real.

What differs from GitLab: once a job has failed, the runner starts nothing that stands behind it over however many
others, unless it is `when: always` or `on_failure`; and what waits for a job that was not started waits for ever. So
it cannot show what is behind a wave whose failures are allowed, nor hosts that are brought back. What GitLab does then
is tested in `tests/unit/pipeline/test_fleet.py`, by GitLab's rules.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config_file import parse
from pipelinegen.pipeline.compile import Surroundings, compile_pipeline
from pipelinegen.pipeline.emit import to_yaml
from pipelinegen.testing import plan_recording
from tests.factory import Fleet
from tests.lab.machine import REPOSITORY
from tests.lab.repo import new_project
from tests.lab.runner import PipelineResult, Runner, push_variables

pytestmark = [pytest.mark.lab, pytest.mark.time_limit(200)]

HOSTS = ("c", "h1", "h2", "h3", "h4")

_STUB = """\
#!/bin/sh
set -eu
if [ "$2" = wave ]; then
  export PYTHONPATH={repository}
  exec {python} -m pipelinegen "$@"
fi
for host; do :; done
case " $* " in
  *" deploy "*" --undo "*) echo "$host" >> {log}/undone; exit 0 ;;
  *" deploy "*) ;;
  *) exit 0 ;;
esac
echo "$host" >> {log}/deployed
while [ "$1" != --report ]; do shift; done
mkdir -p "$(dirname "$2")"
result=deployed code=0
case " {failing} " in *" $host "*) result=rolled-back code=20 ;; esac
printf '{{"host": "%s", "address": "h", "system": "/s", "result": "%s", "exit_code": %s, "revision": "%s"}}' \\
  "$host" "$result" "$code" "$CI_COMMIT_SHA" > "$2"
exit "$code"
"""
"""In place of pipelinegen: `run wave` is the real one, a deployment writes a report and ends as it is told."""


@dataclass(frozen=True)
class Ran:
    """The pipeline, and what was done to hosts, in order."""

    result: PipelineResult
    deployed: list[str]
    undone: list[str]


@dataclass(frozen=True)
class Play:
    """Runs a fleet's pipeline in which some deployments fail."""

    runner: Runner
    folder: Path

    def __call__(self, failing: Collection[str], *, manual: Collection[str] = (), **fleet: Any) -> Ran:
        log = self.folder / "log"
        log.mkdir()
        stub = self.folder / "stub"
        text = _STUB.format(
            repository=shlex.quote(str(REPOSITORY)),
            python=shlex.quote(sys.executable),
            log=shlex.quote(str(log)),
            failing=" ".join(failing),
        )
        stub.write_text(text, "utf-8")
        flake = Fleet()
        for name in HOSTS:
            flake.host(name, flake.drv(f"system-{name}"))
        config = parse(
            {
                "hosts": {name: {"address": "h", "environment": name} for name in HOSTS},
                "fleet": fleet,
                "packing": {"record": False},
                "gitlab": {"command": f"sh {shlex.quote(str(stub))}"},
            }
        )
        pipeline = compile_pipeline(
            plan_recording(flake.recording(), config=config), config, Surroundings(kind=PipelineClass.PROTECTED)
        )
        child = self.folder / "child.yml"
        child.write_text(to_yaml(pipeline), "utf-8")
        project = new_project(self.folder / "project")
        result = self.runner.run_pipeline(
            child,
            project.clone(self.folder / "checkout"),
            variables=push_variables(branch="main", commit=project.head),
            manual=manual,
        )
        return Ran(result, _lines(log / "deployed"), _lines(log / "undone"))


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").split() if file.exists() else []


@pytest.fixture
def play(runner: Runner, tmp_path: Path) -> Play:
    return Play(runner, tmp_path)


def test_a_canary_that_fails_keeps_all_others_as_they_were(play: Play) -> None:
    ran = play(["c"], canary=["c"], wave="2")
    assert ran.deployed == ["c"], ran.result.describe()
    assert not ran.result.passed
    assert ran.result.names("failed") == {"deploy c"}
    assert {"wave 1", "wave 2", *(f"deploy h{n}" for n in range(1, 5))} <= ran.result.names("not run")


def test_waves_follow_each_other(play: Play) -> None:
    ran = play([], canary=["c"], wave="2")
    assert ran.result.passed, ran.result.describe()
    assert [ran.deployed[0], sorted(ran.deployed[1:3]), sorted(ran.deployed[3:])] == ["c", ["h1", "h2"], ["h3", "h4"]]


def test_a_later_wave_that_fails_stops_what_is_behind_it(play: Play) -> None:
    ran = play(["h2"], canary=["c"], wave="2")
    assert sorted(ran.deployed) == ["c", "h1", "h2"], ran.result.describe()


def test_a_wave_starts_when_a_person_says_so(play: Play) -> None:
    ran = play([], canary=["c"], wave="2", approve="each", manual=["start wave 2"])
    assert sorted(ran.deployed) == ["c", "h1", "h2"], ran.result.describe()


def test_allowed_failures_let_a_wave_pass(play: Play) -> None:
    ran = play(["h2"], canary=["c"], wave="2", max_failures=1)
    assert set(ran.deployed) >= {"c", "h1", "h2"}, ran.result.describe()
    assert ran.result.jobs["wave 2"].status == "passed", ran.result.describe()
    log = ran.result.jobs["wave 2"].log
    assert "ok      h1  deployed" in log
    assert "failed  h2  rolled-back (exit code 20)" in log
    assert "1 of 2 hosts failed; 1 may" in log


def test_one_failure_too_many_stops_what_is_behind_it(play: Play) -> None:
    ran = play(["h1", "h2"], canary=["c"], wave="2", max_failures=1)
    assert sorted(ran.deployed) == ["c", "h1", "h2"], ran.result.describe()
    assert ran.result.jobs["wave 2"].status == "failed"


def test_nothing_is_brought_back_where_all_went_well(play: Play) -> None:
    ran = play([], canary=["c"], wave="2", max_failures=1, rollback_succeeded=True)
    assert ran.result.passed, ran.result.describe()
    assert sorted(ran.deployed) == sorted(HOSTS)
    assert ran.undone == []
    assert {"wave 1", "wave 2", "wave 3"} <= ran.result.names("passed")
