"""A `Pipeline` as the plain data of a CI file, and back.

The top level holds the fields of `_Globals` and one entry per job.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from pipelinegen.characters import inert
from pipelinegen.errors import VerificationError
from pipelinegen.pipeline import model
from pipelinegen.pipeline.model import Default, Job, Pipeline, Rule, Variables
from pipelinegen.values import Value

M = TypeVar("M", bound=BaseModel)


class _AutoCancel(Value):
    on_new_commit: str | None = None
    on_job_failure: str | None = None


class _Workflow(Value):
    name: str | None = None
    auto_cancel: _AutoCancel = _AutoCancel()
    rules: tuple[Rule, ...] = ()


class _Globals(Value):
    workflow: _Workflow = _Workflow()
    stages: tuple[str, ...] = ()
    default: Default | None = None
    variables: Variables = Field(default_factory=dict)


_VALUES = tuple(
    value
    for value in (*vars(model).values(), _AutoCancel, _Workflow, _Globals)
    if isinstance(value, type) and issubclass(value, Value)
)

KEYWORDS = (
    frozenset(field.alias or name for value in _VALUES for name, field in value.model_fields.items())
    - Pipeline.model_fields.keys()
    | _Globals.model_fields.keys()
)
"""Every GitLab keyword that the model knows; plain words, so their quotes can be left out."""

_BRANCHES = frozenset({"str", "bool", "int", *(value.__name__ for value in _VALUES)})

_UNKNOWN = "pipelinegen does not write this keyword"

_OTHER_GLOBALS = frozenset({"after_script", "before_script", "cache", "image", "include", "services", "spec"})
"""Global keywords of GitLab's that are no jobs, and that pipelinegen never writes."""


def entries(pipeline: Pipeline) -> Iterator[tuple[str, Any]]:
    """The file's keywords and jobs with what they hold, in their order, one at a time: there may be many.

    Raises:
        VerificationError: two jobs have one name, or a job is named like a keyword of the file; YAML
            cannot say that.
    """
    names = {job.name for job in pipeline.jobs}
    if len(names) != len(pipeline.jobs) or not names.isdisjoint(_Globals.model_fields):
        raise VerificationError(
            "the pipeline cannot be written as YAML",
            findings=["L08: two jobs have one name, or a job is named like a keyword of the file"],
        )
    known = _Globals(
        workflow=_Workflow(
            name=pipeline.workflow_name,
            auto_cancel=_AutoCancel(
                on_new_commit=pipeline.auto_cancel_on_new_commit,
                on_job_failure=pipeline.auto_cancel_on_job_failure,
            ),
            rules=pipeline.workflow_rules,
        ),
        stages=pipeline.stages,
        default=pipeline.default,
        variables=pipeline.variables,
    )
    yield from _dump(known).items()
    for job in pipeline.jobs:
        yield entry(job)


def entry(job: Job) -> tuple[str, Any]:
    """The job's name and what the file holds under it."""
    return job.name, _dump(job)


def from_document(document: dict[str, Any], *, header: Sequence[str] = ()) -> Pipeline:
    """The pipeline that `document` describes; GitLab's short forms (`script: one line`) are understood.

    Raises:
        VerificationError: listing every unknown key and wrong type with its job.
    """
    problems: list[str] = []
    entries = {name: value for name, value in document.items() if name in _Globals.model_fields}
    known = _read(_Globals, entries, problems, "") or _Globals()
    jobs: list[Job] = []
    for name, value in document.items():
        if name in entries:
            continue
        if name in _OTHER_GLOBALS:
            problems.append(f"{name}: {_UNKNOWN}")
        elif not isinstance(value, dict):
            problems.append(f"{inert(name)}: a job must be a mapping of keywords")
        else:
            job = _read(Job, {"name": name, **_in_full(value)}, problems, f"{inert(name)}: ")
            jobs += [job] if job else []
    if problems:
        raise VerificationError("the file does not say what pipelinegen could have written", findings=problems)
    return Pipeline(
        header_comment=tuple(header),
        workflow_name=known.workflow.name,
        auto_cancel_on_new_commit=known.workflow.auto_cancel.on_new_commit,
        auto_cancel_on_job_failure=known.workflow.auto_cancel.on_job_failure,
        workflow_rules=known.workflow.rules,
        stages=known.stages,
        default=known.default,
        variables=known.variables,
        jobs=tuple(jobs),
    )


def _dump(value: Job | _Globals) -> dict[str, Any]:
    return value.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name"})


def _in_full(job: dict[str, Any]) -> dict[str, Any]:
    """The job with GitLab's short forms and defaults written out, where they differ from the model's."""
    full = {"stage": "test", **job}
    if isinstance(full.get("needs"), list):
        full["needs"] = [_need_in_full(need) for need in full["needs"]]
    for keyword in ("script", "before_script"):
        if isinstance(full.get(keyword), str):
            full[keyword] = [full[keyword]]
    if isinstance(full.get("environment"), str):
        full["environment"] = {"name": full["environment"]}
    if isinstance(full.get("retry"), int):
        full["retry"] = {"max": full["retry"]}
    if isinstance(full.get("cache"), dict):
        full["cache"] = [full["cache"]]
    artifacts = full.get("artifacts")
    if isinstance(artifacts, dict) and isinstance(artifacts.get("reports"), dict):
        reports = {
            kind: [files] if isinstance(files, str) and kind != "annotations" else files
            for kind, files in artifacts["reports"].items()
        }
        full["artifacts"] = {**artifacts, "reports": reports}
    return full


def _need_in_full(need: Any) -> Any:
    if isinstance(need, str):
        return {"job": need, "artifacts": True}
    return {"artifacts": True, **need} if isinstance(need, dict) else need


def _read(kind: type[M], entries: dict[str, Any], problems: list[str], prefix: str) -> M | None:
    try:
        # By way of JSON: strict about "2" and 2, and yet a list is a tuple.
        return kind.model_validate_json(json.dumps(entries), strict=True)
    except ValidationError as error:
        problems += [prefix + problem for problem in _problems(error)]
        return None


def _problems(error: ValidationError) -> Iterator[str]:
    """One sentence per place; of a union only the branch that got furthest is told."""
    messages: dict[tuple[str | int, ...], list[str]] = {}
    for finding in error.errors(include_url=False, include_input=False):
        place = tuple(part for part in finding["loc"] if not _is_branch(part))
        messages.setdefault(place, []).append(_message(finding["type"], finding["msg"], str(place[-1])))
    reached = {place[:depth] for place in messages for depth in range(len(place))}
    for place, alternatives in messages.items():
        if place not in reached:
            yield f"{inert('.'.join(map(str, place)))}: {', or '.join(alternatives)}"


def _message(kind: str, message: str, keyword: str) -> str:
    if kind == "extra_forbidden":
        return _UNKNOWN + _close(keyword)
    return "it is missing" if kind == "missing" else message.replace("Input", "it", 1)


def _is_branch(part: str | int) -> bool:
    """Whether a part of pydantic's location names the branch of a union and no place in the file."""
    return part in _BRANCHES or str(part).startswith(("tuple[", "function-"))


def _close(word: str) -> str:
    matches = difflib.get_close_matches(word, sorted(KEYWORDS), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
