"""Finding files that hold secrets; reading tokens and keys. What is read is a `SecretStr`, and in no message.

Wherever a secret may be, there may be a reference to it instead (`op://VAULT/ITEM/FIELD`): as the setting, as what a
variable holds, or as all that a file holds. The secret is then read from 1Password.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from pipelinegen import onepassword
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import CredentialsError
from pipelinegen.private_files import private_folder, write_private
from pipelinegen.secret_references import MAX_CHARACTERS, is_reference

TOKEN_BYTES = 64 * 1024
"""Far above any token or key (servers and proxies take headers of 8 to 16 KiB), far below a file named by mistake."""

_PROTECTED = "protected variables exist only on protected refs"

_KEY = "-----BEGIN "
"""How keys begin, and no name of a file does."""


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


@contextlib.contextmanager
def opened(setting: str | None, *, purpose: str) -> Iterator[Path | None]:
    """A file for programs that want one, as long as this lasts: the file itself, or a private one with the secret.

    Yields null where nothing is configured.

    Raises:
        CredentialsError: as `resolve`, and as `onepassword.read`, which may also raise ToolError and TransientError.
    """
    if setting is None:
        yield None
        return
    reference = _reference(setting)
    if reference is None:
        file = resolve(setting, purpose=purpose)
        reference = _beginning(file)
        if not is_reference(reference):
            yield file
            return
    secret = _plain(reference, _place(setting), purpose)
    with private_folder() as folder:
        yield write_private(folder / "secret", secret.strip() + "\n")


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
        return _checked(_content(file, purpose), _place(file), purpose)
    if variable is None:
        return None
    return _checked(_variable(variable, purpose), f"variable {variable}", purpose)


def _reference(setting: str) -> str | None:
    """The reference that a setting is, or that the variable holds which it names."""
    text = os.environ.get(setting[1:], "").strip() if setting.startswith("$") else setting
    return text if is_reference(text) else None


def _plain(text: str, where: str, purpose: str) -> str:
    """A secret as it is, or the one that a reference stands for."""
    reference = text.strip()
    return onepassword.read(reference, purpose=purpose, where=where) if is_reference(reference) else text


def present(setting: str) -> bool:
    """Whether there is something where a setting points to: a file, `$NAME` for a variable of either type, or a
    reference, of which nobody is asked."""
    if is_reference(setting):
        return True
    return bool(os.environ.get(setting[1:], "").strip()) if setting.startswith("$") else _is_file(setting)


def plain(text: str, variable: str, *, purpose: str) -> str:
    """What a variable holds, or the secret that a reference in it stands for, without white space around it.

    Raises:
        CredentialsError, ToolError, TransientError: see `onepassword.read`.
    """
    return _plain(text, f"variable {variable}", purpose).strip()


def _content(setting: str, purpose: str) -> str:
    """What a setting for a file leads to."""
    where = _place(setting)
    reference = _reference(setting)
    text = reference if reference is not None else _read(resolve(setting, purpose=purpose), setting, purpose)
    return _plain(text, where, purpose)


def _beginning(file: Path) -> str:
    """What a file begins with; nothing where it cannot be read."""
    try:
        with file.open("rb") as opened_file:
            return opened_file.read(2 * MAX_CHARACTERS).decode("utf-8", "replace").strip()
    except OSError:
        return ""  # whoever needs it says so


def _variable(name: str, purpose: str) -> str:
    """What a variable holds, or what the reference stands for that it holds.

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
    return _plain(text, f"variable {name}", purpose)


def read_key(file: str | None, variable: str | None, *, purpose: str) -> SecretStr | None:
    """A key of several lines, from the variable that holds it, else from a file (`/path`).

    `$NAME` in place of the file is a variable of either type: it holds the name of a file, or the key itself.

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
    if file.startswith("$") and _KEY in os.environ.get(file[1:], ""):
        return _mended(os.environ[file[1:]], _place(file), purpose)
    return _mended(_content(file, purpose), _place(file), purpose)


def read_known_hosts(setting: str | None) -> str | None:
    """The lines of a known_hosts file (`/path`), or of `$NAME`: a file variable, or one that holds the lines.

    Raises:
        CredentialsError: they are missing, cannot be read, or empty.
    """
    if setting is None:
        return None
    purpose = "known_hosts file"
    text = os.environ.get(setting[1:], "") if setting.startswith("$") else ""
    # No line of known_hosts begins as a file name or a reference does, and all have spaces.
    if not is_reference(text.strip()) and not text.startswith(("/", ".")) and " " in text:
        return _mended(text, _place(setting), purpose).get_secret_value()
    return _mended(_content(setting, purpose), _place(setting), purpose).get_secret_value()


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
