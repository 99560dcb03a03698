"""Reading files that people wrote: understood, or refused with the place and the reason."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.errors import PipelinegenError, UsageError, VerificationError
from pipelinegen.pipeline import yaml_text
from pipelinegen.pipeline.emit import from_yaml, to_yaml
from pipelinegen.pipeline.model import Cache, Environment, Need, Pipeline, Reports, Retry
from tests.unit.pipeline.samples import sound_pipeline

SHORT_FORMS = """
stages: [build]
a:
  script: make
  before_script: set -e
b:
  stage: build
  script: [make]
  needs: [a, {job: c}, {job: d, artifacts: false}]
  environment: prod
  retry: 1
  cache: {key: k, paths: [x]}
  artifacts: {reports: {junit: a.xml, dotenv: [b.env], metrics: m.txt}}
"""


def test_short_forms_mean_what_gitlab_takes_them_for() -> None:
    first, second = from_yaml(SHORT_FORMS).jobs
    assert (first.stage, first.script, first.before_script, first.needs) == ("test", ("make",), ("set -e",), None)
    assert second.needs == (Need(job="a", artifacts=True), Need(job="c", artifacts=True), Need(job="d"))
    assert second.environment == Environment(name="prod")
    assert second.retry == Retry(max=1)
    assert second.cache == (Cache(key="k", paths=("x",)),)
    assert second.artifacts is not None
    assert second.artifacts.reports == Reports(junit=("a.xml",), dotenv=("b.env",), metrics=("m.txt",))


def test_a_file_without_workflow_has_no_rules() -> None:
    assert from_yaml("a: {script: x}").workflow_rules == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "line 2, column 1"),
        ("a: &x {script: y}", "anchors"),
        ("a: &x {script: y}\nb: *x", "anchors"),
        ("a: !reference [b, script]", "tag !reference"),
        ("a: !!python/object:os.system {}", "tag"),
        ("a: {script: x}\na: {script: y}", "'a' stands here twice"),
        ("a: {script: x, script: y}", "'script' stands here twice"),
        ("1: {script: x}", "'1' is not text"),
        ("yes: {script: x}", "'yes' is not text"),
        ("? [a, b]\n: {script: x}", "not text"),
        ("<<: {script: x}", "'<<' is not text"),
        ("spec: {}\n---\na: {script: x}", "second document"),
        ("a:\n\tscript: x", "cannot start any token"),
        ("a: \x00", "control characters|special characters"),
        ("a: '\ud800'", "surrogates"),
        (f"a: {{parallel: {'9' * 5000}}}", "digits"),
        ("", "empty"),
        ("# only a comment", "empty"),
        ("- a\n- b", "no mapping"),
        ("text", "no mapping"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_no_plain_yaml_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_yaml(text)
    error = caught.value
    assert any(word in f"{error.message} {error.where} {error.why}" for word in why.split("|"))


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("a: {scrip: x}", "a: scrip: pipelinegen does not write this keyword; did you mean 'script'?"),
        ("a: {retry: {mx: 1}}", "a: retry.mx: pipelinegen does not write this keyword; did you mean 'max'?"),
        ("a: {image: {nme: x, entrypoint: ['']}}", "a: image.name: it is missing"),
        ("a: {allow_failure: maybe}", "a: allow_failure: it should be a valid boolean, or it should be an object"),
        ("a: {needs: [{job: 1}]}", "a: needs.0.job: it should be a valid string"),
        ("a: {retry: {max: '2'}}", "a: retry.max: it should be a valid integer"),
        ("a: {script: {x: y}}", "a: script: it should be a valid array"),
        ("a: {variables: {X: .inf}}", "a: variables.X: it should be a valid string"),
        ("a: x", "a: a job must be a mapping of keywords"),
        ("include: x.yml", "include: pipelinegen does not write this keyword"),
        ("workflow: {names: x}", "workflow.names: pipelinegen does not write this keyword"),
        ("stages: build", "stages: it should be a valid array"),
        ('"\\e[31ma\\nb": x', "␛[31ma␊b: a job must be a mapping of keywords"),
    ],
    ids=lambda value: value[:40],
)
def test_what_the_model_does_not_know_is_named(text: str, finding: str) -> None:
    with pytest.raises(VerificationError) as caught:
        from_yaml(text)
    assert any(one.startswith(finding) for one in caught.value.findings), caught.value.findings


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(VerificationError) as caught:
        from_yaml("stages: 1\na: {x: 1, y: 2}\nb: 3")
    assert len(caught.value.findings) == 4


def test_dates_stay_text() -> None:
    assert from_yaml("a: {script: [2020-01-01]}").jobs[0].script == ("2020-01-01",)


@pytest.mark.parametrize("depth", [101, 5_000, 100_000])
def test_too_deep_nesting_is_refused_before_it_is_followed(depth: int) -> None:
    with pytest.raises((VerificationError, UsageError)) as caught:
        from_yaml("a: " + "[" * depth)
    if depth == 101:
        assert isinstance(caught.value, VerificationError)
        assert caught.value.findings[0].startswith("L23")


def test_a_hundred_levels_are_read() -> None:
    _, document = yaml_text.load("a: " + "[" * 99 + "]" * 99)
    assert document["a"] != []


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab01:-[]{}#&*!|>'\"%@?, \n\t.=<\\x~\u2028😀"), max_size=40))
def test_no_text_gives_anything_but_a_pipeline_or_our_error(text: str) -> None:
    with contextlib.suppress(PipelinegenError):
        assert isinstance(from_yaml(text), Pipeline)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_to_a_file_gives_anything_but_our_error(data: st.DataObject) -> None:
    text = to_yaml(sound_pipeline())
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 20))
    damaged = text[:at] + data.draw(st.text(max_size=5)) + text[at + length :]
    with contextlib.suppress(PipelinegenError):
        assert isinstance(from_yaml(damaged), Pipeline)


def test_the_slower_parser_without_libyaml_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    import yaml

    text = to_yaml(sound_pipeline())
    expected = yaml_text.load(text)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    try:
        slower = importlib.reload(yaml_text)
        assert slower.load(text) == expected
        with pytest.raises(UsageError, match="cannot be read"):
            slower.load("a: &x b")
    finally:
        monkeypatch.undo()
        importlib.reload(yaml_text)
