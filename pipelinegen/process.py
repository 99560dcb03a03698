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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pipelinegen import interrupts
from pipelinegen.errors import CommandError, ToolError, TransientError

log = logging.getLogger(__name__)

interruptible = interrupts.interruptible

STDERR_TAIL_LINES = 15
MAX_LINE_BYTES = 64 * 1024
GRACE_SECONDS = 5.0
"""How long a child may take to end after SIGTERM before it gets SIGKILL."""
LEFTOVER_SECONDS = 0.2
"""How long what a command left behind may take to end after the command itself ended."""
DRAIN_SECONDS = 1.0
"""How long output is still read after the command ended while something it left behind holds the pipe."""
POLL_SECONDS = 0.2
IDLE_SECONDS = 1.0


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


class EndNowError(Exception):
    """Raised by a callback of `run` when the command has nothing under way that it should end properly."""


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


def environment(
    *, without: Callable[[str], bool] = lambda _: False, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Our environment for a child, less the variables that `without` names, plus `extra`."""
    return {name: value for name, value in os.environ.items() if not without(name)} | dict(extra or {})


def cache_home() -> Path:
    """Where programs keep their caches, by the XDG Base Directory Specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def nix_cache_home() -> Path:
    """Where Nix keeps its caches."""
    named = os.environ.get("NIX_CACHE_HOME")
    return Path(named) if named else cache_home() / "nix"


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
    grace: float = GRACE_SECONDS,
) -> Completed:
    """Run a command to its end. Several may run at once, each in a thread of its own.

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
        on_line: takes each stderr line without its end, undecodable bytes replaced, as it comes. A line
            longer than `MAX_LINE_BYTES` arrives in pieces.
        on_idle: called about once a second while nothing comes (heartbeats).
        prepare_child: called in the child before exec (resource limits).
        grace: seconds that it has to end after SIGTERM, when it is ended early (`EndNowError`: none).

    Callbacks run in the calling thread. What raises while chunks of `stdin` are made is raised here.

    Raises:
        ToolError: the program does not exist or cannot be started.
        CommandError: it ended with a code that is not allowed.
        TransientError: `timeout` or `stall_timeout` passed.
        InterruptedRunError: a signal arrived (inside `interruptible`); the children are gone.
    """
    redact = _Redactor(secrets)
    shown = redact(quote(argv))
    log.debug("$ %s", shown)
    program = find_tool(str(argv[0]))
    tail: deque[str] = deque(maxlen=STDERR_TAIL_LINES)
    captured: list[bytes] = []

    def take_line(data: bytes) -> None:
        line = redact(data.decode("utf-8", "replace"))
        tail.append(line)
        if on_line:
            on_line(line)

    # Between the start of a child and the knowledge of it, and during its end, no signal may get through.
    with interrupts.held():
        child = _Child(
            [program, *map(str, argv[1:])],
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=stdin,
            merged=merge_output,
            prepare_child=prepare_child,
            shown=shown,
        )
        try:
            limits = _Limits(str(argv[0]), shown, timeout, stall_timeout, on_idle)
            for kind, data in child.output(limits):
                if kind == "out":
                    (on_stdout or captured.append)(data)
                else:
                    take_line(data)
            returncode = child.wait()
        except EndNowError:
            grace = 0.0
            raise
        finally:
            child.end(grace)
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


class _Limits:
    """What is looked at again and again while a command runs: its time, its silence, signals to us."""

    def __init__(
        self,
        name: str,
        shown: str,
        timeout: float | None,
        stall_timeout: float | None,
        on_idle: Callable[[], None] | None,
    ) -> None:
        self._name = name
        self._shown = shown
        self._timeout = timeout
        self._stall_timeout = stall_timeout
        self._on_idle = on_idle
        self._started = self._last_output = self._last_idle = time.monotonic()

    def output_came(self) -> None:
        self._last_output = self._last_idle = time.monotonic()

    def nothing_came(self) -> None:
        now = time.monotonic()
        if self._on_idle and now - self._last_idle >= IDLE_SECONDS:
            self._last_idle = now
            self._on_idle()

    def check(self) -> None:
        interrupts.check()
        now = time.monotonic()
        if self._timeout is not None and now - self._started > self._timeout:
            raise TransientError(f"{self._name} did not end within {self._timeout:g} s", where=self._shown)
        if self._stall_timeout is not None and now - self._last_output > self._stall_timeout:
            raise TransientError(f"{self._name} printed nothing for {self._stall_timeout:g} s", where=self._shown)


class _Child:
    """A started process, with a thread for each of its streams."""

    def __init__(
        self,
        argv: list[str],
        *,
        cwd: Path | None,
        env: dict[str, str] | None,
        stdin: bytes | Iterable[bytes] | None,
        merged: bool,
        prepare_child: Callable[[], None] | None,
        shown: str,
    ) -> None:
        try:
            self._process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                start_new_session=True,
                preexec_fn=prepare_child,  # noqa: PLW1509  # limits only; no threads are held at this point
            )
        except (OSError, ValueError) as error:  # a NUL or a lone surrogate cannot be an argument
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ToolError(f"cannot start {Path(argv[0]).name}", why=why, where=shown) from error
        self._events: queue.Queue[tuple[str, bytes]] = queue.Queue(maxsize=2000)
        self._stop = threading.Event()
        self._input_failure: BaseException | None = None
        self._open_streams = 1 if merged else 2
        self._threads: list[threading.Thread] = []
        if self._process.stdout is not None:
            self._start_thread(self._pump_lines if merged else self._pump_bytes, self._process.stdout)
        if self._process.stderr is not None:
            self._start_thread(self._pump_lines, self._process.stderr)
        if self._process.stdin is not None and stdin is not None:
            self._start_thread(self._feed, self._process.stdin, [stdin] if isinstance(stdin, bytes) else stdin)

    def output(self, limits: _Limits) -> Iterator[tuple[str, bytes]]:
        """`("out", chunk)` and `("line", line)` as they come, until both streams end."""
        drained_at: float | None = None
        while self._open_streams:
            limits.check()
            if self._input_failure is not None:
                raise self._input_failure
            try:
                kind, data = self._events.get(timeout=POLL_SECONDS)
            except queue.Empty:
                limits.nothing_came()
                # A background process that the command left behind may hold the pipe open for ever.
                if drained_at is None and self._has_ended():
                    drained_at = time.monotonic() + DRAIN_SECONDS
                if drained_at is not None and time.monotonic() > drained_at:
                    return
                continue
            limits.output_came()
            if kind == "end":
                self._open_streams -= 1
            else:
                yield kind, data

    def wait(self) -> int:
        """The exit code. Before the child is reaped, what it left behind in its group is told to end."""
        while not self._has_ended():
            interrupts.check()
            time.sleep(0.01)
        self._signal_group(signal.SIGTERM)
        return self._process.wait()

    def end(self, grace: float) -> None:
        """End the child and what it started; return when they are gone."""
        self._stop.set()
        # Nobody may ever reap what a command left behind (in containers without an init), and a dead process
        # that is not reaped still counts as one of its group: after a regular end the wait is short.
        regular = self._process.returncode is not None
        deadline = time.monotonic() + (LEFTOVER_SECONDS if regular else grace)
        if not regular:
            self._signal_group(signal.SIGTERM)
            try:
                self._process.wait(timeout=grace)
            except subprocess.TimeoutExpired:
                self._signal_group(signal.SIGKILL)
                self._process.wait()
        while self._signal_group(0):
            if time.monotonic() > deadline:
                self._signal_group(signal.SIGKILL)
                break
            time.sleep(0.02)
        for thread in self._threads:
            thread.join(timeout=POLL_SECONDS if self._open_streams else GRACE_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            # A stream that a thread still reads is closed with that thread: closing it here would wait for it.
            if stream is not None and not any(thread.is_alive() for thread in self._threads):
                with contextlib.suppress(OSError):
                    stream.close()

    def _has_ended(self) -> bool:
        # Without reaping it: its number must stay taken as long as its group is still to be signalled.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        return True

    def _signal_group(self, number: int) -> bool:
        """Whether there was somebody to be signalled (0: only asks)."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _start_thread(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _put(self, kind: str, data: bytes) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._events.put((kind, data), timeout=0.5)
                return

    def _pump_bytes(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
                self._put("out", chunk)
        self._put("end", b"")

    def _pump_lines(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := stream.readline(MAX_LINE_BYTES):
                self._put("line", line.rstrip(b"\n"))
        self._put("end", b"")

    def _feed(self, stream: IO[bytes], chunks: Iterable[bytes]) -> None:
        iterator = iter(chunks)
        while not self._stop.is_set():
            try:
                chunk = next(iterator)
            except StopIteration:
                break
            except BaseException as error:  # noqa: BLE001  # raised again in the calling thread
                # The stream stays open, or the child would take what it has for the whole.
                self._input_failure = error
                return
            # A child that stops reading early says why itself; a broken pipe adds nothing.
            try:
                stream.write(chunk)
            except (OSError, ValueError):
                break
        with contextlib.suppress(OSError, ValueError):
            stream.close()
