"""What a person sees while Nix builds: a folded section per derivation, failures unfolded, a heartbeat.

A section of a GitLab log can only be born closed, so each derivation's log is kept until it ends and then
printed as one block. Between blocks a heartbeat names what is being built.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelinegen.console import Console, clean
from pipelinegen.run import nix_events
from pipelinegen.run.heartbeat import Heartbeat, duration

KEPT_LINES = 2000
KEPT_CHARACTERS = 512 * 1024
LINE_CHARACTERS = 4096
SHOWN_OF_FAILURE = 200
"""Lines of a failed derivation's log that are printed when it fails."""
_OVERLOOKED = "requires non-existent output"


class Tail:
    """The end of a log, bounded in lines and characters; counts what it dropped."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._characters = 0
        self.dropped = 0

    def add(self, line: str) -> None:
        """Append a line, cleaned; drop the oldest ones beyond the bounds."""
        line = clean(line[:LINE_CHARACTERS])
        self._lines.append(line)
        self._characters += len(line)
        while len(self._lines) > KEPT_LINES or self._characters > KEPT_CHARACTERS:
            self._characters -= len(self._lines.popleft())
            self.dropped += 1

    def __len__(self) -> int:
        return len(self._lines) + self.dropped

    def last(self, count: int | None = None) -> list[str]:
        """The last `count` lines (all that are kept), after a line that says how many are missing."""
        kept = list(self._lines)
        shown = kept if count is None else kept[-count:]
        missing = len(self) - len(shown)
        return [f"[{missing} earlier lines are not shown]", *shown] if missing else shown


@dataclass
class Build:
    """One derivation that Nix began to build here."""

    drv_path: str
    started: float
    log: Tail = field(default_factory=Tail)
    seconds: float | None = None
    """Null while it runs, or while it is not known that it ended."""
    failure: str | None = None
    last_line: float | None = None
    """When it printed something last."""
    end_known: bool = True
    """Whether it ended when `seconds` says, and not some time before."""

    @property
    def worked(self) -> float | None:
        """Seconds from its start to its end, as well as they are known: at least to its last line of log.

        Null where it failed or nothing says how long it took.
        """
        if self.failure is not None or self.seconds is None:
            return None
        if self.end_known:
            return self.seconds
        return None if self.last_line is None else self.last_line - self.started


class BuildLog:
    """Takes Nix's stderr (`--log-format internal-json`) line by line.

    Which derivations were built and how they ended is what Nix *said*; what was made must be judged from
    the store afterwards (`settle`).

    Args:
        console: where to show it; its clock counts.
    """

    def __init__(self, console: Console) -> None:
        self.builds: dict[str, Build] = {}
        self.fetched: list[str] = []
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._console = console
        self._parser = nix_events.Parser()
        self._active: dict[int, Build] = {}
        self._progress = nix_events.Progress(0, 0)
        self._heartbeat = Heartbeat(console, self._describe)

    @property
    def failed(self) -> dict[str, str]:
        """Derivation path → why it failed, as far as Nix said."""
        return {path: build.failure for path, build in self.builds.items() if build.failure is not None}

    @property
    def unsettled(self) -> list[str]:
        """Derivations that began and of which Nix did not say how they ended."""
        return [path for path, build in self.builds.items() if build.seconds is None and build.failure is None]

    def line(self, line: str) -> None:
        """Take one line (`on_line`)."""
        match self._parser.feed(line):
            case nix_events.Started(activity, drv_path):
                build = self.builds.setdefault(drv_path, Build(drv_path, self._console.clock()))
                self._active[activity] = build
            case nix_events.LogLine(activity, text):
                if activity in self._active:
                    self._active[activity].log.add(text)
                    self._active[activity].last_line = self._console.clock()
            case nix_events.Stopped(activity):
                self._stopped(activity)
            case nix_events.Progress() as progress:
                self._progress = progress
                self._settle_idle()
            case nix_events.BuildFailed(drv_paths, message):
                self._build_failed(drv_paths, message)
            case nix_events.Fetching(path, _):
                self.fetched.append(path)
            case nix_events.Message(level, text):
                self._message(level, text)
        self._heartbeat.tick()

    def idle(self) -> None:
        """Nothing came (`on_idle`)."""
        self._heartbeat.tick()

    def settle(self, made: Callable[[str], bool]) -> None:
        """End what Nix left open, by asking whether a derivation's outputs were made."""
        self._active.clear()
        for drv_path in self.unsettled:
            if made(drv_path):
                self.builds[drv_path].end_known = False
                self._done(self.builds[drv_path])
            else:
                # Nix 2.34 does not name the derivation that ran out of time.
                self._failed(self.builds[drv_path], (self.errors or ["it ended without its outputs"])[-1])

    @property
    def confused(self) -> list[str]:
        """Derivations that failed only because Nix lost sight of what they use.

        Up to 2.11, Nix that builds a derivation of which some outputs were there already tells dependents only
        of the new ones (NixOS/nix#6572). Another attempt finds all of them.
        """
        return [path for path, why in self.failed.items() if _OVERLOOKED in why]

    def forget_confused(self) -> None:
        """Forget those failures, since there will be another attempt."""
        for path in self.confused:
            del self.builds[path]
        self.errors = [error for error in self.errors if _OVERLOOKED not in error]

    def _stopped(self, activity: int) -> None:
        build = self._active.pop(activity, None)
        # Nix 2.34 stops a build before it says that it failed: wait for what the next lines say.
        if build is not None and build.failure is None and self._progress.failed <= len(self.failed):
            self._done(build)

    def _settle_idle(self) -> None:
        """Up to Nix 2.26 no build is stopped before the end of all: when none runs, all have ended."""
        if self._progress.running == 0 and self._progress.failed <= len(self.failed):
            for build in self._active.values():
                build.end_known = len(self._active) == 1  # of several, only the last one has just ended
                self._done(build)
            self._active.clear()

    def _build_failed(self, drv_paths: tuple[str, ...], message: str) -> None:
        for drv_path in drv_paths:
            build = self.builds.get(drv_path)
            if build is None:
                # It failed before it began: wrong system, missing features, a fixed output that is absent.
                self.builds[drv_path] = build = Build(drv_path, self._console.clock())
            if build.failure is None:
                self._failed(build, message)
        self._active = {number: build for number, build in self._active.items() if build.failure is None}
        self._settle_idle()

    def _done(self, build: Build) -> None:
        if build.seconds is not None or build.failure is not None:
            return
        build.seconds = self._console.clock() - build.started
        if build.log:
            self._console.folded(f"log-{_hash(build.drv_path)}", f"log of {name_of(build.drv_path)}", build.log.last())
        # A line of its own in plain words: it is counted to find derivations that are built twice.
        self._console.write(f"built {clean(build.drv_path, colour=False)} ({duration(build.seconds)})\n")
        self._heartbeat.spoke()

    def _failed(self, build: Build, message: str) -> None:
        build.failure = clean(nix_events.summary(message), colour=False)
        build.seconds = self._console.clock() - build.started
        title = f"failed {clean(build.drv_path, colour=False)} ({duration(build.seconds)})"
        self._console.write(self._console.style(title, "red") + "\n")
        for line in message.split("\n"):
            self._console.foreign(line, "  ")
        for line in build.log.last(SHOWN_OF_FAILURE):
            self._console.foreign(line, "  | ")
        self._heartbeat.spoke()

    def _message(self, level: int, text: str) -> None:
        if "--add-root" in text:
            return  # roots are set once it is known what was made
        if level <= 1:
            said = clean(text.split("\n", 1)[0].removeprefix("error: "), colour=False)
            (self.errors if level == 0 else self.warnings).append(said)
        if level <= 1:
            for line in text.split("\n"):
                self._console.foreign(line, "nix: ")
            self._heartbeat.spoke()

    def _describe(self) -> str:
        now = self._console.clock()
        running = [build for build in self._active.values() if build.failure is None]
        if not running:
            return f"still waiting for Nix ({len(self.fetched)} paths fetched so far)"
        names = ", ".join(f"{name_of(build.drv_path)} ({duration(now - build.started)})" for build in running[:5])
        more = f" and {len(running) - 5} more" if len(running) > 5 else ""
        last = running[0].log.last(1)[-1:] if len(running) == 1 else []
        return f"still building {names}{more}" + (f"; last line: {last[0][:120]}" if last else "")


def name_of(drv_path: str) -> str:
    """`hello-1.0` of `/nix/store/<hash>-hello-1.0.drv`, harmless to print."""
    base = drv_path.rpartition("/")[2].partition("-")[2].removesuffix(".drv")
    return clean(base, colour=False) or "unnamed"


def _hash(path: str) -> str:
    return path.rpartition("/")[2].partition("-")[0]
