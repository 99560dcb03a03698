"""How GitLab runs a pipeline, as far as statuses go: which job starts when, by what became of others.

After `lib/gitlab/ci/status/composite.rb`, `app/services/ci/process_build_service.rb`,
`app/services/ci/pipeline_processing/atomic_processing_service.rb` and `app/services/ci/reset_skipped_jobs_service.rb`
of GitLab 18. Two things are easily got wrong: a job with `needs` is processed as soon as one of them is skipped, even
while others run; and a manual job that nobody has played counts as skipped for those that need it, but is ignored by
those that wait for its stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipelinegen.pipeline.model import Job, Pipeline

COMPLETE = {"success", "failed", "skipped", "canceled"}


def composite(jobs: Iterable[tuple[str, bool]], *, dag: bool) -> str:
    """The status that several jobs have together; each is a status and whether it is allowed to fail."""
    statuses = set()
    for status, allowed in jobs:
        if allowed and status in {"failed", "canceled"}:
            statuses.add("success_with_warnings")
        elif allowed and status == "manual":
            statuses.add("ignored")
        else:
            statuses.add(status)
    if not statuses:
        return "success"
    if dag and statuses & {"skipped", "ignored"}:
        return "skipped"
    if dag and not statuses <= {*COMPLETE, "success_with_warnings"}:
        return "pending"
    for status, more in (
        ("skipped", {"ignored"}),
        ("success", {"skipped", "success_with_warnings", "ignored"}),
        ("created", {"success_with_warnings", "ignored"}),
        ("canceled", {"success", "skipped", "success_with_warnings", "ignored"}),
    ):
        if statuses <= {status, *more}:
            return status
    return "running" if statuses & {"running", "created", "manual"} else "failed"


@dataclass
class Simulation:
    """One run of a pipeline.

    Args:
        ends: told a job that runs, says whether it succeeds; asked when the job ends.
        starts: told of each job that starts.
    """

    pipeline: Pipeline
    ends: Callable[[Job], bool]
    starts: Callable[[Job], None] = lambda _: None
    statuses: dict[str, str] = field(init=False)
    started: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.jobs = {job.name: job for job in self.pipeline.jobs}
        self.stage = {name: place for place, name in enumerate((".pre", *self.pipeline.stages, ".post"))}
        self.statuses = dict.fromkeys(self.jobs, "created")
        self.process()

    @property
    def running(self) -> list[str]:
        """Jobs that run, in the order of the file."""
        return [name for name, status in self.statuses.items() if status == "running"]

    @property
    def playable(self) -> list[str]:
        """Manual jobs whose time has come."""
        return [name for name, status in self.statuses.items() if status == "manual"]

    def process(self) -> None:
        """Start or skip what may be, stage by stage, each job behind what it needs, until nothing changes."""
        while self._process_once():
            pass

    def _process_once(self) -> bool:
        changed = False
        for job in sorted(self.jobs.values(), key=lambda job: self.stage[job.stage]):
            if self.statuses[job.name] != "created":
                continue
            before = self._before(job)
            if before not in COMPLETE:
                continue
            changed = True
            if before not in self._valid(job):
                self.statuses[job.name] = "skipped"
            elif job.manual:
                self.statuses[job.name] = "manual"
            else:
                self._start(job)
        return changed

    def _start(self, job: Job) -> None:
        self.started.append(job.name)
        self.statuses[job.name] = "running"
        self.starts(job)

    def _before(self, job: Job) -> str:
        if job.needs is None:
            names = [one.name for one in self.jobs.values() if self.stage[one.stage] < self.stage[job.stage]]
        else:
            names = [name for name in job.local_needs if name in self.jobs]
        return composite(
            ((self.statuses[name], self.jobs[name].allow_failure is True) for name in names), dag=bool(job.needs)
        )

    @staticmethod
    def _valid(job: Job) -> set[str]:
        if job.when == "always":
            return {"success", "failed", "skipped"}
        if job.when == "on_failure":
            return {"failed"}
        return {"success"} if job.needs else {"success", "skipped"}

    def end(self, name: str) -> None:
        """A job that runs ends."""
        self.statuses[name] = "success" if self.ends(self.jobs[name]) else "failed"
        self.process()

    def play(self, name: str) -> None:
        """Somebody starts a manual job: what was skipped because of it is looked at again."""
        self._start(self.jobs[name])
        dependents = self._dependents(name)
        first = self.stage[self.jobs[name].stage]
        for other, job in self.jobs.items():
            if self.statuses[other] == "skipped" and (other in dependents or self.stage[job.stage] > first):
                self.statuses[other] = "created"
        self.process()

    def _dependents(self, name: str) -> set[str]:
        found = {name}
        left = [name]
        while left:
            needed = left.pop()
            for job in self.jobs.values():
                if needed in job.local_needs and job.name not in found:
                    found.add(job.name)
                    left.append(job.name)
        return found
