"""References to secrets in 1Password, as settings and variables may hold them instead of a secret. Pure.

`op://VAULT/ITEM/FIELD` or `op://VAULT/ITEM/SECTION/FIELD`, each by its name or its id, and behind it
`?ssh-format=openssh` or `?attribute=…` (https://developer.1password.com/docs/cli/secret-reference-syntax/). A
reference is no secret: it says where one is.
"""

from __future__ import annotations

import re

PREFIX = "op://"
MAX_CHARACTERS = 1000
"""Four names of the length that 1Password takes, with room."""

SIGN_IN_VARIABLES = ("OP_SERVICE_ACCOUNT_TOKEN", "OP_CONNECT_TOKEN")
"""Variables that let a job read secrets: all that a service account, or a Connect server's token, may read."""

_QUERY = re.compile(r"(?:attribute|ssh-format)=[A-Za-z0-9_-]+(?:&(?:attribute|ssh-format)=[A-Za-z0-9_-]+)*")


def is_reference(text: str | None) -> bool:
    """Whether a text is meant as a reference, right or wrong."""
    return text is not None and text.startswith(PREFIX)


def complaint(text: str) -> str | None:
    """Why a reference can be none, in words that do not repeat it; null where it can be one."""
    if not is_reference(text):
        return f"it does not begin with {PREFIX}"
    if len(text) > MAX_CHARACTERS:
        return f"it is longer than {MAX_CHARACTERS} characters"
    if not text.isprintable():
        return "it holds a line break or another control character"
    path, question, query = text.removeprefix(PREFIX).partition("?")
    parts = path.split("/")
    if len(parts) not in (3, 4) or not all(part.strip() for part in parts):
        return f"it is not of the form {PREFIX}VAULT/ITEM/FIELD or {PREFIX}VAULT/ITEM/SECTION/FIELD"
    if question and not _QUERY.fullmatch(query):
        return "what stands behind the question mark is neither attribute=… nor ssh-format=…"
    return None
