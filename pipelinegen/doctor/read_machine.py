"""What is on the machine besides Nix: programs, the checkout, certificates, room for private files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import process
from pipelinegen.characters import inert
from pipelinegen.errors import InterruptedRunError, PipelinegenError
from pipelinegen.private_files import private_folder

CERTIFICATE_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
"""Where Debian, NixOS, Fedora and Alpine have them."""

CERTIFICATE_VARIABLES = ("NIX_SSL_CERT_FILE", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Checkout:
    """The git repository of a folder.

    Attributes:
        top: the folder at its top, as far as can be seen.
        trouble: why git does not read it; null where it does, or where there is none.
        shallow: whether its history is cut.
        remote: whether there is a place to fetch what is missing from.
    """

    found: bool
    top: str = ""
    trouble: str | None = None
    owner: bool = True
    shallow: bool = False
    remote: bool = False


@dataclass(frozen=True)
class Certificates:
    """The authorities that this machine trusts.

    Attributes:
        file: where they are; null where no place has any.
        variable: the variable that names the file.
        readable: whether it holds certificates that this user can read.
    """

    file: str | None
    variable: str | None = None
    readable: bool = False


def read_programs(names: tuple[str, ...]) -> dict[str, bool]:
    """Which programs are on PATH."""
    return {name: shutil.which(name) is not None for name in names}


def read_checkout(folder: Path) -> Checkout:
    """Ask git about the repository that a folder is in. Raises nothing but InterruptedRunError."""
    top = str(next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), folder))
    try:
        inside = _git(folder, "rev-parse", "--is-shallow-repository")
        if inside.returncode != 0:
            said = inert(" ".join(line.strip() for line in inside.stderr_tail))[:300]
            if re.search(r"not a git repository", said):
                return Checkout(found=False)
            owner = not re.search(r"dubious ownership|unsafe repository", said)
            return Checkout(found=True, top=top, trouble=said, owner=owner)
        remotes = _git(folder, "remote").text.split()
    except InterruptedRunError:
        raise
    except PipelinegenError as error:
        return Checkout(found=True, top=top, trouble=error.message)
    return Checkout(found=True, top=top, shallow=inside.text.strip() == "true", remote=bool(remotes))


def read_folders(checkout: Checkout) -> int | None:
    """How many folders git keeps in a checkout, its top included; null where git does not say."""
    if not checkout.found or checkout.trouble is not None:
        return None
    try:
        listed = _git(Path(checkout.top), "ls-files", "-z")
    except InterruptedRunError:
        raise
    except PipelinegenError:
        return None
    if listed.returncode != 0:
        return None
    folders = {b""}
    for path in listed.stdout.split(b"\0"):
        folder = path.rpartition(b"/")[0]
        while folder not in folders:
            folders.add(folder)
            folder = folder.rpartition(b"/")[0]
    return len(folders)


def _git(folder: Path, *arguments: str) -> process.Completed:
    environment = process.environment(
        without=lambda name: name in {"GIT_DIR", "GIT_WORK_TREE"}, extra={"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    )
    return process.run(["git", *arguments], cwd=folder, env=environment, allowed="any", timeout=30)


def read_certificates(environment: Mapping[str, str], root: Path = Path("/")) -> Certificates:
    """Where the trusted authorities are; a variable wins over the usual places, and one that is wrong over all."""
    named = {variable: environment[variable] for variable in CERTIFICATE_VARIABLES if environment.get(variable)}
    # Nix takes the first, and what is written in Python the second where it is set.
    found = [Certificates(file, variable, _has_certificates(Path(file))) for variable, file in named.items()]
    if found:
        return min(found, key=lambda one: one.readable)
    for name in CERTIFICATE_FILES:
        file_here = root / name.lstrip("/")
        if file_here.is_file():
            return Certificates(name, None, _has_certificates(file_here))
    return Certificates(None)


def _has_certificates(file: Path) -> bool:
    try:
        return b"BEGIN CERTIFICATE" in file.read_bytes()
    except OSError:
        return False


def read_private_place(near: Path) -> str | None:
    """Why there is no place for private files outside of the repository; null where there is one."""
    try:
        with private_folder(near):
            return None
    except InterruptedRunError:
        raise
    except PipelinegenError as error:
        return f"{error.message}: {error.why}" if error.why else error.message
