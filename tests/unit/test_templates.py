"""What projects include, and what is made of it: every component with its defaults and with odd values."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelinegen import ci_templates
from pipelinegen.ci_templates import BLOCK, Template, interpolate, read_template
from pipelinegen.errors import UsageError, VerificationError
from pipelinegen.pipeline.emit import from_yaml
from pipelinegen.pipeline.limits import Limits
from pipelinegen.pipeline.schema import schema_findings
from pipelinegen.pipeline.verify import Severity, verify
from tests.ci_files import TEMPLATES, document, jobs_of, whole_file

ROOT = Path(__file__).parents[2]
REQUIRED: dict[str, dict[str, Any]] = {"drill": {"target": "packages.x86_64-linux.hello"}}
"""What must be given."""

ODD: dict[str, dict[str, Any]] = {
    "pipeline": {
        "image": "$CI_REGISTRY/a_b/c.d@sha256:" + "0" * 64,
        "flake": "./nix os".replace(" ", "/"),
        "tags": ["a b", 'c"d', "e: f", "#g", "$TAG"],
        "plan-stage": "plan it",
        "deliver-stage": "test",
        "timeout": "1 hour 30 minutes",
        "strategy": "mirror",
        "merge-request-pipelines": False,
        "branch-pipelines": "default",
        "tag-pipelines": False,
        "scheduled-pipelines": False,
        "task": "nightly",
        "job-prefix": "1e3",
        "base-cache-key": "$CI_COMMIT_REF_SLUG-base",
        "refine-memo": True,
        "expire-in": "3 mos 4 sec",
    },
    "scheduled": {"tags": ["a b"], "task": "on", "job-prefix": "08-", "flake": "examples/fleet"},
    "image": {
        "flake": "git+https://gitlab.example.org/group/pipelinegen?ref=v0.1.0&dir=nix",
        "tag-suffix": "-aarch64",
        "tls-verify": False,
        "tags": ["yes"],
        "on-default-branch": True,
        "task": "no",
    },
    "cache-report": {"allow-failure": True, "tags": ["1:30"], "stage": "08"},
    "drill": {
        "target": "nixosConfigurations.web-1.config.system.build.toplevel",
        "host": "web-1",
        "environment": "production/web-1",
        "backup-metrics": "https://metrics.example.org/metrics?a=b%20c",
        "substituters": "https://one.example.org?priority=1 https://two.example.org",
        "public-keys": "one-1:AAAA+/= two:BBBB",
        "require-fresh-store": False,
        "manual": True,
        "tags": ["nix"],
    },
}

HOSTILE = ['a"b', "a'b", "a\nb: c", "a`id`", "a\\", "a; id", "$(id)", "a$(id)", "a|b", "a}]]", "a b\tc", "é"]
"""What would be YAML or shell of its own where GitLab puts a text into the file."""


def values(name: str, odd: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {**REQUIRED.get(name, {}), **(odd or {})}


CASES = [(name, values(name)) for name in TEMPLATES] + [(name, values(name, ODD[name])) for name in TEMPLATES]


def test_there_is_a_component_for_each_purpose() -> None:
    assert set(TEMPLATES) == {"cache-report", "drill", "image", "pipeline", "scheduled"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_two_documents_and_its_header_is_what_gitlab_knows(name: str) -> None:
    text = (ROOT / "templates" / name / "template.yml").read_text("utf-8")
    header, body = text.split("\n---\n")
    said = yaml.safe_load(header)
    assert list(said) == ["spec"]
    assert list(said["spec"]) == ["inputs"]
    assert len(said["spec"]["inputs"]) <= 50
    for one in said["spec"]["inputs"].values():
        assert set(one) <= {"type", "default", "description", "options", "regex"}
        assert one["description"].endswith(".")
    assert yaml.safe_load(body), "also before GitLab puts anything in"
    assert all(re.fullmatch(r"inputs\.[a-z-]+", match[1]) for match in BLOCK.finditer(body)), "no functions, no context"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_default_is_a_value_that_may_be_given(name: str) -> None:
    for one in TEMPLATES[name].inputs.values():
        assert one.default is None or one.problem(one.default) is None


@pytest.mark.parametrize("name", TEMPLATES)
def test_patterns_are_about_whole_values_in_the_words_of_re2(name: str) -> None:
    for one in TEMPLATES[name].inputs.values():
        if one.type == "string" and not one.options:
            assert one.regex is not None, f"{one.name} takes any text"
            assert one.regex.startswith("^"), one.name
            assert one.regex.endswith("$"), one.name
            assert "(?" not in one.regex, one.name
            assert not re.search(r"\\[1-9]", one.regex), one.name


@pytest.mark.parametrize("name", TEMPLATES)
def test_only_what_nobody_can_guess_is_required(name: str) -> None:
    required = [one.name for one in TEMPLATES[name].inputs.values() if one.default is None]
    assert required == list(REQUIRED.get(name, {}))


@pytest.mark.parametrize(
    ("name", "given"), CASES, ids=[f"{name}-{'odd' if v.get('tags') else 'defaults'}" for name, v in CASES]
)
def test_gitlabs_schema_and_our_rules_accept_what_comes_out(name: str, given: dict[str, Any]) -> None:
    text = whole_file(interpolate(TEMPLATES[name], given))
    found = schema_findings(text)
    assert found.skipped is None
    assert found.findings == ()
    findings = verify(from_yaml(text), Limits(), "17.0" if given.get("strategy") != "mirror" else "18.2", child=False)
    assert [str(finding) for finding in findings if finding.severity is Severity.ERROR] == []


@pytest.mark.parametrize(
    ("name", "given"), CASES, ids=[f"{name}-{'odd' if v.get('tags') else 'defaults'}" for name, v in CASES]
)
def test_values_arrive_as_they_were_given(name: str, given: dict[str, Any]) -> None:
    jobs = jobs_of(interpolate(TEMPLATES[name], given))
    for job in jobs.values():
        if "trigger" in job:
            continue
        if given.get("tags"):
            assert job["tags"] == given["tags"]
        assert isinstance(job["stage"], str)
        assert isinstance(job["image"]["name"], str)
        assert all(isinstance(value, str) for value in job.get("variables", {}).values())
    assert all(isinstance(key, str) for key in jobs)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_no_text_can_become_yaml_or_shell(name: str, value: str) -> None:
    for one in TEMPLATES[name].inputs.values():
        if one.type == "string":
            assert one.problem(value) is not None, f"{one.name} takes {value!r}"


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_value_can_become_an_option(name: str) -> None:
    inputs = {variable: TEMPLATES[name].inputs[key] for key, variable in bare_variables(TEMPLATES[name]).items()}
    for job in document(interpolate(TEMPLATES[name], values(name))).values():
        for line in job.get("script", []) if isinstance(job, dict) else []:
            words = shlex.split(line.replace("$(", "( "))
            for before, word in itertools.pairwise(["", *words]):
                variable = re.match(r"\$(\w+)", word)
                if variable is None or variable[1] not in inputs or before.startswith("-") or before in SETTINGS:
                    continue
                one = inputs[variable[1]]
                assert one.type == "boolean" or one.problem("-x") is not None, (
                    f"{one.name} may begin with a dash: {line}"
                )


SETTINGS = {"substituters", "trusted-public-keys"}
"""Words behind `--option`, which takes what follows them."""


def bare_variables(template: Template) -> dict[str, str]:
    """Input → the variable of a job that is exactly it."""
    return {
        m[2]: m[1] for m in re.finditer(r'^    (\w+): "\$\[\[ inputs\.([a-z-]+) \]\]"$', template.body, re.MULTILINE)
    }


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_input_stands_in_a_line_of_a_script(name: str) -> None:
    for job in document(TEMPLATES[name].body).values():
        lines = job.get("script", []) if isinstance(job, dict) else []
        assert not any("$[[" in line for line in lines), "a shell would read it; take a variable"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_variable_in_a_script_is_one_quoted_word(name: str) -> None:
    for job in document(interpolate(TEMPLATES[name], values(name))).values():
        for line in job.get("script", []) if isinstance(job, dict) else []:
            outside = re.sub(r'"[^"]*"', '""', line.replace("$(", "("))
            assert "$" not in outside, line
            assert shlex.split(line, comments=False)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_forces_no_stages_and_no_workflow_on_the_project(name: str) -> None:
    body = document(TEMPLATES[name].body)
    assert not {"stages", "workflow", "default", "variables", "image"} & body.keys()


@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - {"pipeline", "scheduled"}))
def test_errands_run_for_their_own_task_alone(name: str) -> None:
    for job in jobs_of(interpolate(TEMPLATES[name], values(name))).values():
        conditions = [rule["if"] for rule in job["rules"] if rule.get("when") != "never"]
        task = TEMPLATES[name].inputs["task"].default
        assert conditions[0].startswith(f'$PIPELINEGEN_TASK == "{task}" && ')
        assert all('"false" == "true"' in condition for condition in conditions[1:]), "off unless asked for"


def test_tasks_of_templates_differ() -> None:
    tasks = [one.inputs["task"].default for one in TEMPLATES.values()]
    assert sorted(tasks) == ["", "cache-report", "drill", "full", "image"]


def test_the_plain_file_is_the_template_with_its_defaults() -> None:
    plain = (ROOT / "ci" / "pipelinegen.gitlab-ci.yml").read_text("utf-8")
    assert plain == ci_templates.plain_file(TEMPLATES["pipeline"]), "run `make docs`"
    assert "$[[" not in plain
    jobs = document(plain)
    variables = jobs.pop("variables")
    template = document(interpolate(TEMPLATES["pipeline"], {"image": "$PIPELINEGEN_IMAGE"}))
    own = template["inspect"].pop("variables")
    assert set(own) == set(variables)
    for job in template.values():
        job.pop("tags", None)
    assert template.pop("refine-memo")["allow_failure"] is True, "it is off unless asked for, which nobody can here"
    rules = template.pop(".pipelinegen-rules")["rules"]
    assert {key: value for key, value in jobs.items() if key != ".pipelinegen-rules"} == template
    kept = [rule.get("if", "") for rule in jobs[".pipelinegen-rules"]["rules"]]
    assert len(kept) < len(rules)
    assert all(any(rule["if"].endswith(one) for rule in rules) for one in kept)


def test_rules_of_the_plain_file_hold_no_comparison_of_two_literals() -> None:
    for rule in document(ci_templates.plain_file(TEMPLATES["pipeline"]))[".pipelinegen-rules"]["rules"]:
        assert not re.search(r'"[^"]*" [!=]= "', rule.get("if", "")), rule


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("pipeline", {"tags": "nix"}, "is not of type array"),
        ("pipeline", {"merge-request-pipelines": "true"}, "is not of type boolean"),
        ("pipeline", {"strategy": "both"}, "is none of depend, mirror"),
        ("pipeline", {"imag": "x"}, "there is no such input"),
        ("pipeline", {"image": "a b"}, "does not match"),
        ("drill", {}, "it is required"),
    ],
    ids=["list", "boolean", "option", "name", "pattern", "required"],
)
def test_what_gitlab_would_refuse_is_refused(name: str, given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        interpolate(TEMPLATES[name], given)
    assert why in str(caught.value.why)


def test_undeclared_and_unused_inputs_are_found() -> None:
    text = 'spec:\n  inputs:\n    a:\n      default: b\n---\njob:\n  script: ["$[[ inputs.c ]]"]\n'
    with pytest.raises(VerificationError) as caught:
        read_template("odd", text)
    assert [finding.split("`")[1] for finding in caught.value.findings] == ["c", "a"]


def test_a_file_without_a_header_is_no_component() -> None:
    with pytest.raises(VerificationError):
        read_template("odd", "job:\n  script: [echo]\n")


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_reference_names_every_input(name: str) -> None:
    page = (ROOT / "docs" / "reference" / "templates.md").read_text("utf-8")
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == list(TEMPLATES[name].inputs)


def test_this_projects_own_pipeline_gives_inputs_that_the_templates_take() -> None:
    own = document((ROOT / ".gitlab-ci.yml").read_text("utf-8"))
    included = {Path(entry["local"]).parent.name: entry.get("inputs", {}) for entry in own["include"]}
    assert "pipeline" in included
    for name, given in included.items():
        assert interpolate(TEMPLATES[name], given)
    assert own["test"]["script"] == ["bash .ci/run"]
