"""One push from the first question to the report: push, see that it is visible, keep the rest from being collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelinegen.cache.model import CacheBackend, Outcome, PushReport
from pipelinegen.console import Console
from pipelinegen.errors import (
    CredentialsError,
    InterruptedRunError,
    PipelinegenError,
    StepFailedError,
    TransientError,
)
from pipelinegen.run import push_report
from pipelinegen.run.push_report import Course
from pipelinegen.run.push_view import PushView
from pipelinegen.run.result import Reports, StepResult


@dataclass
class PushRun:
    """One push as it goes on.

    Attributes:
        course: what is known of it by now.
        console: where people read along.
    """

    course: Course
    console: Console

    def learn(
        self,
        *,
        report: PushReport | None = None,
        stopped: PipelinegenError | None = None,
        touched: int | None = None,
    ) -> None:
        """Add to what is known."""
        self.course = replace(
            self.course,
            report=self.course.report if report is None else report,
            stopped=stopped or self.course.stopped,
            touched=self.course.touched if touched is None else touched,
        )

    def carry_out(self, cache: CacheBackend, view: PushView, *, ask_first: bool, timeout: float, touch: bool) -> None:
        """Push, wait until what was pushed is visible, touch the rest; how it went is in `course`.

        Args:
            cache: where to push to.
            view: shows how far it is.
            ask_first: push only the closures that the cache does not hold whole.
            timeout: seconds until what was pushed must be visible.
            touch: whether to fetch what was there already.

        Raises:
            CredentialsError: the cache refused us, or a key is missing.
            InterruptedRunError: a signal arrived.
        """
        wanted = self.course.wanted
        absent = self._absent(cache) if ask_first else list(wanted)
        self.learn(report=push_report.with_present(PushReport(), sorted(set(wanted).difference(absent))))
        try:
            if absent:
                self._push(cache, view, absent, timeout)
            if touch:
                self._touch(cache)
        except (StepFailedError, TransientError) as error:
            self.learn(stopped=error)

    def _absent(self, cache: CacheBackend) -> list[str]:
        answers, trouble = cache.query(self.course.wanted)
        if trouble is not None:
            self.console.warn(f"cache {cache.name} does not say what it has: {trouble}")
        return [path for path in self.course.wanted if not answers.get(path)]

    def _push(self, cache: CacheBackend, view: PushView, paths: Sequence[str], timeout: float) -> None:
        count = f"{len(paths)} of {len(self.course.wanted)}"
        self.console.say(f"pushing {count} closures to cache {cache.name}")
        present = [one.path for one in self.course.report.paths]
        try:
            with view:
                report = cache.push(paths, on_progress=view.progress)
        finally:
            self.course = replace(self.course, progress=view.last)
        self.learn(report=push_report.with_present(report, present))
        if report.ok:
            self._wait(cache, paths, timeout)

    def _wait(self, cache: CacheBackend, paths: Sequence[str], timeout: float) -> None:
        upstream = {one.path for one in self.course.report.of(Outcome.UPSTREAM)}
        here = [path for path in paths if path not in upstream]
        try:
            cache.wait_until_visible(here, timeout=timeout)
        except (StepFailedError, TransientError) as error:
            answers, _ = cache.query(here)
            report = push_report.with_present(self.course.report, here)
            self.learn(report=push_report.not_served(report, answers, error))
            raise
        self.learn(report=push_report.with_present(self.course.report, here))

    def _touch(self, cache: CacheBackend) -> None:
        present = [one.path for one in self.course.report.of(Outcome.PRESENT)]
        if present:
            self.console.say(f"fetching {len(present)} paths that cache {cache.name} held, so that it keeps them")
        try:
            self.learn(touched=cache.touch(present) if present else 0)
        except (StepFailedError, CredentialsError, TransientError) as error:
            if self.course.error is None:
                raise
            self.console.warn(f"{error.message}{f': {error.why}' if error.why else ''}")

    def end(self, reports: Reports, seconds: float) -> StepResult:
        """Write the reports, tell people, and give the result."""
        result = push_report.step_result(self.course, seconds)
        if isinstance(self.course.stopped, InterruptedRunError):
            self.console.say(f"cache {self.course.cache}: interrupted; the next push goes on from there")
        else:
            for line in push_report.failures(self.course.report):
                # Foreign text: what a server answered.
                self.console.foreign(line)
            self.console.say(push_report.summary(result))
        reports.write(result)
        return result
