"""What jobs leave of their build times, and `run record`, which fails nobody."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from pipelinegen.cli import run_command_line
from pipelinegen.console import Console
from pipelinegen.history import BuildTime, History, Times
from pipelinegen.history_files import read_history, read_times, write_times
from pipelinegen.run.build_log import Build, BuildLog
from pipelinegen.run.result import Reports
from pipelinegen.run.times import leave, run_record

LINUX = "x86_64-linux"
HASH = "a" * 32


def log_of(**seconds: float | None) -> BuildLog:
    """Builds of that long, in the order given; null for one that is not at its end."""
    log = BuildLog(Console(io.StringIO()))
    for name, took in seconds.items():
        path = f"/nix/store/{HASH}-{name}-1.0.drv"
        log.builds[path] = Build(path, started=0.0, seconds=took)
    return log


def left(folder: Path, name: str, **seconds: float) -> None:
    """What a job built, in its file."""
    builds = (BuildTime(name=package, system=LINUX, seconds=took) for package, took in seconds.items())
    write_times(folder / f"{name}.json", Times(builds=tuple(builds)))


def record(folder: Path, file: Path) -> tuple[History, str]:
    """The history behind it, and what was said."""
    said = io.StringIO()
    run_record(folder, file, console=Console(said))
    return read_history(file)[0], said.getvalue()


def test_a_job_leaves_what_it_has_built_and_not_what_it_has_begun(tmp_path: Path) -> None:
    file = tmp_path / "times" / "a.json"
    leave(Reports(times=file), log_of(hello=3.14159, world=None), LINUX, Console(io.StringIO()))
    assert read_times(file) == (Times(builds=(BuildTime(name="hello-1.0", system=LINUX, seconds=3.142),)), None)


def test_a_job_that_built_nothing_leaves_that(tmp_path: Path) -> None:
    leave(Reports(times=tmp_path / "a.json"), log_of(), LINUX, Console(io.StringIO()))
    assert read_times(tmp_path / "a.json") == (Times(), None)


def test_nobody_is_told_who_did_not_ask(tmp_path: Path) -> None:
    for reports in (None, Reports()):
        leave(reports, log_of(hello=1), LINUX, Console(io.StringIO()))


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), 1e12], ids=str)
def test_a_time_that_cannot_be_is_left_out(tmp_path: Path, seconds: float) -> None:
    leave(Reports(times=tmp_path / "a.json"), log_of(hello=seconds, world=2), LINUX, Console(io.StringIO()))
    assert [build.name for build in read_times(tmp_path / "a.json")[0].builds] == ["world-1.0"]


def test_times_that_cannot_be_written_do_not_fail_a_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = io.StringIO()
    leave(Reports(times=tmp_path / "file" / "a.json"), log_of(hello=1), LINUX, Console(said))
    assert said.getvalue().startswith("warning: the build times are not recorded: cannot write a.json")


def test_what_all_jobs_left_goes_into_the_history(tmp_path: Path) -> None:
    left(tmp_path / "times", "one", hello=3)
    left(tmp_path / "times", "two", world=4)
    (tmp_path / "times" / "readme.txt").write_text("not one of them")
    history, said = record(tmp_path / "times", tmp_path / "history" / "history.json")
    assert (history.seconds_of("hello-2", LINUX), history.seconds_of("world-2", LINUX)) == (3, 4)
    assert said == "recorded 2 build times of 2 jobs; times of 2 packages are known\n"
    left(tmp_path / "times", "one", hello=5)
    history, _ = record(tmp_path / "times", tmp_path / "history" / "history.json")
    assert history.seconds_of("hello-2", LINUX) == 4
    assert history.entries[LINUX]["hello"].builds == 2


def test_a_torn_file_of_one_job_costs_the_others_nothing(tmp_path: Path) -> None:
    left(tmp_path / "times", "one", hello=3)
    (tmp_path / "times" / "two.json").write_text('{"builds": [')
    history, said = record(tmp_path / "times", tmp_path / "history.json")
    assert history.seconds_of("hello", LINUX) == 3
    assert "warning: the build times of a job are not recorded" in said


def test_a_torn_history_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text("{")
    left(tmp_path / "times", "one", hello=3)
    history, said = record(tmp_path / "times", tmp_path / "history.json")
    assert history.size == 1
    assert "warning: the recorded build times are not used" in said


def test_without_any_file_there_is_an_empty_history(tmp_path: Path) -> None:
    history, _ = record(tmp_path / "nowhere", tmp_path / "history.json")
    assert history == History()
    assert (tmp_path / "history.json").exists()


def test_the_command_ends_well_even_where_nothing_can_be_read_or_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    options = ["--times-dir", "file", "--history", "file/history.json"]
    assert run_command_line(["-C", str(tmp_path), "run", "record", *options]) == 0
    assert "warning: the build times are not recorded" in capfd.readouterr().err


def test_the_command_finds_everything_in_its_usual_place(tmp_path: Path) -> None:
    left(tmp_path / ".pipelinegen-times", "one", hello=3)
    assert run_command_line(["-C", str(tmp_path), "run", "record"]) == 0
    record = json.loads((tmp_path / ".pipelinegen-history" / "history.json").read_text())
    assert record == {"entries": {LINUX: {"hello": {"recent": [3.0]}}}, "format_version": "1.0"}
