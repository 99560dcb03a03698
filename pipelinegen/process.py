"""The one place that starts processes.

Every command is an argument list (never a shell string), runs in a session of its own, has its last
stderr lines kept for the error, and is ended with all its children when this process is interrupted,
when its time is up, or when a callback raises.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pipelinegen.errors import CommandError, ToolError, TransientError

log = logging.getLogger(__name__)

STDERR_TAIL_LINES = 15
MAX_LINE_BYTES = 64 * 1024
GRACE_SECONDS = 5.0
"""How long a child may take to end after SIGTERM before it gets SIGKILL."""


@dataclass(frozen=True)
class Completed:
    """A command that ended with an allowed code."""

    returncode: int
    stdout: bytes
    stderr_tail: tuple[str, ...]

    @property
    def text(self) -> str:
        """Stdout as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")


class _Redactor:
    """Removes secret values from everything that is shown."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({s for s in secrets if s}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[masked]")
        return text


def quote(argv: Sequence[str | Path]) -> str:
    """`argv` as a line that can be pasted into a POSIX shell."""
    return shlex.join(str(part) for part in argv)


def find_tool(name: str, *, hint: str | None = None) -> str:
    """The full path of `name`.

    Raises:
        ToolError: it is not on PATH.
    """
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"{name} is not installed", why=f"PATH is {os.environ.get('PATH', '')}", hint=hint)
    return path


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | Iterable[bytes] | None = None,
    allowed: Sequence[int] | Literal["any"] = (0,),
    timeout: float | None = None,
    stall_timeout: float | None = None,
    secrets: Iterable[str] = (),
    merge_output: bool = False,
    on_stdout: Callable[[bytes], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
    prepare_child: Callable[[], None] | None = None,
) -> Completed:
    """Run a command to its end.

    Args:
        argv: program and arguments; the program is looked up on PATH.
        env: the whole environment of the child; None means ours.
        stdin: bytes, or chunks that are written as the child reads them; None means no input.
        allowed: exit codes that are no error.
        timeout: seconds for the whole command.
        stall_timeout: seconds without any output, after which the command is ended.
        secrets: values replaced in everything that is logged or raised.
        merge_output: send stdout where stderr goes (both then arrive in `on_line`).
        on_stdout: takes stdout in chunks; without it stdout is returned whole.
        on_line: takes each stderr line without its end, undecodable bytes replaced, as it comes.
        on_idle: called about once a second while nothing comes (heartbeats).
        prepare_child: called in the child before exec (resource limits).

    Callbacks run in the calling thread.

    Raises:
        ToolError: the program does not exist or cannot be started.
        CommandError: it ended with a code that is not allowed.
        TransientError: `timeout` or `stall_timeout` passed.
    """
    redact = _Redactor(secrets)
    shown = redact(quote(argv))
    log.debug("$ %s", shown)
    program = find_tool(str(argv[0]))
    try:
        child = subprocess.Popen(
            [program, *map(str, argv[1:])],
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge_output else subprocess.PIPE,
            start_new_session=True,
            preexec_fn=prepare_child,  # noqa: PLW1509  # limits only; no threads are held at this point
        )
    except OSError as error:
        raise ToolError(f"cannot start {argv[0]}", why=error.strerror, where=shown) from error
    tail: deque[str] = deque(maxlen=STDERR_TAIL_LINES)
    captured: list[bytes] = []
    events: queue.Queue[tuple[str, bytes]] = queue.Queue(maxsize=2000)
    stop = threading.Event()
    threads = _start_pumps(child, stdin, events, stop, merged=merge_output)
    open_streams = 1 if merge_output else 2
    started = last_output = time.monotonic()
    try:
        while open_streams:
            now = time.monotonic()
            if timeout is not None and now - started > timeout:
                raise TransientError(f"{argv[0]} did not end within {timeout:g} s", where=shown)
            if stall_timeout is not None and now - last_output > stall_timeout:
                raise TransientError(f"{argv[0]} printed nothing for {stall_timeout:g} s", where=shown)
            try:
                kind, data = events.get(timeout=1.0 if on_idle else 0.2)
            except queue.Empty:
                if on_idle:
                    on_idle()
                continue
            last_output = time.monotonic()
            if kind == "end":
                open_streams -= 1
            elif kind == "out":
                (on_stdout or captured.append)(data)
            else:
                line = redact(data.decode("utf-8", "replace"))
                tail.append(line)
                if on_line:
                    on_line(line)
        returncode = child.wait()
    finally:
        stop.set()
        _end_group(child)
        for thread in threads:
            thread.join(timeout=GRACE_SECONDS)
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
    if allowed != "any" and returncode not in allowed:
        raise CommandError(
            f"{Path(str(argv[0])).name} {_ending(returncode)}",
            command=shown,
            returncode=returncode,
            stderr_tail=tuple(tail),
        )
    return Completed(returncode, b"".join(captured), tuple(tail))


def _ending(returncode: int) -> str:
    if returncode < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-returncode).name}"
        return f"was ended by signal {-returncode}"
    return f"failed with exit code {returncode}"


def _start_pumps(
    child: subprocess.Popen[bytes],
    stdin: bytes | Iterable[bytes] | None,
    events: queue.Queue[tuple[str, bytes]],
    stop: threading.Event,
    *,
    merged: bool,
) -> list[threading.Thread]:
    def put(kind: str, data: bytes) -> None:
        while not stop.is_set():
            try:
                events.put((kind, data), timeout=0.5)
            except queue.Full:
                continue
            return

    def pump_bytes(stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
                put("out", chunk)
        put("end", b"")

    def pump_lines(stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := stream.readline(MAX_LINE_BYTES):
                put("line", line.rstrip(b"\n"))
        put("end", b"")

    def feed(stream: IO[bytes], chunks: Iterable[bytes]) -> None:
        # A child that stops reading early says why itself; a broken pipe adds nothing.
        with contextlib.suppress(OSError, ValueError):
            for chunk in chunks:
                if stop.is_set():
                    break
                stream.write(chunk)
        with contextlib.suppress(OSError, ValueError):
            stream.close()

    threads = []
    if child.stdout is not None:
        target = pump_lines if merged else pump_bytes
        threads.append(threading.Thread(target=target, args=(child.stdout,), daemon=True))
    if child.stderr is not None:
        threads.append(threading.Thread(target=pump_lines, args=(child.stderr,), daemon=True))
    if child.stdin is not None and stdin is not None:
        chunks = [stdin] if isinstance(stdin, bytes) else stdin
        threads.append(threading.Thread(target=feed, args=(child.stdin, chunks), daemon=True))
    for thread in threads:
        thread.start()
    return threads


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child and what it started; return when the child is gone."""
    if child.poll() is not None:
        # The leader is gone; whatever it left behind in its session goes too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
