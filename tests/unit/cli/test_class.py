"""The class that `run` works as where nobody says which."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipelinegen.ci_env import CiEnv
from pipelinegen.cli.options import trusted_class
from pipelinegen.cli.session import Session
from pipelinegen.console import Console

PROTECTED = {"CI": "true", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_PROTECTED": "true"}
FORK = {
    "CI": "true",
    "CI_MERGE_REQUEST_IID": "1",
    "CI_MERGE_REQUEST_PROJECT_URL": "https://g.invalid/ours",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": "https://g.invalid/theirs",
}


@pytest.mark.parametrize(
    ("variables", "by_hand", "kind"),
    [
        ({}, "unprotected", "unprotected"),
        ({}, "protected", "protected"),
        (PROTECTED, "unprotected", "protected"),
        (FORK, "protected", "fork"),
        ({"CI": "true"}, "protected", "unprotected"),
    ],
    ids=["by hand", "by hand, to leave this machine", "protected ref", "fork", "other ref"],
)
def test_the_class_is_what_gitlab_says_and_it_is_told(variables: dict[str, str], by_hand: str, kind: str) -> None:
    log = io.StringIO()
    session = Session(Console(log), Path("/nowhere"), None, "never", CiEnv.from_environment(variables))
    assert trusted_class(session, None, by_hand=by_hand) == kind
    assert f"class {kind}" in log.getvalue()
    assert trusted_class(session, "protected", by_hand=by_hand) == "protected", "what is named counts"
