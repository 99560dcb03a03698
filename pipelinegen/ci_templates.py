"""The GitLab CI/CD components in `templates/`: their inputs, what GitLab makes of them, and what is made of them.

GitLab replaces `$[[ inputs.NAME ]]` in the text of the file before it reads it as YAML: text as it is, everything
else as JSON (`lib/gitlab/ci/config/interpolation` in its sources). So a text that holds a quote or a line break
would be YAML of its own, and only an input's `regex` or `options` keep it out.

Not part of what jobs do: `make docs` writes the page of their inputs, and the plain file for those who cannot use
components (see `reference`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelinegen.errors import UsageError, VerificationError
from pipelinegen.pipeline import yaml_text

FOLDER = Path(__file__).resolve().parents[1] / "templates"
"""Where GitLab looks for components in a project; an installed package has none."""

BLOCK = re.compile(r"\$\[\[\s*(\S.*?)\s*\]\]")
TYPES: dict[str, type] = {"string": str, "number": int, "boolean": bool, "array": list}

PLAIN_VARIABLES = {"image": "PIPELINEGEN_IMAGE", "flake": "PIPELINEGEN_FLAKE"}
"""Inputs of `pipeline` that the plain file takes from variables."""

_PLAIN_HEADER = """\
# Made of templates/pipeline/template.yml by `make docs`; do not edit. For GitLab before 18.1, and for those who
# would rather include a file than a component:
#
#   include:
#     - project: your-group/pipelinegen
#       ref: v0.1.0
#       file: ci/pipelinegen.gitlab-ci.yml
#
# Variables you may set (in your .gitlab-ci.yml or in the project's CI/CD settings):
#   PIPELINEGEN_IMAGE   the CI image, with Nix, git, openssh and pipelinegen; the child's jobs use it too,
#                       unless the configuration says `gitlab.image`
#   PIPELINEGEN_FLAKE   folder of the flake, `.` by default
#   PIPELINEGEN_BASE    compare with this commit instead of the one that is found
#   PIPELINEGEN_TASK    pipelines with this variable belong to other templates: nothing of this runs in them

variables:
  PIPELINEGEN_IMAGE: "pipelinegen-ci:latest"
  PIPELINEGEN_FLAKE: "."

"""


@dataclass(frozen=True)
class Input:
    """One of `spec:inputs`. `default` is null where the input is required."""

    name: str
    type: str
    description: str
    default: Any = None
    options: tuple[Any, ...] = ()
    regex: str | None = None

    def problem(self, value: object) -> str | None:
        """Why GitLab would refuse this value."""
        wanted = TYPES[self.type]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            return f"`{self.name}`: {value!r} is not of type {self.type}"
        if self.options and value not in self.options:
            return f"`{self.name}`: {value!r} is none of {', '.join(map(str, self.options))}"
        if self.regex is not None and not re.fullmatch(self.regex, str(value)):
            return f"`{self.name}`: {value!r} does not match {self.regex}"
        return None


@dataclass(frozen=True)
class Template:
    """A component: its name, its inputs in their order, and the text behind its header."""

    name: str
    inputs: dict[str, Input]
    body: str


def read_template(name: str, text: str) -> Template:
    """Read a component.

    Raises:
        VerificationError: it is not a header with inputs and a second document, or uses other inputs than it names.
    """
    header, found, body = text.partition("\n---\n")
    spec = yaml_text.load(header)[1].get("spec") if found else None
    if not isinstance(spec, dict):
        raise VerificationError(f"template {name} has no header", findings=["`spec:inputs`, then a line `---`"])
    inputs = {}
    for key, said in spec["inputs"].items():
        more = {"options": tuple(said.get("options", ())), "regex": said.get("regex"), "default": said.get("default")}
        inputs[key] = Input(key, said.get("type", "string"), said.get("description", ""), **more)
    used = {match[1].removeprefix("inputs.") for match in BLOCK.finditer(body)}
    wrong = [f"`{key}` is used and not declared" for key in sorted(used - inputs.keys())]
    wrong += [f"`{key}` is declared and not used" for key in sorted(inputs.keys() - used)]
    if wrong:
        raise VerificationError(f"template {name} is not sound", findings=wrong)
    return Template(name, inputs, body)


def read_templates(folder: Path = FOLDER) -> dict[str, Template]:
    """All components of a project, by name."""
    files = sorted(folder.glob("*/template.yml"))
    return {file.parent.name: read_template(file.parent.name, file.read_text("utf-8")) for file in files}


def interpolate(template: Template, given: Mapping[str, Any]) -> str:
    """The YAML that GitLab reads when somebody includes `template` with these inputs.

    Raises:
        UsageError: GitLab would refuse the inputs.
    """
    problems = [f"`{name}`: there is no such input" for name in given if name not in template.inputs]
    values = {name: given.get(name, one.default) for name, one in template.inputs.items()}
    for name, value in values.items():
        problem = f"`{name}`: it is required" if value is None else template.inputs[name].problem(value)
        problems += [problem] if problem else []
    if problems:
        raise UsageError(f"template {template.name} cannot be included so", why="\n".join(problems))
    return _replaced(template.body, values)


def _replaced(text: str, values: Mapping[str, Any]) -> str:
    def put(match: re.Match[str]) -> str:
        value = values[match[1].removeprefix("inputs.")]
        return value if isinstance(value, str) else json.dumps(value)

    return BLOCK.sub(put, text)


def plain_file(template: Template) -> str:
    """The template `pipeline` as a file without inputs: each has its default, or is a variable of `PLAIN_VARIABLES`.

    Tags are left out, so that those who include it can set them, rules are simplified where inputs decide them, and
    jobs that no rule is left for are none.
    """
    values = {name: one.default for name, one in template.inputs.items()}
    values |= {name: f"${variable}" for name, variable in PLAIN_VARIABLES.items()}
    own = "".join(f'    {variable}: "$[[ inputs.{name} ]]"\n' for name, variable in PLAIN_VARIABLES.items())
    body = template.body.replace(f"  variables:\n{own}", "")
    body = re.sub(r"  tags: \$\[\[ inputs\.tags \]\]\n", "", body)
    text = re.sub(r"    - if: '(.*)'\n      when: (\w+)\n", _simpler, _replaced(body, values))
    return _PLAIN_HEADER + re.sub(r'\n"[^"\n]+":\n(?:  .*\n)*?  rules:\n(?!    )(?:  .*\n)*', "", text)


def _simpler(rule: re.Match[str]) -> str:
    """A rule without comparisons of two literals; nothing where it can never hold."""
    terms = []
    for term in rule[1].split(" && "):
        literals = re.fullmatch(r'"([^"]*)" (==|!=) "([^"]*)"', term)
        if literals is None:
            terms.append(term)
        elif (literals[1] == literals[3]) != (literals[2] == "=="):
            return ""
    if not terms:
        return f"    - when: {rule[2]}\n"
    return f"    - if: '{' && '.join(terms)}'\n      when: {rule[2]}\n"


def reference_page(templates: Iterable[Template]) -> str:
    """The inputs of every component as Markdown."""
    lines = [
        "# Templates",
        "",
        "Inputs of the GitLab CI/CD components in `templates/`; how they are included says",
        "[use the templates](../how-to/use-the-templates.md). Text must match the pattern, where one is given.",
        "",
    ]
    for template in templates:
        lines += [f"## {template.name}", "", "| input | type | default | meaning |", "|---|---|---|---|"]
        for one in template.inputs.values():
            default = "required" if one.default is None else f"`{json.dumps(one.default, ensure_ascii=False)}`"
            kind = " \\| ".join(f"`{option}`" for option in one.options) or one.type
            pattern = f" Pattern: `{_cell(one.regex)}`" if one.regex else ""
            lines.append(f"| `{one.name}` | {kind} | {default} | {_cell(one.description)}{pattern} |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
