"""GitLab's own JSON schema of CI files, as the package check-jsonschema ships it.

The schema finds wrong types and misspelt keywords, and little else; `verify` knows the rest. It is an
optional dependency: without it a check says so instead of failing.
"""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

from pipelinegen.characters import inert
from pipelinegen.pipeline import yaml_text
from pipelinegen.values import Value

_FOLDER = "builtin_schemas/vendor"
_FILE = "gitlab-ci.json"


class SchemaFindings(Value):
    """What the schema says.

    Attributes:
        findings: `place: message` for each violation, sorted; none when the file fits.
        skipped: why the schema could not be asked, one sentence; null when it was.
    """

    findings: tuple[str, ...] = ()
    skipped: str | None = None


def schema_findings(text: str) -> SchemaFindings:
    """Hold the YAML of a CI file against GitLab's schema.

    Raises:
        UsageError, VerificationError: the text cannot be read, see `yaml_text.load`.
    """
    _, document = yaml_text.load(text)
    try:
        from jsonschema import Draft7Validator  # noqa: PLC0415  # optional
        from jsonschema.exceptions import best_match  # noqa: PLC0415
    except ImportError:
        return SchemaFindings(skipped="GitLab's schema was not asked: the Python package jsonschema is missing")
    schema = load_schema()
    if schema is None:
        return SchemaFindings(skipped="GitLab's schema was not asked: the Python package check-jsonschema is missing")
    found = []
    for error in Draft7Validator(schema).iter_errors(document):
        # Nearly every keyword is a choice of forms; the best match is the form that fits best.
        cause = best_match([error])
        place = inert(".".join(str(part) for part in cause.absolute_path))
        found.append(f"{place or 'the file'}: {inert(cause.message)[:300]}")
    return SchemaFindings(findings=tuple(sorted(set(found))))


def load_schema() -> dict[str, Any] | None:
    """The schema (draft 7), null when check-jsonschema is not installed or ships it no more."""
    try:
        file = importlib.resources.files("check_jsonschema").joinpath(_FOLDER, _FILE)
        schema: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (ModuleNotFoundError, FileNotFoundError):
        return None
    return schema
