"""Finding files that hold secrets. Only their paths are handled here, never their content."""

from __future__ import annotations

import os
from pathlib import Path

from pipelinegen.errors import CredentialsError


def resolve(setting: str, *, purpose: str) -> Path:
    """The file that a setting such as `/run/key` or `$DEPLOY_SSH_KEY` names.

    `$NAME` is a variable that holds a file name, as GitLab's file variables do.

    Raises:
        CredentialsError: the variable is not set (or holds the secret itself), or there is no such file.
    """
    path = setting
    if setting.startswith("$"):
        path = os.environ.get(setting[1:], "")
        if not path:
            raise CredentialsError(
                f"the {purpose} is missing",
                where=f"variable {setting[1:]}",
                why="it is not set in this job",
                hint="add it to the project's CI/CD variables with type File; "
                "protected variables exist only on protected refs",
            )
        if "\n" in path or not path.startswith(("/", ".")):
            raise CredentialsError(
                f"the {purpose} is not in a file",
                where=f"variable {setting[1:]}",
                why="it does not hold a file name",
                hint="change the variable's type to File",
            )
    file = Path(path)
    if not file.is_file():
        # What a variable holds is not shown: it may be the secret itself.
        where = f"variable {setting[1:]}" if setting.startswith("$") else path
        raise CredentialsError(f"the {purpose} is missing", where=where, why="there is no such file")
    return file


def resolve_optional(setting: str | None, *, purpose: str) -> Path | None:
    """As `resolve`; null where nothing is configured."""
    return resolve(setting, purpose=purpose) if setting else None
