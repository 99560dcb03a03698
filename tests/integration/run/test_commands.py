"""Integration commands and `nix flake check`, with real shells and Nix."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from pipelinegen import process
from pipelinegen.config import TestConfig
from pipelinegen.console import Console
from pipelinegen.errors import StepFailedError
from pipelinegen.run.result import Reports, StepResult
from pipelinegen.run.test import flake_check, run_command
from tests.integration.run.conftest import Store

pytestmark = pytest.mark.processes


def run(
    command: str, folder: Path, console: Console, timeout: str = "1 minute", junit: Path | None = None
) -> StepResult:
    test = TestConfig(name="smoke", command=command, timeout=timeout)
    return run_command(test, repository=folder, console=console, reports=Reports(junit=junit))


def test_a_command_runs_in_the_repository_and_its_output_is_shown_cleaned(
    tmp_path: Path, console: Console, log: io.StringIO
) -> None:
    (tmp_path / "file").write_text("content\n")
    result = run("cat file; printf 'section_end:1:x\\n' >&2", tmp_path, console)
    assert result.ok
    assert "content\n" in log.getvalue()
    assert "section_end" not in log.getvalue()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        pytest.param("echo before; false; echo after", "it ended with 1", id="a step fails"),
        pytest.param("exit 3", "it ended with 3", id="its own code"),
        pytest.param('echo "$undefined"', "it ended with ", id="an unset variable"),
        pytest.param("no-such-program", "it ended with 127", id="a missing program"),
    ],
)
def test_a_command_that_fails_fails_the_job(tmp_path: Path, console: Console, command: str, why: str) -> None:
    result = run(command, tmp_path, console)
    assert (result.why or "").startswith(why)
    with pytest.raises(StepFailedError, match="smoke failed"):
        result.raise_if_failed()


def test_what_comes_after_a_failing_step_is_not_run(tmp_path: Path, console: Console, log: io.StringIO) -> None:
    run("echo before; false; echo after", tmp_path, console)
    assert "before" in log.getvalue()
    assert "after\n" not in log.getvalue().replace("echo after", "")


def test_the_line_that_runs_a_failed_command_again_does_the_same(
    tmp_path: Path, console: Console, log: io.StringIO
) -> None:
    run("echo one >> told\nif true\nthen exit 3\nfi\n", tmp_path, console)
    again = log.getvalue().partition("again: ")[2]
    ended = process.run(["sh", "-c", again], cwd=tmp_path, allowed="any")
    assert ended.returncode == 3
    assert (tmp_path / "told").read_text() == "one\none\n"


def test_a_command_beyond_its_time_has_failed_and_is_not_tried_again(tmp_path: Path, console: Console) -> None:
    started = time.monotonic()
    result = run("echo begun; sleep 1000", tmp_path, console, timeout="1s", junit=tmp_path / "junit.xml")
    assert time.monotonic() - started < 20
    assert (result.why, result.transient) == ("it did not end within 1s", False)
    assert b"begun" in (tmp_path / "junit.xml").read_bytes()


@pytest.mark.nix
def test_a_sound_flake_passes_and_an_unsound_one_fails_with_nixs_words(
    store: Store, tmp_path: Path, console: Console
) -> None:
    flake = tmp_path / "flake"
    flake.mkdir()
    (flake / "flake.nix").write_text("{ outputs = _: { lib.x = 1; }; }")
    assert flake_check(f"path:{flake}", repository=flake, console=console).ok
    (flake / "flake.nix").write_text('{ outputs = _: { checks.x86_64-linux.x = throw "out of order"; }; }')
    result = flake_check(f"path:{flake}", repository=flake, console=console)
    assert not result.ok
    assert "out of order" in "\n".join(result.items[0].log)
