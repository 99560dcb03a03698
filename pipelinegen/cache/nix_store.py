"""The `nix` backend: any store URL that Nix can copy to (`file://`, `https://`, `s3://`, `ssh-ng://`)."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from pipelinegen import local_store, nix, remote_store, secret_files
from pipelinegen.cache import visibility
from pipelinegen.cache.model import Answers, Outcome, PathReport, PushProgress, PushReport
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import CommandError, CredentialsError, StepFailedError, ToolError, TransientError
from pipelinegen.path_info import PathInfo

REFUSED = ("HTTP error 401", "HTTP error 403", "Access Denied", "Permission denied")
"""What Nix prints where credentials are at fault."""

# Any other answer of a server is its last word.
_PASSING = re.compile(
    r"HTTP error (?:429|5\d\d)|unable to (?:down|up)load '[^']*': (?!HTTP error)|timed out|Connection|Couldn't connect"
)
_COPYING = re.compile(r"copying path '([^']+)' ")


class NixStoreCache:
    """A cache that Nix itself reads and writes.

    Args:
        name: its name in the configuration.
        config: its settings.
        on_line: takes Nix's lines while it copies.
        on_idle: called about once a second while nothing comes.
    """

    def __init__(
        self,
        name: str,
        config: CacheConfig,
        *,
        on_line: Callable[[str], None] | None = None,
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.on_line = on_line
        self.on_idle = on_idle

    @property
    def _keys(self) -> list[str] | None:
        return self.config.public_key.split() if self.config.public_key else None

    @contextlib.contextmanager
    def _options(self) -> Iterator[tuple[str, ...]]:
        with secret_files.opened(self.config.netrc_file, purpose=f"netrc file of cache {self.name}") as netrc:
            yield ("--option", "netrc-file", str(netrc)) if netrc else ()

    def query(self, paths: Iterable[str]) -> tuple[Answers, str | None]:
        """See `CacheBackend.query`."""
        asked = list(dict.fromkeys(paths))
        answers: Answers = dict.fromkeys(asked)
        with contextlib.ExitStack() as stack:
            try:
                options = stack.enter_context(self._options())
            except (ToolError, CredentialsError, TransientError) as error:
                return answers, error.message
            try:
                absent = set(remote_store.absent_paths(asked, store=self.config.url, options=options))
            except (CommandError, TransientError) as error:
                return answers, remote_store.sentence(error)
            present = [path for path in asked if path not in absent]
            answers.update(dict.fromkeys(absent, False))
            for chunk in nix.argument_chunks(present):
                answers.update(self._trusted(chunk, options))
        return answers, None

    def _trusted(self, paths: Sequence[str], options: Sequence[str]) -> dict[str, bool]:
        # One command for all in the usual case; halving finds the paths that are at fault.
        if remote_store.closure_trusted(paths, store=self.config.url, public_keys=self._keys, options=options):
            return dict.fromkeys(paths, True)
        if len(paths) == 1:
            return {paths[0]: False}
        middle = len(paths) // 2
        return {**self._trusted(paths[:middle], options), **self._trusted(paths[middle:], options)}

    def push(self, paths: Sequence[str], *, on_progress: Callable[[PushProgress], None] | None = None) -> PushReport:
        """See `CacheBackend.push`. Nix does not tell what it sent, nor how long each path took."""
        url = self.config.push_url or self.config.url
        made = [path for path in paths if "!" in path]
        files = [path for path in paths if "!" not in path]
        outputs = [output for installable in made for output in local_store.realised_outputs(installable)]
        infos = local_store.closure_infos([*files, *outputs])
        with self._options() as options, tempfile.TemporaryDirectory(prefix="pipelinegen-push-") as folder:
            memory = Path(folder)
            try:
                names = [info.path for info in infos]
                absent = set(remote_store.absent_paths(names, store=url, options=options, memory=memory, hurry=False))
                progress = _Progress([info for info in infos if info.path in absent], self.on_line, on_progress)
                # What is there already may lack the note of what it is an output of.
                if absent or made:
                    self._copy(files, made, options, memory, progress)
            except CommandError as error:
                raise _classify(error, f"pushing to cache {self.name} failed") from error
        progress.end()
        return PushReport(
            paths=tuple(_report(info, info.path in absent) for info in sorted(infos, key=lambda info: info.path))
        )

    def _copy(
        self, files: Sequence[str], made: Sequence[str], options: tuple[str, ...], memory: Path, progress: _Progress
    ) -> None:
        to = self.config.push_url or self.config.url
        purpose = f"signing key of cache {self.name}"
        derivations = [path for path in files if path.endswith(".drv")]
        others = [path for path in files if not path.endswith(".drv")]
        with secret_files.opened(self.config.secret_key_file, purpose=purpose) as key:
            if key is not None:
                to += ("&" if "?" in to else "?") + f"secret-key={quote(str(key))}"
            for group, meaning in (
                ([*others, *local_store.copyable(made)], ()),
                # Told plainly, they would mean their outputs to old versions.
                (derivations, ("--derivation",)),
            ):
                remote_store.copy(
                    group,
                    to=to,
                    options=(*options, *meaning),
                    on_line=progress.line,
                    on_idle=self.on_idle,
                    memory=memory,
                )

    def wait_until_visible(self, paths: Sequence[str], *, timeout: float, interval: float = 1.0) -> None:
        """See `CacheBackend.wait_until_visible`; `interval` is the first pause in seconds."""
        visibility.wait(
            self.name,
            self.query,
            paths,
            timeout=timeout,
            interval=interval,
            passing=lambda trouble: bool(_PASSING.search(trouble)),
            hint="the public_key must belong to the secret_key_file that signs",
        )

    def touch(self, paths: Sequence[str]) -> int:
        """See `CacheBackend.touch`. A folder (`file://`) counts no use and collects nothing: there it is 0."""
        url = self.config.url
        if url.startswith("file://"):
            return 0
        with self._options() as options, tempfile.TemporaryDirectory(prefix="pipelinegen-touch-") as folder:
            memory = Path(folder)
            try:
                closure = remote_store.closure(paths, store=url, options=options, memory=memory)
                remote_store.check_contents(closure, store=url, options=options, memory=memory)
            except CommandError as error:
                raise _classify(error, f"cache {self.name} does not serve what it should keep") from error
        return len(closure)


class _Progress:
    """How far a copy is, by the lines that Nix prints when it begins with a path."""

    def __init__(
        self,
        absent: Sequence[PathInfo],
        on_line: Callable[[str], None] | None,
        on_progress: Callable[[PushProgress], None] | None,
    ) -> None:
        self._sizes = {info.path: info.nar_size for info in absent}
        self._done = PushProgress(paths=len(absent), bytes=sum(self._sizes.values()), jobs=1)
        self._current: str | None = None
        self._on_line = on_line
        self._on_progress = on_progress

    def line(self, line: str) -> None:
        """Take a line of Nix's."""
        if self._on_line is not None:
            self._on_line(line)
        match = _COPYING.match(line)
        if match and match[1] in self._sizes:
            # What it began with before is done now, more or less.
            self._finish(self._current)
            self._current = match[1]

    def end(self) -> None:
        """Everything arrived."""
        for path in list(self._sizes):
            self._finish(path)
        self._tell()

    def _finish(self, path: str | None) -> None:
        size = self._sizes.pop(path, None) if path is not None else None
        if size is not None:
            done = {"paths_done": self._done.paths_done + 1, "bytes_done": self._done.bytes_done + size}
            self._done = self._done.model_copy(update=done)
            self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._done)


def _report(info: PathInfo, pushed: bool) -> PathReport:
    outcome = Outcome.PUSHED if pushed else Outcome.PRESENT
    return PathReport(path=info.path, outcome=outcome, attempts=int(pushed), nar_bytes=info.nar_size)


def _classify(error: CommandError, message: str) -> StepFailedError | CredentialsError | TransientError:
    text = "\n".join(error.stderr_tail)
    why = remote_store.sentence(error)
    if any(mark in text for mark in REFUSED):
        return CredentialsError(message, why=why, hint="check the token or key of this cache")
    if _PASSING.search(text):
        return TransientError(message, why=why)
    return StepFailedError(message, why=why)
