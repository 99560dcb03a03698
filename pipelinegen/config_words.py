"""Kinds of text that settings hold: patterns, URLs, durations, names of variables."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipelinegen import attrpath, durations
from pipelinegen.errors import UsageError
from pipelinegen.secret_references import complaint, is_reference


def _pattern(text: str) -> str:
    try:
        attrpath.parse_pattern(text)
    except UsageError as error:
        raise ValueError(error.message) from error
    return text


def _store_url(text: str) -> str:
    if "$" in text:
        # Whoever may start a pipeline may set its variables, and jobs would send their tokens there.
        raise ValueError("an address names no variable: write the server's own, which is no secret")
    if not re.match(r"[a-z0-9+.-]+://|/|auto$|daemon$", text) or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError("no store URL: expected file://, https://, s3://, ssh-ng:// …")
    # A user name alone is what ssh needs; before a web address it is a token.
    if re.match(r"[a-z0-9+.-]+://[^/@]*:[^/@]*@|https?://[^/@]*@", text):
        raise ValueError("credentials in a URL would reach logs; use a netrc file")
    return text


def _secret_file(text: str) -> str:
    wrong = complaint(text) if is_reference(text) else None
    if wrong is not None:
        raise ValueError(f"no reference to a secret: {wrong}")
    return text


def _duration(text: str) -> str:
    if durations.seconds(text) is None:
        raise ValueError("expected a duration such as `30 minutes` or `1h 30m`")
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
"""An attribute pattern: `images.*`, `packages.x86_64-linux.web-?`, `nixosTests.**`."""

Gate = Literal["all", "related"]
"""What must have passed before a push to a publish cache or a deployment."""

GATE = "`all`: every test and evaluation of this pipeline; `related`: only those that `checks` or targets name"

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""Name of a CI/CD variable."""

SecretFile = Annotated[str, AfterValidator(_secret_file)]
"""Where a secret is: a file, `$NAME` for a variable of type File, or a reference to 1Password."""

StoreUrl = Annotated[str, AfterValidator(_store_url)]
Duration = Annotated[str, AfterValidator(_duration)]
