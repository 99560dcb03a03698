"""The files of a plan: one pipeline, or a conductor and its parts where one would be too large. Pure."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass

from pipelinegen.config import Config
from pipelinegen.errors import VerificationError
from pipelinegen.job_names import title
from pipelinegen.pipeline import segments
from pipelinegen.pipeline.compile import Surroundings, compile_tasks
from pipelinegen.pipeline.conductor import Part, conductor, errand, part_file
from pipelinegen.pipeline.emit import to_yaml
from pipelinegen.pipeline.limits import Limits, room_for_bytes
from pipelinegen.pipeline.model import Job, Pipeline
from pipelinegen.pipeline.needs_tree import fan_in
from pipelinegen.pipeline.secret_names import Secrets
from pipelinegen.pipeline.sizes import Size, Sizes, count
from pipelinegen.pipeline.subject import Subject
from pipelinegen.pipeline.verify import OF_SIZE, TOO_LARGE, Finding, Severity, refusal, verify
from pipelinegen.pipeline.verify_graph import starts_by_itself
from pipelinegen.plan.model import Planned
from pipelinegen.plan.situation import few_needs

TOP = "pipeline.yml"
"""The file that the parent's trigger job starts."""

AWAITING = "awaiting approvals"
"""The job of a part in which all others wait for a person: GitLab calls a pipeline without any other skipped."""

_NEAR_LIMITS = "W06"
"""Not said of parts: each is as full as it gets, and the next one takes the rest."""

_SLACK = 100
"""Bytes that the numbers in a part's title may take, or what is cut off it."""


@dataclass(frozen=True)
class PipelineFile:
    """A pipeline and what is written of it, under `name`."""

    name: str
    pipeline: Pipeline
    text: str


@dataclass(frozen=True)
class PipelineFiles:
    """Everything that GitLab is given.

    Attributes:
        files: `pipeline.yml`, then those that it starts, in their order.
        warnings: what a person should know, one sentence each.
    """

    files: tuple[PipelineFile, ...]
    warnings: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[PipelineFile, ...]:
        """The files that hold the plan's jobs, in the order in which they run."""
        return self.files[1:] or self.files


def make_files(
    planned: Planned, config: Config, surroundings: Surroundings, limits: Limits | None = None
) -> PipelineFiles:
    """The plan in GitLab's words, divided where that is needed, verified.

    Args:
        limits: of the server; by default those of the configuration.

    Raises:
        VerificationError: a pipeline would not be sound, or `gitlab.max_pipelines` of them are too few.
    """
    return _Maker(config, surroundings, limits or Limits.of(config.gitlab)).make(
        compile_tasks(planned, config, surroundings)
    )


class _Maker:
    def __init__(self, config: Config, surroundings: Surroundings, limits: Limits) -> None:
        self.config = config
        self.surroundings = surroundings
        self.limits = limits
        self.secrets = Secrets.of(config)

    def make(self, whole: Pipeline) -> PipelineFiles:
        """One file where it fits, else several."""
        division = _Division(whole, self.config, self.limits)
        one = whole.model_copy(update={"jobs": division.fan_in(whole.jobs)})
        text = to_yaml(one) if division.may_hold(one.jobs) else None
        findings = self._verify(one, text)
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        if text is not None and not errors:
            return PipelineFiles((PipelineFile(TOP, one, text),), tuple(map(str, findings)))
        if any(finding.rule not in OF_SIZE for finding in errors):
            raise refusal(findings)
        try:
            parts = [_file(part_file(number), part) for number, part in enumerate(division.parts(), 1)]
        except VerificationError as error:
            raise refusal(findings, *error.findings) from None
        return self._checked((self._conductor(whole, parts), *parts))

    def _verify(self, pipeline: Pipeline, text: str | None) -> tuple[Finding, ...]:
        return verify(
            pipeline,
            self.limits,
            self.config.gitlab.version,
            yaml_bytes=None if text is None else len(text.encode()),
            merge_request=self.surroundings.merge_request,
            secret_names=self.secrets,
        )

    def _conductor(self, whole: Pipeline, parts: Sequence[PipelineFile]) -> PipelineFile:
        described = [
            Part(name=part.name, size=len(part.text.encode()), stages=_stages(part.pipeline)) for part in parts
        ]
        archive, around = self.limits.max_bytes, self.surroundings
        return _file(TOP, conductor(whole, described, archive=archive, surroundings=around, config=self.config))

    def _checked(self, files: tuple[PipelineFile, ...]) -> PipelineFiles:
        """The files, when each is sound, with all that is to be said about them."""
        found = [(file.name, finding) for file in files for finding in self._verify(file.pipeline, file.text)]
        errors = [(name, finding) for name, finding in found if finding.severity is Severity.ERROR]
        if errors:
            raise VerificationError(
                "the parts of the pipeline break rules, so nothing was written",
                findings=[f"{name}: {finding}" for name, finding in errors],
                hint=TOO_LARGE if any(finding.rule in OF_SIZE for _, finding in errors) else None,
            )
        warnings = [f"{name}: {finding}" for name, finding in found if finding.rule != _NEAR_LIMITS]
        return PipelineFiles(files, (*self._about_parts(files[1:]), *warnings))

    def _about_parts(self, parts: Sequence[PipelineFile]) -> Iterator[str]:
        jobs = sum(len(part.pipeline.jobs) for part in parts)
        yield (
            f"{jobs} jobs do not fit one pipeline: they run in {len(parts)} parts (of at most "
            f"{self.config.gitlab.max_pipelines}, gitlab.max_pipelines), each when the one before has passed"
        )
        hosts, caches = self.config.hosts.values(), self.config.caches.values()
        if "related" in {*(host.gate for host in hosts), *(cache.gate for cache in caches)}:
            yield 'a failure in one part keeps all later ones from starting, also what has gate = "related"'


class _Division:
    """How one pipeline is divided."""

    def __init__(self, whole: Pipeline, config: Config, limits: Limits) -> None:
        self.whole = whole
        self.config = config
        self.limits = limits
        self.most_needs = few_needs(limits.max_needs)
        self.room = Size(limits.max_jobs, limits.max_deployments, room_for_bytes(limits))

    def may_hold(self, jobs: Collection[Job]) -> bool:
        """Whether one pipeline may have that many; how large their text is shows when it is written."""
        return count(jobs).fits(self.room)

    def fan_in(self, jobs: Sequence[Job]) -> tuple[Job, ...]:
        """The jobs with collectors where one needs too many."""
        room = self.config.gitlab.max_artifact_mb
        return fan_in(jobs, self.most_needs, stages=self.whole.stages, max_artifact_mb=room)

    def parts(self) -> list[Pipeline]:
        """The pipelines, in the order in which they run.

        Raises:
            VerificationError: `gitlab.max_pipelines` do not hold the jobs.
        """
        sizes = Sizes(self.whole.jobs, self.most_needs)
        above = Size(0, 0, len(to_yaml(_part(self.whole, (), 99, 99)).encode()) + _SLACK)

        def fits(jobs: Sequence[Job]) -> bool:
            if len(jobs) > self.room.jobs:
                return False
            size = sizes.alone(jobs) or sizes.of(self._grown(jobs))
            return size.plus(sizes.of(self._behind(jobs))).plus(above).fits(self.room)

        behind_all = {job.name for job in self._behind_all()}
        line = [job for job in self.whole.jobs if job.name not in behind_all]
        found = segments.divide(line, self.whole.stages, fits, self.config.gitlab.max_pipelines)
        return [
            _part(self.whole, (*self._grown(jobs), *self._behind(jobs)), number, len(found))
            for number, jobs in enumerate(found, 1)
        ]

    def _grown(self, jobs: Sequence[Job]) -> tuple[Job, ...]:
        """The jobs of a segment as a pipeline of their own: without needs that its place implies."""
        names = {job.name for job in jobs}
        grown = self.fan_in([_without_needs_elsewhere(job, names) for job in jobs])
        subject = Subject(self.whole.model_copy(update={"jobs": grown}), self.limits, version=(0, 0))
        if not any(starts_by_itself(subject)):
            return grown
        says = ("echo 'everything else in this part waits for an approval'",)
        return (errand(AWAITING, jobs[0].stage, says, self.config), *grown)

    def _behind_all(self) -> list[Job]:
        """Jobs that do something about all jobs before them, also those that failed: each part needs its own.

        One that reads the files of certain jobs is about those, and stays with them.
        """
        jobs = [
            job
            for job in self.whole.jobs
            if job.needs is None and job.when in segments.AFTER_FAILURE and not job.dependencies
        ]
        return jobs if len(jobs) < len(self.whole.jobs) else []

    def _behind(self, segment: Sequence[Job]) -> list[Job]:
        """Those of them that find something in this segment, whose first job is of its first stage."""
        stages = self.whole.stages
        return [job for job in self._behind_all() if stages.index(segment[0].stage) < stages.index(job.stage)]


def _file(name: str, pipeline: Pipeline) -> PipelineFile:
    return PipelineFile(name, pipeline, to_yaml(pipeline))


def _stages(part: Pipeline) -> tuple[str, ...]:
    """The stages of what makes up the part: not of what runs whatever becomes of it."""
    used = {job.stage for job in part.jobs if job.when not in segments.AFTER_FAILURE}
    return tuple(stage for stage in part.stages if stage in used)


def _without_needs_elsewhere(job: Job, names: Container[str]) -> Job:
    needs = tuple(need for need in job.needs or () if need.pipeline is not None or need.job in names)
    return job if job.needs is None or len(needs) == len(job.needs) else job.model_copy(update={"needs": needs})


def _part(whole: Pipeline, jobs: Sequence[Job], number: int, count: int) -> Pipeline:
    return whole.model_copy(
        update={
            "header_comment": (*whole.header_comment, f"Part {number} of {count}."),
            "workflow_name": whole.workflow_name and title(f"part {number} of {count} of {whole.workflow_name}"),
            "jobs": tuple(jobs),
        }
    )
