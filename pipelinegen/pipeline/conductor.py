"""The pipeline that holds no job of the plan and starts those that do, one after another. Pure.

GitLab starts a child pipeline only from an artifact of the same pipeline. So the conductor first takes the
files of the parts from the parent's job that planned, whose archive may be of any size, and makes them
artifacts of its own; then each trigger job starts a part when the one before has passed. The parts are
grandchildren of the project's pipeline: GitLab allows no deeper nesting.
https://docs.gitlab.com/ci/pipelines/downstream_pipelines/
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from pipelinegen.config import Config
from pipelinegen.job_names import title
from pipelinegen.pipeline.compile import SHORT_TIMEOUT, Surroundings, anywhere, from_parent
from pipelinegen.pipeline.model import Artifacts, Forward, Include, Job, Need, Pipeline, Trigger
from pipelinegen.values import Value

FOLDER = ".pipelinegen-parts"
"""Where the first jobs put the files, and trigger jobs find them."""

STAGE = "files"


def part_file(number: int) -> str:
    """Name of the file of a part, counted from 1."""
    return f"pipeline-{number}.yml"


def is_part_file(name: str) -> bool:
    """Whether a file of this name is a part, of whatever pipeline."""
    return re.fullmatch(r"pipeline-[1-9][0-9]*\.yml", name) is not None


def part_files(pipeline: Pipeline) -> tuple[str, ...]:
    """Names of the parts' files that a conductor runs, in their order; none for any other pipeline."""
    paths = [include.artifact for job in pipeline.jobs if job.trigger for include in job.trigger.include]
    names = (path.removeprefix(f"{FOLDER}/") for path in dict.fromkeys(paths))
    return tuple(name for name in names if is_part_file(name))


class Part(Value):
    """A file to run: its name in the handoff folder, its size in bytes, and the stages that it has jobs of."""

    name: str
    size: int
    stages: tuple[str, ...]


def conductor(
    whole: Pipeline, parts: Sequence[Part], *, archive: int, surroundings: Surroundings, config: Config
) -> Pipeline:
    """The pipeline that runs `parts` in their order.

    Args:
        whole: the pipeline that they were cut from.
        archive: bytes that one artifact may have whose file a trigger job starts.
        surroundings: where the files are, and which job of the parent has them.
    """
    archives = _archives(parts, archive)
    takers = [_taker(archived, parts, surroundings, config, only=len(archives) == 1) for archived in archives]
    taken_by = {path: taker.name for taker in takers if taker.artifacts for path in taker.artifacts.paths}
    triggers: list[Job] = []
    for number, part in enumerate(parts, 1):
        path = _path(part)
        before = (Need(job=triggers[-1].name),) if triggers else ()
        triggers.append(
            Job(
                name=f"part {number} of {len(parts)}: {', '.join(part.stages)}",
                stage=f"part {number}",
                needs=(*before, Need(job=taken_by[path], artifacts=True)),
                trigger=Trigger(
                    include=(Include(artifact=path, job=taken_by[path]),),
                    strategy="depend",
                    # What this pipeline was given by the job that started it: above all the parent's id.
                    forward=Forward(pipeline_variables=True),
                ),
            )
        )
    return whole.model_copy(
        update={
            "header_comment": (*whole.header_comment, f"Runs {len(parts)} parts, one after another."),
            "workflow_name": whole.workflow_name and title(f"{len(parts)} parts of {whole.workflow_name}"),
            "stages": (STAGE, *(trigger.stage for trigger in triggers)),
            "variables": {},
            "jobs": (*takers, *triggers),
        }
    )


def errand(name: str, stage: str, script: tuple[str, ...], config: Config) -> Job:
    """A job that needs neither the repository nor Nix nor a certain machine."""
    return Job(
        name=name,
        stage=stage,
        needs=(),
        tags=anywhere(config),
        variables={"GIT_STRATEGY": "none"},
        timeout=SHORT_TIMEOUT,
        before_script=() if config.gitlab.before_script else None,
        script=script,
    )


def _taker(
    numbers: Sequence[int], parts: Sequence[Part], surroundings: Surroundings, config: Config, *, only: bool
) -> Job:
    """The job that makes some parts' files an artifact of this pipeline."""
    archived = [parts[number - 1] for number in numbers]
    sources = " ".join(f'"$handoff"/{part.name}' for part in archived)
    script = (
        f"handoff=${{PIPELINEGEN_HANDOFF:-{shlex.quote(surroundings.handoff)}}}",
        f"mkdir -p {FOLDER}",
        f"cp -- {sources} {FOLDER}/",
    )
    # One word: gitlab-ci-local does not find the artifact of a job whose name has spaces.
    name = "part-files" if only else f"part-files-{numbers[0]}-to-{numbers[-1]}"
    artifacts = Artifacts(paths=tuple(map(_path, archived)), expire_in="1 week")
    job = errand(name, STAGE, script, config)
    return job.model_copy(update={"needs": (from_parent(surroundings.parent_job),), "artifacts": artifacts})


def _path(part: Part) -> str:
    return f"{FOLDER}/{part.name}"


def _archives(parts: Sequence[Part], room: int) -> list[list[int]]:
    """Numbers, from 1, of the parts that share an archive; nothing is said of how well they can be packed."""
    archives: list[list[int]] = []
    left = 0
    for number, part in enumerate(parts, 1):
        if not archives or part.size > left:
            archives.append([])
            left = room
        archives[-1].append(number)
        left -= part.size
    return archives
