"""Files of `.gitlab-ci.yml`'s kind as GitLab makes jobs of them: included files, inputs and `extends`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from pipelinegen import ci_templates
from pipelinegen.ci_templates import interpolate

TEMPLATES = ci_templates.read_templates()


def document(text: str) -> dict[str, Any]:
    """A file's YAML, as it is."""
    read = yaml.safe_load(text)
    assert isinstance(read, dict)
    return read


def jobs_of(text: str) -> dict[str, Any]:
    """The jobs of a file, with what they extend, and of the templates that it includes."""
    read = document(text)
    included: dict[str, Any] = {}
    for entry in read.pop("include", []):
        included |= jobs_of(interpolate(TEMPLATES[_template_of(entry)], entry.get("inputs", {})))
    read = {name: job for name, job in read.items() if isinstance(job, dict) and name not in {"workflow", "variables"}}
    for name, job in read.items():
        if "extends" in job:
            read[name] = {**read[job["extends"]], **{key: value for key, value in job.items() if key != "extends"}}
    jobs = included | {name: job for name, job in read.items() if not name.startswith(".")}
    for job in jobs.values():
        if job.get("tags") == []:
            # GitLab takes it, `lib/gitlab/ci/config/entry/tags.rb` in its sources; its schema for editors does not.
            del job["tags"]
    return jobs


def _template_of(entry: dict[str, Any]) -> str:
    """The name of the template that an entry of `include` brings in."""
    if "component" in entry:
        return str(entry["component"]).rpartition("/")[2].partition("@")[0]
    return Path(entry["local"]).parent.name


def whole_file(text: str) -> str:
    """The same as one file, with the stages that its jobs are in and GitLab's own ones, in JSON."""
    jobs = jobs_of(text)
    used = {str(job["stage"]) for job in jobs.values() if "stage" in job}
    return json.dumps({"stages": sorted({"build", "test", "deploy", *used} - {".pre", ".post"}), **jobs}, indent=1)
