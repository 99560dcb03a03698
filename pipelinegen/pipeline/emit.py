"""The child pipeline as a file: `to_yaml` writes, `from_yaml` reads back exactly."""

from __future__ import annotations

from pipelinegen.pipeline import yaml_text
from pipelinegen.pipeline.document import KEYWORDS, entries, entry, from_document
from pipelinegen.pipeline.model import Job, Pipeline


def to_yaml(pipeline: Pipeline) -> str:
    """The whole file, with a newline at its end. Equal pipelines give equal bytes.

    Raises:
        VerificationError: the pipeline holds what YAML cannot say: two jobs of one name, or half a
            character (a lone surrogate).
    """
    return yaml_text.dump(entries(pipeline), keywords=KEYWORDS, header=pipeline.header_comment)


def job_bytes(job: Job) -> int:
    """The size of this job in any file."""
    return len(yaml_text.dump([entry(job)], keywords=KEYWORDS).encode())


def from_yaml(text: str) -> Pipeline:
    """The pipeline that a file describes; the inverse of `to_yaml`.

    Files that people wrote are understood as far as they use the keywords of the model.

    Raises:
        UsageError: no YAML, or YAML beyond the plain subset (anchors, tags, repeated keys).
        VerificationError: keywords that the model does not have, or values of a wrong type, all of them.
    """
    header, document = yaml_text.load(text)
    return from_document(document, header=header)


def escape_variable_value(text: str) -> str:
    """`text` for a value under `variables:`, where GitLab expands `$NAME`: every `$` doubled.

    Script lines are not expanded by GitLab: there `$` belongs to the shell. The doubling does not survive
    a trigger: variables that go on to a child pipeline need `Variable(expand=False)` instead.
    """
    return text.replace("$", "$$")
