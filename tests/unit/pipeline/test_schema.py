"""GitLab's schema takes what is emitted."""

from __future__ import annotations

import builtins
import importlib.resources
from typing import Any

import pytest

from pipelinegen.pipeline.emit import to_yaml
from pipelinegen.pipeline.model import Forward, Include, Need, Trigger
from pipelinegen.pipeline.needs_tree import fan_in
from pipelinegen.pipeline.schema import load_schema, schema_findings
from tests.unit.pipeline.samples import HOSTILE, STAGES, job, pipeline, sound_pipeline


def test_a_pipeline_with_one_of_everything_fits() -> None:
    report = schema_findings(to_yaml(sound_pipeline()))
    assert report.skipped is None
    assert report.findings == ()


def test_a_bootstrap_file_with_a_trigger_job_fits() -> None:
    trigger = Trigger(
        include=(Include(artifact="child.yml", job="summary"),),
        strategy="depend",
        forward=Forward(pipeline_variables=True),
    )
    parent = pipeline(
        job("run", stage="deploy", script=(), timeout=None, trigger=trigger, variables={"A": "$CI_PIPELINE_ID"})
    )
    assert schema_findings(to_yaml(parent)).findings == ()


def test_collectors_fit() -> None:
    jobs = tuple(job(f"b{number}", needs=()) for number in range(50))
    gate = job("gate", stage="test", needs=tuple(Need(job=one.name) for one in jobs))
    assert schema_findings(to_yaml(pipeline(*fan_in((*jobs, gate), stages=STAGES)))).findings == ()


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_hostile_text_fits(text: str) -> None:
    written = to_yaml(pipeline(job("x", script=(text,), variables={text or "A": text})))
    assert schema_findings(written).findings == ()


def test_what_does_not_fit_is_named_with_its_place() -> None:
    report = schema_findings("a: {script: [x], retry: {max: 9}, environment: {name: x, action: go}, foo: 1}")
    assert report.findings == (
        "a.environment.action: 'go' is not one of ['start', 'prepare', 'stop', 'verify', 'access']",
        "a.retry.max: 9 is greater than the maximum of 2",
        "a: Additional properties are not allowed ('foo' was unexpected)",
    )


@pytest.mark.parametrize("missing", ["jsonschema", "check_jsonschema"])
def test_without_the_packages_it_says_so(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import, real_files = builtins.__import__, importlib.resources.files

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == missing:
            raise ModuleNotFoundError(name)
        return real_import(name, *arguments, **keywords)

    def no_files(package: str) -> Any:
        if package == missing:
            raise ModuleNotFoundError(package)
        return real_files(package)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(importlib.resources, "files", no_files)
    report = schema_findings("a: {script: 3}")
    assert report.findings == ()
    assert report.skipped is not None
    assert missing.replace("_", "-") in report.skipped


def test_the_schema_is_gitlabs() -> None:
    schema = load_schema()
    assert schema is not None
    assert "job_template" in schema["definitions"]
