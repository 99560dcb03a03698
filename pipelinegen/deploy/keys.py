"""The SSH key and the host keys of a deployment, in private files for as long as it lasts."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import process, secret_files
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import clean
from pipelinegen.errors import CredentialsError
from pipelinegen.private_files import private_folder, write_private

PURPOSE = "SSH key"

_PUBLIC = re.compile(r"(ssh-|ecdsa-|sk-ssh-|sk-ecdsa-)[a-z0-9@.-]+ AAAA")
_ENCRYPTED = re.compile(r"passphrase|decrypt", re.IGNORECASE)


@dataclass(frozen=True)
class KeyFiles:
    """Private copies, mode 0600.

    Attributes:
        key, known_hosts: null where ssh's own configuration counts.
    """

    key: Path | None
    known_hosts: Path | None


@contextlib.contextmanager
def key_files(host: HostConfig) -> Iterator[KeyFiles]:
    """The host's key and known_hosts, from files or variables; gone at the end.

    GitLab writes file variables readable for everybody and often without a last newline; ssh refuses both.

    Raises:
        CredentialsError: one is missing, or the key is none that works without a question.
        ToolError: there is no place for private files.
    """
    key = secret_files.read_key(None if host.ssh_key_env else host.ssh_key_file, host.ssh_key_env, purpose=PURPOSE)
    known_hosts = secret_files.read_known_hosts(host.known_hosts_file)
    where = f"variable {host.ssh_key_env}" if host.ssh_key_env else _shown(host.ssh_key_file)
    if key is not None:
        _refuse_public(key.get_secret_value(), where)
    with private_folder() as folder:
        file = None if key is None else write_private(folder / "key", key.get_secret_value())
        if file is not None:
            _refuse_unusable(file, where)
        hosts = None if known_hosts is None else write_private(folder / "known_hosts", known_hosts)
        yield KeyFiles(file, hosts)


def _shown(setting: str | None) -> str:
    setting = setting or ""
    return f"variable {setting[1:]}" if setting.startswith("$") else setting


def _refuse_public(text: str, where: str) -> None:
    if _PUBLIC.match(text):
        raise CredentialsError(
            "the SSH key is only the public half",
            where=where,
            why="it is what hosts have in authorized_keys; logging in needs the private half",
            hint="store the file without .pub, which begins with -----BEGIN",
        )
    if not text.startswith("-----BEGIN "):
        raise CredentialsError(
            "the SSH key is none that ssh reads",
            where=where,
            why="a private key begins with -----BEGIN",
            hint="store the whole file as ssh-keygen wrote it, with its first and its last line",
        )


def _refuse_unusable(file: Path, where: str) -> None:
    """Ask ssh-keygen what ssh itself would not say: in batch mode a key with a passphrase is `Permission denied`."""
    if shutil.which("ssh-keygen") is None:
        return
    done = process.run(["ssh-keygen", "-y", "-P", "", "-f", file], allowed="any", timeout=30)
    if done.returncode == 0:
        return
    said = "\n".join(clean(line, colour=False) for line in done.stderr_tail).replace(str(file), "the key")
    if _ENCRYPTED.search(said):
        raise CredentialsError(
            "the SSH key is protected by a passphrase",
            where=where,
            why="nobody is there to type it in",
            hint="make a key for deployments alone: ssh-keygen -t ed25519 -N '' -f deploy",
        )
    raise CredentialsError(
        "the SSH key is none that ssh reads",
        where=where,
        why=said or None,
        hint=_mending(file.read_text("utf-8", "replace")),
    )


def _mending(text: str) -> str:
    """What probably became of a key that 1Password or a form gave."""
    if text.startswith("-----BEGIN PRIVATE KEY-----"):
        return "a key that is an SSH key item of 1Password is read by a reference that ends in ?ssh-format=openssh"
    if text.count("\n") == 1:
        return (
            "its line breaks are gone: passwords in 1Password have none, so make it an SSH key item, or put it in notes"
        )
    return "store the whole file as ssh-keygen wrote it, with its first and its last line"
