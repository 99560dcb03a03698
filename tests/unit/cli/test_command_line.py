"""Exit codes, the shape of errors, help that cannot drift."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pipelinegen.cli import COMMANDS, group, run_command_line
from pipelinegen.cli.failure import show_failure
from pipelinegen.errors import CommandError, ConfigError, PipelinegenError
from pipelinegen.files import is_folder


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


ALL = list(commands(group))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "pipelinegen" for path, _ in ALL])
def test_every_command_and_option_says_what_it_does(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.name} has no help"


def test_no_two_commands_have_one_help_text() -> None:
    texts = [command.help for _, command in ALL]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_command_says(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.help is not None
    words = COMMANDS[name].rstrip(".").split(",")[0].split()[:1]
    assert command.help.startswith(words[0]), "both say it with the same verb"


@pytest.mark.processes
def test_help_imports_neither_pydantic_nor_git() -> None:
    code = (
        "import sys\nfrom pipelinegen.cli import run_command_line\n"
        "run_command_line(['--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('pydantic', 'git', 'httpx', 'yaml')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["previeww"], 2),
        (["preview", "--nonsense"], 2),
        (["--config", "missing.toml", "config", "show"], 2),
        (["check", "missing.yml"], 2),
        (["run", "build", "x", "--handoff", "nowhere"], 2),
        (["run", "test"], 2),
        (["run", "push", "--to", "nowhere", "/nix/store/x"], 2),
        (["run", "deploy", "nobody", "--system", "/nix/store/x"], 2),
        (["config", "schema"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_exit_codes(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command_line(arguments) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if code:
        assert "error" in said.lower()


def test_an_error_is_a_sentence_and_labelled_lines(capsys: pytest.CaptureFixture[str]) -> None:
    error = PipelinegenError("it broke", where="here", why="one\ntwo", hint="mend it")
    assert show_failure(error) == 1
    assert capsys.readouterr().err == ("error: it broke\n  where  here\n  why    one\n         two\n  hint   mend it\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["previw"], "did you mean 'preview'?"),
        (["preview", "--jsn"], "--json"),
        (["explain"], "target"),
        (["pre\x1b[31m\nerror: forged"], "no such command"),
    ],
    ids=["command", "option", "missing argument", "hostile"],
)
def test_a_wrong_command_line_is_an_error_of_the_same_shape(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("error: ") == 1 or "forged" in said.split("\n")[0]
    assert "  hint   pipelinegen" in said
    assert words in said.lower()
    assert "\x1b" not in said


def test_what_is_too_long_for_a_file_name_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_folder(tmp_path / ("x" * 300))
    assert run_command_line(["-C", str(tmp_path), "check", "x" * 300]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_failed_command_shows_its_last_lines_without_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    error = CommandError("nix failed", command="nix build", returncode=1, stderr_tail=["\x1b[2Jgone", "why"])
    assert show_failure(error) == 5
    said = capsys.readouterr().err
    assert "nix build" in said
    assert "\x1b" not in said


def test_a_bug_is_code_70_and_a_report_not_a_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert show_failure(KeyError("unexpected")) == 70
    said = capsys.readouterr().err
    assert "Traceback" not in said
    report = Path(said.rsplit(" ", 1)[-1].strip())
    assert "pipelinegen" in report.read_text("utf-8")
    report.unlink()


def test_configuration_errors_are_all_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelinegen.toml").write_text("hots = 1\nexclud = 2\n")
    assert run_command_line(["config", "show"]) == ConfigError.exit_code
    said = capsys.readouterr().err
    assert "hots" in said
    assert "exclud" in said


@pytest.mark.processes  # click asks bash for its version
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_completion_script(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_PIPELINEGEN_COMPLETE", f"{shell}_source")
    with pytest.raises(SystemExit) as ended:
        run_command_line([])
    assert ended.value.code == 0
    assert "pipelinegen" in capsys.readouterr().out


@pytest.mark.processes
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"], ids=["stdout", "stderr", "all"])
def test_a_stream_that_was_closed_is_no_bug(tmp_path: Path, closed: str) -> None:
    (tmp_path / "pipelinegen.toml").write_text('[caches.ci]\nurl = "file:///nonexistent"\npublic_key = "k:x"\n')
    line = f"{sys.executable} -m pipelinegen -C {tmp_path} config show {closed}"
    done = subprocess.run(["sh", "-c", line], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
