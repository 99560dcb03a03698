"""The starter of processes, with real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelinegen import interrupts, process
from pipelinegen.errors import CommandError, InterruptedRunError, ToolError, TransientError

pytestmark = pytest.mark.processes


def alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits for its parent to notice its end does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_gone(pid: int, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.02)


def wait_for(file: Path, seconds: float = 10.0) -> str:
    """The content of a file that another process writes."""
    end = time.monotonic() + seconds
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < end, f"{file} was not written"
        time.sleep(0.02)
    return file.read_text()


def test_stdout_comes_back_and_stderr_goes_to_the_callback() -> None:
    lines: list[str] = []
    done = process.run(["sh", "-c", "echo out; echo one >&2; printf two >&2"], on_line=lines.append)
    assert (done.returncode, done.text, lines, done.stderr_tail) == (0, "out\n", ["one", "two"], ("one", "two"))


def test_merged_output_arrives_in_order() -> None:
    lines: list[str] = []
    process.run(["sh", "-c", "echo a; echo b >&2; echo c"], merge_output=True, on_line=lines.append)
    assert lines == ["a", "b", "c"]


def test_stdout_can_be_taken_in_chunks() -> None:
    chunks: list[bytes] = []
    done = process.run(["head", "-c", "300000", "/dev/zero"], on_stdout=chunks.append)
    assert len(chunks) > 1
    assert b"".join(chunks) == bytes(300_000)
    assert done.stdout == b""


def test_bytes_that_are_no_text_do_no_harm() -> None:
    lines: list[str] = []
    process.run(["sh", "-c", r"printf '\377\n' >&2"], on_line=lines.append)
    assert lines == ["�"]


def test_a_failure_tells_command_code_and_last_lines() -> None:
    with pytest.raises(CommandError) as raised:
        process.run(["sh", "-c", "for n in $(seq 40); do echo line $n >&2; done; exit 3"])
    assert raised.value.returncode == 3
    assert raised.value.stderr_tail[-1] == "line 40"
    assert len(raised.value.stderr_tail) == process.STDERR_TAIL_LINES
    assert raised.value.command.startswith("sh -c 'for n in")


def test_a_signal_is_named() -> None:
    with pytest.raises(CommandError, match="was ended by SIGKILL"):
        process.run(["sh", "-c", "kill -9 $$"])


@pytest.mark.parametrize("allowed", [(0, 3), "any"], ids=["listed", "any"])
def test_an_allowed_code_is_no_error(allowed: tuple[int, ...]) -> None:
    assert process.run(["sh", "-c", "exit 3"], allowed=allowed).returncode == 3


def test_secrets_are_masked_everywhere() -> None:
    lines: list[str] = []
    with pytest.raises(CommandError) as raised:
        process.run(["sh", "-c", "echo hunter2 >&2; exit 1"], secrets=["hunter2"], on_line=lines.append)
    assert lines == ["[masked]"]
    assert "hunter2" not in raised.value.command + "".join(raised.value.stderr_tail)


def test_a_missing_program_is_a_missing_tool() -> None:
    with pytest.raises(ToolError, match="no-such-program is not installed"):
        process.run(["no-such-program"])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot start true"):
        process.run(["true"], cwd=tmp_path / "absent")


@pytest.mark.parametrize(
    ("limits", "says"),
    [({"timeout": 0.5}, "did not end within 0.5 s"), ({"stall_timeout": 0.5}, "printed nothing for 0.5 s")],
    ids=["all its time", "silence"],
)
def test_a_command_beyond_its_time_is_ended_with_its_children(
    tmp_path: Path, limits: dict[str, float], says: str
) -> None:
    file = tmp_path / "pids"
    script = f"sleep 1000 & echo $$ $! > {file}; wait"
    with pytest.raises(TransientError, match=says):
        process.run(["sh", "-c", script], **limits)  # type: ignore[arg-type]
    for pid in file.read_text().split():
        wait_until_gone(int(pid))


def test_a_command_that_ignores_the_friendly_signal_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"trap '' TERM; echo $$ > {file}; while :; do sleep 0.1; done"
    with pytest.raises(TransientError):
        process.run(["sh", "-c", script], timeout=0.5, grace=0.5)
    wait_until_gone(int(file.read_text()))


def test_a_callback_can_end_a_command_without_grace(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    def end(_: str) -> None:
        raise process.EndNowError

    started = time.monotonic()
    with pytest.raises(process.EndNowError):
        process.run(
            ["sh", "-c", f"trap '' TERM; echo $$ > {file}; echo x >&2; while :; do sleep 0.1; done"], on_line=end
        )
    assert time.monotonic() - started < 4
    wait_until_gone(int(file.read_text()))


def test_what_a_command_leaves_behind_does_not_hold_us_up_and_goes() -> None:
    started = time.monotonic()
    done = process.run(["sh", "-c", "sleep 1000 & echo $!"])
    assert time.monotonic() - started < 10
    wait_until_gone(int(done.text))


def test_what_ends_on_its_own_costs_no_wait() -> None:
    started = time.monotonic()
    for _ in range(10):
        process.run(["true"])
    assert time.monotonic() - started < 2


def test_a_callback_that_raises_ends_the_command(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    def fail(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="now"):
        process.run(["sh", "-c", f"echo $$ > {file}; echo now >&2; sleep 1000"], on_line=fail)
    wait_until_gone(int(file.read_text()))


def test_idle_is_told_about_once_a_second() -> None:
    calls: list[float] = []
    process.run(["sleep", "2.5"], on_idle=lambda: calls.append(time.monotonic()))
    assert len(calls) == 2


def test_input_is_streamed() -> None:
    done = process.run(["cat"], stdin=(bytes([65 + number]) * 100_000 for number in range(3)))
    assert done.stdout == b"A" * 100_000 + b"B" * 100_000 + b"C" * 100_000


def test_a_command_that_does_not_read_its_input_is_no_failure() -> None:
    assert process.run(["true"], stdin=(bytes(100_000) for _ in range(100))).returncode == 0


def test_input_that_breaks_off_is_not_taken_for_the_whole() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"first\n"
        raise EOFError("torn")

    with pytest.raises(EOFError, match="torn"):
        process.run(["cat"], stdin=chunks())


def test_a_line_without_an_end_cannot_fill_the_memory() -> None:
    longest = 0

    def measure(line: str) -> None:
        nonlocal longest
        longest = max(longest, len(line))

    process.run(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2"], on_line=measure)
    assert longest == process.MAX_LINE_BYTES


def test_the_environment_can_be_given() -> None:
    env = process.environment(without=lambda name: name == "HOME", extra={"COLOUR": "blue"})
    done = process.run(["sh", "-c", 'echo "$COLOUR ${HOME-none}"'], env=env)
    assert done.text == "blue none\n"


# --- signals

INTERRUPTED = """
    import sys, time
    from pathlib import Path
    from pipelinegen import files, interrupts, process
    from pipelinegen.errors import InterruptedRunError
    ready, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        with process.interruptible():
            {body}
    except InterruptedRunError as error:
        sys.exit(error.exit_code)
"""

BODIES = {
    "while a command runs": "process.run(['sh', '-c', f'sleep 1000 & echo $$ $! > {ready}; wait'])",
    "while a command prints without end": "process.run(['sh', '-c', f'echo $$ > {ready}; while :; do echo x; done'])",
    "while a command ignores it": (
        "process.run(['sh', '-c', f\"trap '' TERM INT; echo $$ > {ready}; while :; do sleep 0.1; done\"], grace=0.5)"
    ),
    "while commands run in several threads": (
        "\n            import threading"
        "\n            def work(): process.run(['sh', '-c', f'sleep 1000 & echo $$ $! >> {ready}; wait'])"
        "\n            threading.excepthook = lambda _: None"
        "\n            threads = [threading.Thread(target=work) for _ in range(3)]"
        "\n            [thread.start() for thread in threads]"
        "\n            with interrupts.held():"
        "\n                [thread.join() for thread in threads]"
    ),
    "between commands": "ready.write_text('\\n'); time.sleep(1000)",
    "while commands come and go": (
        "ready.write_text('\\n'); [process.run(['sh', '-c', 'sleep 0.01']) for _ in range(100000)]"
    ),
    "while a file is written": (
        "\n            with files.atomic_writer(target) as file:"
        "\n                file.write(b'half'); file.flush(); ready.write_text('\\n'); time.sleep(1000)"
    ),
    "while files come and go": (
        "ready.write_text('\\n'); [files.write_atomic(target, b'whole') for _ in range(1000000)]"
    ),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("when", BODIES)
def test_a_signal_ends_everything(tmp_path: Path, when: str, number: signal.Signals) -> None:
    folder = tmp_path / "written"
    folder.mkdir()
    ready = tmp_path / "ready"
    script = textwrap.dedent(INTERRUPTED).replace("{body}", BODIES[when])
    with subprocess.Popen([sys.executable, "-c", script, ready, folder / "file"], stderr=subprocess.PIPE) as child:
        pids = [int(pid) for pid in wait_for(ready).split()]
        time.sleep(0.3)
        child.send_signal(number)
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 128 + number, errors.decode()
    assert errors == b""
    for pid in pids:
        wait_until_gone(pid)
    assert [file.read_bytes() for file in folder.iterdir()] in ([], [b"whole"])
    assert {file.name for file in folder.iterdir()} <= {"file"}


def test_the_first_signal_raises_and_the_second_does_not_disturb_the_cleaning_up() -> None:
    cleaned: list[str] = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            cleaned.append(process.run(["echo", "cleaned"]).text)

    with pytest.raises(InterruptedRunError) as raised, process.interruptible():
        work()
    assert raised.value.exit_code == 143
    assert cleaned == ["cleaned\n"]


def test_a_signal_inside_held_waits_for_its_end() -> None:
    steps: list[str] = []

    def work() -> None:
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("half")
            steps.append("whole")
        steps.append("never")

    with pytest.raises(InterruptedRunError), process.interruptible():
        work()
    assert steps == ["half", "whole"]


def test_commands_of_other_threads_are_ended_too() -> None:
    ended: list[type[BaseException]] = []

    def work() -> None:
        try:
            process.run(["sleep", "1000"])
        except InterruptedRunError as error:
            ended.append(type(error))

    thread = threading.Thread(target=work)

    def interrupt() -> None:
        time.sleep(0.3)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            thread.join(timeout=10)

    thread.start()
    with pytest.raises(InterruptedRunError), process.interruptible():
        interrupt()
    assert ended == [InterruptedRunError]


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with process.interruptible():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_who_ignores_that_the_terminal_is_closed_goes_on() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_argument_that_no_process_can_take_is_told() -> None:
    with pytest.raises(ToolError, match="cannot start true"):
        process.run(["true", "a\0b"])
