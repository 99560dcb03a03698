"""Writing and reading the file: exact both ways, and no text becomes anything but itself."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen import characters
from pipelinegen.errors import VerificationError
from pipelinegen.job_names import job_name
from pipelinegen.pipeline import yaml_text
from pipelinegen.pipeline.document import KEYWORDS, entries
from pipelinegen.pipeline.emit import escape_variable_value, from_yaml, to_yaml
from pipelinegen.pipeline.model import Environment, IdToken, Job, Need, Pipeline, Retry, Rule, Variable
from tests.unit.pipeline.reference_yaml import reference
from tests.unit.pipeline.samples import HOSTILE, PIPELINES, TEXT, job, pipeline, sound_pipeline
from tests.unit.pipeline.samples import KEYWORDS as JOB_KEYWORDS

SMALL = """\
# Written by a test.
#
# head: 1e3
workflow:
  name: "flake: 1 build"
  auto_cancel:
    on_new_commit: "interruptible"
  rules:
    - when: "always"
stages:
  - "build"
variables:
  "A": "1:30"
  "B":
    value: "$HOME"
    expand: false
"build 😀":
  stage: "build"
  interruptible: true
  needs:
    - job: "08"
      artifacts: false
    - pipeline: "$PARENT_PIPELINE_ID"
      job: "inspect"
      artifacts: true
  id_tokens:
    "VAULT":
      aud: "x"
  retry:
    max: 2
    exit_codes:
      - 75
  before_script: []
  script:
    - "printf 'a\\n\\tb' ${X}"
"yes":
  stage: "build"
  needs: []
  script:
    - "y"
"""


def test_the_file_looks_like_this() -> None:
    written = to_yaml(
        Pipeline(
            header_comment=("Written by a test.", "", "head: 1e3"),
            workflow_name="flake: 1 build",
            auto_cancel_on_new_commit="interruptible",
            stages=("build",),
            variables={"B": Variable(value="$HOME", expand=False), "A": "1:30"},
            jobs=(
                Job(
                    name="build 😀",
                    stage="build",
                    interruptible=True,
                    needs=(Need(job="08"), Need(job="inspect", pipeline="$PARENT_PIPELINE_ID", artifacts=True)),
                    id_tokens={"VAULT": IdToken(aud="x")},
                    retry=Retry(max=2, exit_codes=(75,)),
                    before_script=(),
                    script=("printf 'a\n\tb' ${X}",),
                ),
                Job(name="yes", stage="build", needs=(), script=("y",)),
            ),
        )
    )
    assert written == SMALL


@settings(max_examples=300, deadline=None)
@given(PIPELINES)
def test_any_pipeline_is_read_back_as_it_was(anything: Pipeline) -> None:
    assert from_yaml(to_yaml(anything)) == anything


@settings(max_examples=200, deadline=None)
@given(PIPELINES)
def test_any_pipeline_is_written_as_pyyaml_would(anything: Pipeline) -> None:
    document = dict(entries(anything))
    assert yaml_text.dump(document.items(), keywords=KEYWORDS) == reference(document, KEYWORDS)


PLAIN = st.none() | st.booleans() | st.integers() | TEXT | st.sampled_from(["\u200b" * 400, "k" * 999, "k" * 1000])
KEYS = TEXT | st.sampled_from(["script", "\u200b" * 400, "k" * 999, "k" * 1000])
DATA = st.recursive(
    PLAIN, lambda data: st.lists(data, max_size=3) | st.dictionaries(KEYS, data, max_size=3), max_leaves=12
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, DATA, max_size=3))
def test_any_plain_data_is_written_as_pyyaml_would(anything: dict[str, Any]) -> None:
    written = yaml_text.dump(anything.items(), keywords=KEYWORDS)
    assert written == reference(anything, KEYWORDS)
    assert yaml.safe_load(written) == anything


def test_what_no_ci_file_holds_is_not_written() -> None:
    with pytest.raises(TypeError, match="float"):
        yaml_text.dump([("script", 1.5)], keywords=KEYWORDS)


def test_the_strategies_reach_every_keyword_of_a_job() -> None:
    assert {field.alias or name for name, field in Job.model_fields.items()} == {*JOB_KEYWORDS, "name", "stage"}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.BaseLoader], ids=["typed", "untyped"])
def test_hostile_text_is_text_for_every_parser(text: str, loader: type[yaml.SafeLoader]) -> None:
    written = to_yaml(pipeline(job("x", script=(text,), variables={text: text}, tags=(text,))))
    read = yaml.load(written, Loader=loader)  # noqa: S506
    assert read["x"]["script"] == [text]
    assert read["x"]["tags"] == [text]
    assert read["x"]["variables"] == {text: text}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_hostile_text_stays_on_the_line_of_its_comment(text: str) -> None:
    plain, hostile = (to_yaml(pipeline(header_comment=(line,))) for line in ("x", text))
    comment, rest = hostile.split("\n", 1)
    assert comment.startswith("#")
    assert not set("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029") & set(comment), "ends a line for some reader"
    assert rest == plain.split("\n", 1)[1]


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_any_argument_survives_yaml_and_shell(arguments: list[str]) -> None:
    line = shlex.join(["pipelinegen", "run", "build", *arguments])
    read = from_yaml(to_yaml(pipeline(job("x", script=(line,))))).job("x")
    assert read is not None
    assert shlex.split(read.script[0])[3:] == arguments


@given(st.text())
def test_any_attribute_name_is_a_job_name_that_survives(attribute: str) -> None:
    name = job_name("build", attribute)
    assert yaml.safe_load(to_yaml(pipeline(job(name))))[name]["script"] == ["true"]


def test_what_people_read_stays_readable() -> None:
    written = to_yaml(pipeline(job("é 😀 日本", script=("echo $HOME 'ü'",))))
    assert '"é 😀 日本":' in written
    assert "\"echo $HOME 'ü'\"" in written


@pytest.mark.parametrize("sign", ["\u202e", "\u200b", "\xa0", "\ufeff", "\x1b", "\U000e0041"], ids=ascii)
def test_what_nobody_can_see_is_escaped(sign: str) -> None:
    written = to_yaml(pipeline(job("x", script=(f"a{sign}b",)), header_comment=(f"a{sign}b",)))
    assert sign not in written
    assert f"\\{'x' if ord(sign) < 256 else 'u' if ord(sign) < 65536 else 'U'}" in written


@given(st.text())
def test_escaping_is_undone(text: str) -> None:
    assert characters.unescape(characters.escape(text)) == text


def test_only_keywords_and_numbers_are_plain() -> None:
    for line in to_yaml(sound_pipeline()).splitlines():
        if line.startswith("#"):
            continue
        key, _, value = line.strip().removeprefix("- ").partition(": ")
        for word in (key.removesuffix(":"), value):
            known = word in {"", "true", "false", "[]"} or word in KEYWORDS or word.isdigit()
            assert known or (word.startswith('"') and word.endswith('"')), line


def test_keywords_mean_nothing_else_in_yaml() -> None:
    for keyword in KEYWORDS:
        assert yaml.safe_load(keyword) == keyword
        assert yaml.safe_load(f"{keyword}: 1") == {keyword: 1}


def test_there_are_no_anchors_for_shared_values() -> None:
    shared = Environment(name="prod")
    needs = (Need(job="a"),)
    written = to_yaml(pipeline(*(job(name, needs=needs, environment=shared) for name in "abc")))
    assert "&" not in written
    assert "*" not in written
    assert "---" not in written


def test_long_lines_are_not_folded() -> None:
    script = "word " * 500
    assert f'- "{script}"\n' in to_yaml(pipeline(job(script=(script,))))


def test_a_name_beyond_the_length_of_a_plain_key_is_read_back() -> None:
    long = "\u200b" * 400
    assert from_yaml(to_yaml(pipeline(job(long)))).job(long) == job(long)


def test_names_that_users_chose_are_written_in_order() -> None:
    one, other = ({"b": "1", "a": "2"}, {"a": "2", "b": "1"})
    assert to_yaml(pipeline(variables=one)) == to_yaml(pipeline(variables=other))


def test_absent_and_empty_differ_where_gitlab_sees_a_difference() -> None:
    written = to_yaml(pipeline(job("a", needs=(), dependencies=(), before_script=()), job("b")))
    assert written.count("needs: []") == written.count("dependencies: []") == 1
    assert written.count("before_script: []") == 1


def test_the_rule_that_keeps_merge_requests_from_being_empty_is_there_by_default() -> None:
    assert yaml.safe_load(to_yaml(pipeline()))["workflow"]["rules"] == [{"when": "always"}]
    assert Rule(when="always") in pipeline().workflow_rules


@pytest.mark.parametrize("name", ["stages", "workflow", "variables", "default", "summary"])
def test_jobs_that_would_hide_something_are_not_written(name: str) -> None:
    with pytest.raises(VerificationError, match="cannot be written"):
        to_yaml(pipeline(job(name)))


@pytest.mark.parametrize("broken", [job("\ud800"), job(script=("\udfff",))], ids=["name", "script"])
def test_half_a_character_is_not_written(broken: Job) -> None:
    with pytest.raises(VerificationError) as caught:
        to_yaml(pipeline(broken))
    assert "R5" in caught.value.findings[0]


def test_variable_values_keep_their_dollars() -> None:
    assert escape_variable_value("$HOME costs $$ 5") == "$$HOME costs $$$$ 5"
