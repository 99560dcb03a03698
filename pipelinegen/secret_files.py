"""Finding files that hold secrets; reading tokens and keys. What is read is a `SecretStr`, and in no message."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr

from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import CredentialsError

TOKEN_BYTES = 64 * 1024
"""Far above any token or key (servers and proxies take headers of 8 to 16 KiB), far below a file named by mistake."""

_PROTECTED = "protected variables exist only on protected refs"


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
                hint=f"add it to the project's CI/CD variables with type File; {_PROTECTED}",
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
        raise CredentialsError(f"the {purpose} is missing", where=_place(setting), why="there is no such file")
    return file


def resolve_optional(setting: str | None, *, purpose: str) -> Path | None:
    """As `resolve`; null where nothing is configured."""
    return resolve(setting, purpose=purpose) if setting else None


def read_secret(file: str | None, variable: str | None, *, purpose: str) -> SecretStr | None:
    """A token, from a file (`/path`, or `$NAME` as in `resolve`) or from a variable that holds it.

    White space around it is taken off: editors and shells end files with a line break.

    Returns:
        Null where neither is configured.

    Raises:
        CredentialsError: it is missing, cannot be read, is empty, or holds what no token does (spaces, line
            breaks, control characters, letters beyond ASCII). Its content is not shown.
    """
    if file is not None:
        return _checked(_read(resolve(file, purpose=purpose), file, purpose), _place(file), purpose)
    if variable is None:
        return None
    return _checked(_variable(variable, purpose), f"variable {variable}", purpose)


def _variable(name: str, purpose: str) -> str:
    """What a variable holds.

    Raises:
        CredentialsError: it is not set, or holds the name of a file.
    """
    text = os.environ.get(name, "")
    if not text:
        raise CredentialsError(
            f"the {purpose} is missing",
            where=f"variable {name}",
            why="it is not set in this job",
            hint=f"add it to the project's CI/CD variables, masked; {_PROTECTED}",
        )
    if text.startswith("/") and _is_file(text.strip()):
        raise CredentialsError(
            f"the {purpose} is missing",
            where=f"variable {name}",
            why="it holds the name of a file, not what is in it",
            hint=f'the variable has type File: name it by a setting that ends in _file, as "${name}"',
        )
    return text


def read_key(file: str | None, variable: str | None, *, purpose: str) -> SecretStr | None:
    """A key of several lines, from the variable that holds it, else from a file (`/path`, or `$NAME`).

    Line ends become those that OpenSSH reads: web forms send CRLF, and drop the last one.

    Returns:
        Null where neither is configured.

    Raises:
        CredentialsError: it is missing, cannot be read, is empty, or too large to be one. Its content is not shown.
    """
    if variable is not None:
        return _mended(_variable(variable, purpose), f"variable {variable}", purpose)
    if file is None:
        return None
    return _mended(_read(resolve(file, purpose=purpose), file, purpose), _place(file), purpose)


def read_known_hosts(setting: str | None) -> str | None:
    """The lines of a known_hosts file (`/path`), or of `$NAME`: a file variable, or one that holds the lines.

    Raises:
        CredentialsError: they are missing, cannot be read, or empty.
    """
    if setting is None:
        return None
    purpose = "known_hosts file"
    text = os.environ.get(setting[1:], "") if setting.startswith("$") else ""
    # No line of known_hosts begins as a file name does, and all have spaces.
    if not text.startswith(("/", ".")) and " " in text:
        return _mended(text, _place(setting), purpose).get_secret_value()
    return _mended(
        _read(resolve(setting, purpose=purpose), setting, purpose), _place(setting), purpose
    ).get_secret_value()


def _mended(text: str, where: str, purpose: str) -> SecretStr:
    lines = text.replace("\r\n", "\n").strip("\n\r\t ")
    if not lines:
        raise CredentialsError(f"the {purpose} is empty", where=where, why="there is nothing in it but white space")
    return SecretStr(lines + "\n")


def cache_token(name: str, cache: CacheConfig, *, push: bool) -> SecretStr | None:
    """The token for reading from a cache, or the one for pushing to it (`push_token_*`, else `token_*`).

    Raises:
        CredentialsError: it is configured and cannot be had; see `read_secret`.
    """
    if push and (cache.push_token_file or cache.push_token_env):
        return read_secret(cache.push_token_file, cache.push_token_env, purpose=f"token for pushing to cache {name}")
    return read_secret(cache.token_file, cache.token_env, purpose=f"token of cache {name}")


def _read(file: Path, setting: str, purpose: str) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(TOKEN_BYTES + 1)
    except OSError as error:
        raise CredentialsError(
            f"the {purpose} cannot be read", where=_place(setting), why=error.strerror or "it is no file"
        ) from None
    if len(data) > TOKEN_BYTES:
        raise CredentialsError(
            f"the {purpose} is not in this file",
            where=_place(setting),
            why=f"it is larger than {TOKEN_BYTES // 1024} KiB, so it is something else",
        )
    return data.decode("utf-8", "replace")


def _checked(text: str, where: str, purpose: str) -> SecretStr:
    token = text.strip()
    if not token:
        raise CredentialsError(f"the {purpose} is empty", where=where, why="there is nothing in it but white space")
    if not all("!" <= character <= "~" for character in token):
        raise CredentialsError(
            f"the {purpose} cannot be a token",
            where=where,
            why="it holds white space, a line break, a control character, or something beyond ASCII",
            hint="store the token alone, as `atticadm make-token` prints it",
        )
    return SecretStr(token)


def _place(setting: str) -> str:
    """What a message may name: what a variable holds may be the secret itself."""
    return f"variable {setting[1:]}" if setting.startswith("$") else setting


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False  # too long, or no name at all
