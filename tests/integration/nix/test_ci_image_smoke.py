"""smoke-test.sh, run for real in a root with the image's files: it passes there, and fails where a thing is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ONE_NIX
from tests.integration.nix import image_root
from tests.integration.nix.test_ci_image import ROOT, read_files

TOOLS = ("nix", "git", "ssh", "jq", "zstd", "xz", "curl", "unshare", "awk")
MISSING = [name for name in TOOLS if shutil.which(name) is None]
pytestmark = [pytest.mark.nix, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]

BIN = "/usr/local/bin"
STUB = rf"""
  printf '#!/bin/sh\n' > /attic
  chmod +x /attic
  path=$(nix-store --add /attic)
  ln -sf "$path" {BIN}/attic
"""
"""The stub of attic, moved to the store: $path."""

SANDBOX_SHELL = "sandbox-paths = /bin/sh=/usr/bin/dash /lib=/usr/lib /lib64=/usr/lib64"
"""Nixpkgs' Nix has a shell for its sandbox, Debian's has none."""

THERE = "every tool is there"
ANSWERS = "every tool answers"
SHELLS = "sh, bash and env are where scripts look for them"
USER = "the user has a name and a home"
CERTIFICATES = "certificates are there"
FOLDERS = "/tmp and /var/tmp are for everybody"  # noqa: S108 (a name)
EVALUATES = "Nix evaluates"
BUILDS = "Nix builds without network"
SECRET = "a build cannot read its job's environment"
GIT = "git works in a repository that another user owns"
SSH = "ssh knows its user"
STORE = "the store is as Nix remembers it"
COLLECTED = "garbage collection keeps the tools"
ALL = [THERE, ANSWERS, SHELLS, USER, CERTIFICATES, FOLDERS, EVALUATES, BUILDS, SECRET, GIT, SSH, STORE, COLLECTED]


@pytest.fixture
def files(nix_bin: Path) -> dict[str, str]:
    return read_files(nix_bin, f"import {ROOT}/nix/tests/stand-in/lib.nix")


def smoke(folder: Path, files: dict[str, str], before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the smoke test in a root of its own, after what `before` does to that root."""
    root = folder / "root"
    root.mkdir()
    if not image_root.possible(root):
        pytest.skip("no root of its own can be made here: that wants root, and overlay mounts")
    script = (ROOT / "nix" / "ci-image" / "smoke-test.sh").read_text()
    commands = f"""
      {image_root.prepared(files, BIN)}
      {settings(SANDBOX_SHELL)}
      cat > /smoke-test.sh <<'END OF SCRIPT'
{script}
END OF SCRIPT
      {before}
      exec bash /smoke-test.sh
    """
    bundle = "/etc/ssl/certs/ca-bundle.crt"
    return image_root.enter(
        root,
        commands,
        {
            "PATH": f"{Path(sys.executable).parent}:{BIN}:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            "USER": "root",
            "LANG": "C.UTF-8",
            **dict.fromkeys(("SSL_CERT_FILE", "NIX_SSL_CERT_FILE", "GIT_SSL_CAINFO"), bundle),
        },
    )


def failed(output: str) -> list[str]:
    lines = [line for line in output.splitlines() if line.startswith(("ok ", "FAIL "))]
    assert [line[6:] for line in lines] == ALL, output
    return [line[6:] for line in lines if line.startswith("FAIL ")]


def settings(*lines: str) -> str:
    return "; ".join(f"echo '{line}' >> /etc/nix/nix.conf" for line in lines)


@ONE_NIX
@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="the files as they are"),
        pytest.param(settings("sandbox = false"), id="no sandbox, but builds run as others"),
        pytest.param(f"{STUB} ln -s $path /nix/var/nix/gcroots/attic", id="a tool in the store that a root keeps"),
    ],
)
def test_it_passes_in_a_root_with_the_files_of_the_image(tmp_path: Path, files: dict[str, str], before: str) -> None:
    done = smoke(tmp_path, files, before)
    assert failed(done.stdout) == [], done.stdout
    assert done.returncode == 0, done.stderr


@ONE_NIX
@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(f"rm {BIN}/attic", [THERE, ANSWERS, COLLECTED], id="a tool is gone"),
        pytest.param(f"rm {BIN}/nixos-rebuild", [THERE, COLLECTED], id="a tool without a version is gone"),
        pytest.param(f"echo 'exit 1' >> {BIN}/attic", [ANSWERS], id="a tool does not work"),
        pytest.param("rm /usr/bin/env", [SHELLS], id="no env"),
        pytest.param("sed -i /^root:/d /etc/passwd", [ANSWERS, USER, SSH], id="a user without a name"),
        pytest.param("export HOME=/proc/home", [USER], id="a home that cannot be written to"),
        pytest.param("rm /etc/ssl/certs/ca-bundle.crt", [CERTIFICATES], id="no certificates"),
        pytest.param("unset GIT_SSL_CAINFO", [CERTIFICATES], id="certificates that git is not told of"),
        pytest.param("chmod 0755 /tmp", [FOLDERS], id="tmp for root alone"),
        pytest.param("chmod 0777 /var/tmp", [FOLDERS], id="var-tmp without its sticky bit"),
        pytest.param(settings("experimental-features ="), [EVALUATES], id="no flakes"),
        pytest.param(settings("sandbox = false", "build-users-group ="), [SECRET], id="builds run as root"),
        pytest.param("rm /etc/gitconfig", [GIT], id="git trusts nobody"),
        pytest.param(f"{STUB} ln -s $path /nix/var/nix/gcroots/attic; echo >> $path", [STORE], id="a damaged path"),
        pytest.param(STUB, [COLLECTED], id="a tool in the store that no root keeps"),
    ],
)
def test_it_fails_where_something_is_broken(
    tmp_path: Path, files: dict[str, str], before: str, expected: list[str]
) -> None:
    done = smoke(tmp_path, files, before)
    assert failed(done.stdout) == expected, done.stdout
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {len(expected)} of {len(ALL)} checks failed"
