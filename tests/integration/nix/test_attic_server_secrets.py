"""The script that composes the cache server's environment file, and the one that takes over changes."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.attic_server.real import find_atticd, real_problem
from tests.integration.nix.modules import NIX

pytestmark = pytest.mark.processes

COMPOSE = NIX / "attic-server" / "compose-environment.sh"
REFRESH = NIX / "attic-server" / "refresh-environment.sh"
KEY_ID, KEY = "005a1b2c3d4e5f60000000001", "K005abc/def+ghi=="
RS256 = "ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64"


def openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def pem() -> bytes:
    return openssl("genrsa", "-traditional", "2048")


class Parts:
    """Files as a provider of secrets writes them, and the environment that names them."""

    def __init__(self, folder: Path, pem: bytes) -> None:
        self.folder = folder
        self.output = folder / "run" / "environment"
        self.output.parent.mkdir()
        self.token, self.key_id, self.key = folder / "token", folder / "key-id", folder / "key"
        self.token.write_bytes(pem)
        self.key_id.write_text(f"{KEY_ID}\n")
        self.key.write_text(KEY)
        self.environment = {
            "PATH": os.environ["PATH"],
            "OUTPUT": str(self.output),
            "NEEDS_S3": "1",
            "TOKEN_SECRET_FILE": str(self.token),
            "S3_ACCESS_KEY_ID_FILE": str(self.key_id),
            "S3_SECRET_ACCESS_KEY_FILE": str(self.key),
        }

    def complete(self, text: str) -> None:
        """Name a complete file, and no parts."""
        file = self.folder / "complete.env"
        file.write_text(text)
        parts = [name for name in self.environment if name.endswith("_FILE")]
        for name in parts:
            del self.environment[name]
        self.environment["ENVIRONMENT_FILE"] = str(file)

    def compose(self) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(COMPOSE)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def refused(self) -> str:
        """What it says; it leaves nothing behind."""
        done = self.compose()
        assert done.returncode == 1, done.stdout
        assert done.stdout == ""
        assert list(self.output.parent.iterdir()) == []
        (line,) = done.stderr.splitlines()
        assert line.startswith("attic-environment: ")
        return line.removeprefix("attic-environment: ")

    def values(self) -> dict[str, str]:
        """What systemd would make of the file."""
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())


@pytest.fixture
def parts(tmp_path: Path, pem: bytes) -> Parts:
    return Parts(tmp_path, pem)


def test_the_parts_become_one_file_that_only_its_owner_reads(parts: Parts, pem: bytes) -> None:
    done = parts.compose()

    assert (done.returncode, done.stdout, done.stderr) == (0, "written\n", "")
    assert parts.values() == {
        RS256: base64.b64encode(pem).decode(),
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": KEY,
    }
    assert stat.S_IMODE(parts.output.stat().st_mode) == 0o400
    assert [one.name for one in parts.output.parent.iterdir()] == ["environment"]


def test_without_a_bucket_its_credentials_are_neither_wanted_nor_written(parts: Parts) -> None:
    parts.environment["NEEDS_S3"] = "0"
    parts.key.unlink()

    assert parts.compose().returncode == 0
    assert list(parts.values()) == [RS256]


def test_a_second_run_leaves_the_file_alone_and_a_changed_part_replaces_it_whole(parts: Parts) -> None:
    parts.compose()
    first = parts.output.stat().st_ino

    assert parts.compose().stdout == "unchanged\n"
    assert parts.output.stat().st_ino == first
    parts.key.write_text("another")
    assert parts.compose().stdout == "written\n"
    assert parts.output.stat().st_ino != first
    assert parts.values()["AWS_SECRET_ACCESS_KEY"] == "another"


def test_the_file_stays_as_it_was_when_a_part_becomes_bad(parts: Parts) -> None:
    parts.compose()
    before = parts.output.read_bytes()
    parts.key.write_text("")

    assert parts.compose().returncode == 1
    assert parts.output.read_bytes() == before
    assert [one.name for one in parts.output.parent.iterdir()] == ["environment"]


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        pytest.param("key", None, "{file}, which should hold {what}, does not exist", id="missing"),
        pytest.param("key", "", "{file}, which should hold {what}, is empty", id="empty"),
        pytest.param("key", " \n\n", "{file}, which should hold {what}, is empty", id="blanks-alone"),
        pytest.param("key", "one\nhunter2", "{file}, which should hold {what}, has more than one line", id="two-lines"),
        pytest.param("key", "\nhunter2", "{file}, which should hold {what}, has more than one line", id="line-before"),
        pytest.param(
            "key",
            "hunter2\r\n",
            "{file}, which should hold {what}, has blanks or characters that cannot be printed",
            id="windows",
        ),
        pytest.param(
            "key",
            "hunter2 x",
            "{file}, which should hold {what}, has blanks or characters that cannot be printed",
            id="blank",
        ),
        pytest.param("key", '"hunter2"', "{file}, which should hold {what}, has quotes or backslashes", id="quoted"),
        pytest.param("token", None, "{file}, which should hold the token secret, does not exist", id="no-token-secret"),
        pytest.param(
            "token",
            "hunter2",
            "the token secret in {file} is neither a key in PEM nor the base64 of one",
            id="a-password-for-a-key",
        ),
        pytest.param(
            "token",
            "aHVudGVyMg==\naHVudGVyMg==",
            "the token secret in {file} is base64 of several lines: make it with base64 -w0",
            id="base64-of-several-lines",
        ),
        pytest.param(
            "token",
            "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\n",
            "the token secret in {file} is no RSA key: make one with openssl genrsa -traditional 4096",
            id="damaged-key",
        ),
    ],
)
def test_a_bad_part_is_refused_with_a_sentence_that_names_the_file_and_not_what_it_holds(
    parts: Parts, part: str, content: str | None, said: str
) -> None:
    file: Path = getattr(parts, part)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content.encode())

    sentence = parts.refused()
    assert sentence == said.format(file=file, what="the secret access key of the bucket")
    assert "hunter2" not in sentence


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(["genrsa", "-traditional", "1024"], "has 1024 bits: at least 2048 are needed", id="short"),
        pytest.param(
            ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "is no RSA key: make one with openssl genrsa -traditional 4096",
            id="elliptic",
        ),
        pytest.param(
            ["genrsa", "-traditional", "-aes128", "-passout", "pass:hunter2", "2048"],
            "is protected by a passphrase, which nobody can enter",
            id="passphrase",
        ),
    ],
)
def test_a_key_that_attic_could_not_use_well_is_refused(parts: Parts, make: list[str], said: str) -> None:
    parts.token.write_bytes(openssl(*make))

    assert parts.refused() == f"the token secret in {parts.token} {said}"


def test_a_public_key_is_refused_since_it_makes_no_tokens(parts: Parts, pem: bytes) -> None:
    command = ["openssl", "rsa", "-pubout"]
    parts.token.write_bytes(subprocess.run(command, input=pem, capture_output=True, check=True).stdout)

    assert parts.refused() == f"the token secret in {parts.token} is a public key: with it, no tokens can be made"


def test_where_a_file_is_missing_it_says_who_should_have_written_it(parts: Parts) -> None:
    parts.environment["SOURCE_HINT"] = "OpNix writes it"
    parts.key_id.unlink()

    assert parts.refused() == (
        f"{parts.key_id}, which should hold the access key of the bucket, does not exist; OpNix writes it"
    )


def test_a_part_that_nobody_configured_is_named(parts: Parts) -> None:
    del parts.environment["S3_ACCESS_KEY_ID_FILE"]

    assert parts.refused() == "no file with the access key of the bucket is configured"


def test_secrets_are_no_argument_of_any_program(parts: Parts, tmp_path: Path, pem: bytes) -> None:
    if not shutil.which("strace"):
        pytest.skip("Debian's package strace is not installed")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-s", "100000", "-e", "trace=execve", "-o", str(trace), "bash", str(COMPOSE)]

    subprocess.run(command, env=parts.environment, check=True, capture_output=True)

    text = trace.read_text()
    assert "openssl" in text
    assert KEY not in text
    assert base64.b64encode(pem).decode()[:60] not in text


@pytest.mark.parametrize("form", ["PKCS#1", "PKCS#8", "base64"])
def test_attic_makes_tokens_with_the_key_in_each_form(parts: Parts, pem: bytes, form: str) -> None:
    program = find_atticd()
    if program is None:
        pytest.skip(str(real_problem()))
    if form == "PKCS#8":
        command = ["openssl", "pkcs8", "-topk8", "-nocrypt"]
        parts.token.write_bytes(subprocess.run(command, input=pem, capture_output=True, check=True).stdout)
    if form == "base64":
        parts.token.write_bytes(base64.b64encode(pem) + b"\n")
    parts.compose()
    config = parts.folder / "server.toml"
    config.write_text(
        '[database]\nurl = "sqlite://:memory:"\n[storage]\ntype = "local"\npath = "/nowhere"\n'
        "[chunking]\nnar-size-threshold = 65536\nmin-size = 16384\navg-size = 65536\nmax-size = 262144\n"
    )

    admin = [str(program.with_name("atticadm")), "-f", str(config), "make-token", "--sub", "test", "--validity", "1h"]
    done = subprocess.run(admin, env=parts.values(), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(".") == 2


def complete(pem: bytes, *more: str) -> str:
    lines = [
        f"{RS256}={base64.b64encode(pem).decode()}",
        f"AWS_ACCESS_KEY_ID={KEY_ID}",
        f'AWS_SECRET_ACCESS_KEY="{KEY}"',
    ]
    return "\n".join(["# made by hand", "", *lines, *more, ""])


def test_a_complete_file_is_taken_over_as_it_is(parts: Parts, pem: bytes) -> None:
    parts.complete(complete(pem, "PGPASSWORD='one two'"))

    done = parts.compose()

    assert (done.returncode, done.stdout, done.stderr) == (0, "written\n", "")
    assert parts.output.read_text() == complete(pem, "PGPASSWORD='one two'")
    assert stat.S_IMODE(parts.output.stat().st_mode) == 0o400


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param((f"{RS256}=", f"#{RS256}="), f"{{file}} does not set {RS256}", id="no-secret"),
        pytest.param(
            (RS256, RS256.removesuffix("_BASE64")),
            "{file} sets ATTIC_SERVER_TOKEN_RS256_SECRET, which Attic does not know: its name ends in _BASE64",
            id="the-name-in-nixpkgs-message",
        ),
        pytest.param((f"={KEY_ID}", "="), "{file} does not set AWS_ACCESS_KEY_ID", id="empty-value"),
        pytest.param((f'"{KEY}"', '""'), "{file} does not set AWS_SECRET_ACCESS_KEY", id="empty-in-quotes"),
        pytest.param(
            ("AWS_ACCESS_KEY_ID=", "export AWS_ACCESS_KEY_ID="),
            "line 4 of {file} is not KEY=value; base64 must be on one line, as base64 -w0 makes it",
            id="a-line-for-a-shell",
        ),
        pytest.param(
            (f"={KEY_ID}", "=one\nhunter2"),
            "line 5 of {file} is not KEY=value; base64 must be on one line, as base64 -w0 makes it",
            id="a-value-of-two-lines",
        ),
        pytest.param((f"={KEY_ID}", "=hunter2\r"), "line 4 of {file} ends as lines do on Windows", id="windows"),
        pytest.param(
            (f"{RS256}=", f"{RS256}=hunter2"),
            "the token secret in {file} is neither a key in PEM nor the base64 of one",
            id="damaged-secret",
        ),
    ],
)
def test_a_complete_file_with_a_mistake_is_refused_with_a_sentence(
    parts: Parts, pem: bytes, change: tuple[str, str], said: str
) -> None:
    parts.complete(complete(pem).replace(*change))

    sentence = parts.refused()
    assert sentence == said.format(file=parts.environment["ENVIRONMENT_FILE"])
    assert "hunter2" not in sentence


@pytest.mark.parametrize(
    ("composed", "active", "asked"),
    [
        pytest.param("unchanged", True, [], id="nothing-changed"),
        pytest.param("written unchanged", True, ["--no-block try-restart atticd.service"], id="changed"),
        pytest.param(
            "written written unchanged",
            True,
            ["--no-block try-restart atticd.service"] * 2,
            id="one-changed-while-another-was-taken-over",
        ),
        pytest.param(
            "written unchanged", False, ["--no-block start atticd.service"] * 2, id="they-were-missing-before"
        ),
        pytest.param("unchanged", False, ["--no-block start atticd.service"], id="the-server-had-given-up"),
        pytest.param("", True, [], id="they-are-bad-now"),
    ],
)
def test_changed_secrets_reach_the_server_and_bad_ones_leave_it_running(
    tmp_path: Path, composed: str, active: bool, asked: list[str]
) -> None:
    said, answers = tmp_path / "asked", "true" if active else "false"
    # One answer after the other; none is left where the secrets are bad.
    (tmp_path / "composed").write_text("".join(f"{word}\n" for word in composed.split()))
    for name, body in {
        "attic-environment": f"sed -n 1p {tmp_path}/composed | grep . && sed -i 1d {tmp_path}/composed",
        "systemctl": f'case $* in *is-active*) {answers} ;; *) echo "$*" >>{said} ;; esac',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SETTLE": "0"}

    done = subprocess.run(["bash", str(REFRESH)], env=environment, check=False)

    assert done.returncode == (0 if composed else 1)
    assert (said.read_text().splitlines() if said.exists() else []) == asked


@pytest.mark.parametrize("script", ["compose-environment.sh", "refresh-environment.sh", "provision.sh"])
def test_a_script_is_clean_for_shellcheck_as_nixpkgs_wraps_it(script: str) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("Debian's package shellcheck is not installed")
    wrapped = "#!/bin/bash\nset -o errexit\nset -o nounset\nset -o pipefail\n\n" + (COMPOSE.parent / script).read_text()

    done = subprocess.run(["shellcheck", "-"], input=wrapped, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
