"""How a job gets what other jobs made, and hands over what it makes: the three modes of `handoff.mode`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelinegen import local_store, nix
from pipelinegen.cache import trust
from pipelinegen.cache.access import Access, access
from pipelinegen.cache.read import CacheReader, configured_backend, with_machine_caches
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.console import Console
from pipelinegen.errors import CredentialsError, PipelinegenError, StepFailedError, ToolError, TransientError
from pipelinegen.job_names import OUTPUTS
from pipelinegen.run import artifacts, nix_events, push_report, trouble
from pipelinegen.run.build_log import BuildLog
from pipelinegen.run.heartbeat import LineLog
from pipelinegen.run.push_view import PushView

HERE = Path(OUTPUTS, "local")
"""Where outputs lie outside of a pipeline."""


@dataclass(frozen=True)
class Exchange:
    """One job's way to the others.

    Attributes:
        config, kind: the caches, and which of them are trusted.
        console: where to say what happens.
        outputs: `artifacts`: the folder below which each job leaves its outputs.
        received: `artifacts`: what other jobs left, as one binary cache; null where there is nothing.
        opened: `sources`, once they are known; they last as long as `stack`.
    """

    config: Config
    kind: PipelineClass
    console: Console
    outputs: Path
    received: Path | None = None
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    opened: list[Access] = field(default_factory=list)

    @property
    def sources(self) -> nix.Substitution | None:
        """Where to fetch from: artifacts first, then the trusted caches; null means Nix's own settings.

        Looked for when something is to be fetched: a job that has everything needs no credentials.

        Raises:
            CredentialsError, ConfigError, ToolError: see `cache.access.access`.
        """
        if not self.opened:
            way = access(
                self.config, self.kind, first=self.received, near=self.outputs, say=self.console.say, strict=True
            )
            self.opened.append(self.stack.enter_context(way))
        return self.opened[0].substitution

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why caches may have refused this job; see `cache.access.Access`."""
        return self.opened[0].doubts if self.opened else ()

    @property
    def mode(self) -> str:
        """How jobs of this pipeline hand over."""
        return trust.handoff_mode(self.config, self.kind)

    @property
    def nobody(self) -> str:
        """Who does not have what could not be fetched."""
        return "neither a job's artifact nor a trusted cache" if self.received is not None else "no trusted cache"

    def fetch(
        self, paths: Sequence[str], roots: Path, *, on_trouble: Callable[[str], None] = lambda _: None
    ) -> list[str]:
        """Fetch what the local store lacks of `paths`, with closures; the ones that could not be had.

        Args:
            paths: output paths. Each is asked for by name: Nix would rather build than fetch what its
                derivation says so of (`allowSubstitutes = false`).
            roots: folder for links that keep them from the garbage collector.
            on_trouble: takes what Nix said when some could not be had for a reason that may pass.

        Raises:
            CredentialsError: the credentials of the handoff cache are missing.
        """
        wanted = list(dict.fromkeys(paths))
        absent = nix.invalid_paths(wanted)
        missing: list[str] = []
        if absent:
            self.console.say(f"fetching {len(absent)} of {len(wanted)} paths")
            log = BuildLog(self.console)
            missing = nix.substitute(
                absent, self.sources, options=nix_events.OPTIONS, on_line=log.line, on_idle=log.idle
            )
            passing = trouble.passing([*log.errors, *log.warnings])
            if missing and passing is not None:
                on_trouble(passing)
        gone = set(missing)
        number = sum(1 for _ in roots.iterdir())
        local_store.root_paths([path for path in wanted if path not in gone], roots / f"fetched-{number}")
        return missing

    def handed_over(self, paths: Sequence[str]) -> list[str]:
        """Which of `paths` the handoff cache holds already: an earlier try of this job may have made them."""
        name = trust.handoff_cache(self.config, self.kind)
        if name is None or not paths:
            return []
        answers, _ = configured_backend(name, self.config).query(paths)
        return [path for path in paths if answers[path]]

    def hand_over(
        self, job: str, paths: Sequence[str], *, by_content: Sequence[str] = (), taken: bool = True
    ) -> PipelinegenError | None:
        """Let other jobs have `paths`, which are in the local store; the error where that failed.

        Args:
            job: name of this job.
            by_content: built outputs (`….drv!out`) among them that are named by their content: others are told
                which path each of them is, and need not build them to know.
            taken: whether another job of this pipeline reads them: artifacts that nobody needs may be missing.
        """
        if not paths:
            return None
        try:
            if self.mode == "artifacts":
                self._leave(job, paths, by_content)
            elif (name := trust.handoff_cache(self.config, self.kind)) is not None:
                self._push(name, paths, by_content)
        except (StepFailedError, CredentialsError, TransientError, ToolError) as error:
            if taken or self.mode != "artifacts":
                return error
            reason = f": {error.why}" if error.why else ""
            self.console.warn(f"{error.message}{reason}; no other job needs them, so this one goes on without")
        return None

    def _leave(self, job: str, paths: Sequence[str], by_content: Sequence[str]) -> None:
        self.console.say(f"handing {len(paths)} paths over as artifacts")
        lines = LineLog(self.console, "leaving outputs as artifacts")
        trusted = trust.trusted_caches(self.config, self.kind)
        left = artifacts.leave(
            paths,
            self.outputs,
            job,
            by_content=local_store.copyable(by_content),
            reader=CacheReader(trusted, trusted, reads_push_tokens=False),
            received=self.received,
            limit_mb=self.config.gitlab.max_artifact_mb,
            on_line=lines.line,
            on_idle=lines.idle,
        )
        self.console.say(f"left for other jobs: {left}")

    def _push(self, name: str, paths: Sequence[str], by_content: Sequence[str]) -> None:
        self.console.say(f"handing {len(paths)} paths over through cache {name}")
        view = PushView(self.console, name)
        cache = configured_backend(name, self.config, notice=view.notice, on_line=view.line, on_idle=view.idle)
        with view:
            report = cache.push([*paths, *by_content], on_progress=view.progress)
        if (failure := push_report.verdict(name, report)) is not None:
            for line in push_report.failures(report):
                self.console.foreign(line)
            raise failure
        cache.wait_until_visible(paths, timeout=self.config.handoff.visible_timeout)


@contextlib.contextmanager
def exchange(config: Config, kind: PipelineClass, *, outputs: Path = HERE, console: Console) -> Iterator[Exchange]:
    """The way to other jobs, as long as this lasts.

    Args:
        config, kind: the mode, the caches and which of them are trusted.
        outputs: the folder below which jobs leave artifacts; only that mode looks at it.
        console: where people read along.
    """
    with contextlib.ExitStack() as stack:
        received = None
        if trust.handoff_mode(config, kind) == "artifacts":
            # Asked by name, so that it is known what need not be left for others.
            config = with_machine_caches(config, console.warn)
            received = stack.enter_context(artifacts.received(outputs))
        yield Exchange(config, kind, console, outputs, received, stack)
