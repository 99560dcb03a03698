"""A stand-in for 1Password's command `op`, by its documented protocol, that behaves badly on demand.

`op read --no-newline op://VAULT/ITEM/[SECTION/]FIELD`: the secret on stdout, without a line break behind it; every
failure is exit code 1 and one line on stderr, `[ERROR] DATE TIME could not read secret 'op://…': …`. Signed in is who
has `OP_SERVICE_ACCOUNT_TOKEN`, or `OP_CONNECT_HOST` and `OP_CONNECT_TOKEN`.

The folder in `FAKE_OP` holds `vault.json` (reference → secret), `mode` (how it behaves) and `calls`, to which each call
adds its arguments and what it was given as a JSON line.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAMP = "[ERROR] 2026/10/07 12:00:00 "

MESSAGES = {
    "hourly limit": "(429) Too Many Requests: You've reached the maximum number of this type of requests this service "
    "account is allowed to make. Please retry in 59 minutes or try other requests.",
    "daily limit": "Too many requests. Your client has been rate-limited. Try again in seconds",
    "no network": "error initializing client: RequestAuth: dial tcp: lookup my.1password.com: no such host",
    "server away": "(503) Service Unavailable: the service is down",
    "deadline": "error initializing client: read: context deadline exceeded",
    "signed out": "error initializing client: You are not currently signed in. Please run `op signin --help` for "
    "instructions",
    "no accounts": "No accounts configured for use with 1Password CLI.",
    "bad token": "error initializing client: Validation: (failed to session.DecodeSACredentials), Server: (failed to "
    "DecodeSACredentials), illegal base64 data at input byte 12",
    "forbidden": "(403) Forbidden: You aren't authorized to access this resource.",
    "new words": "something new in op 3\x1b[2J",
}

TRASH = {"huge": b"x" * (1 << 20), "not utf-8": b"caf\xe9 \xff\xfe", "prints nothing": b"", "old server error": b""}
"""What it prints with exit code 0, as versions before 2.32.1 do for errors that they do not know."""


@dataclass
class FakeOp:
    """The handle of a test: what is in the vault, how `op` behaves, how often it was asked."""

    folder: Path

    def put(self, **secrets: str) -> None:
        """Add secrets, by references without `op://` and with `__` for slashes."""
        known = self.secrets
        known |= {f"op://{name.replace('__', '/')}": secret for name, secret in secrets.items()}
        self.write(known)

    def write(self, secrets: dict[str, str]) -> None:
        (self.folder / "vault.json").write_text(json.dumps(secrets))

    @property
    def secrets(self) -> dict[str, str]:
        file = self.folder / "vault.json"
        found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def behave(self, mode: str) -> None:
        """How it does from now on: a key of `MESSAGES`, or a word of `main`."""
        (self.folder / "mode").write_text(mode)

    @property
    def calls(self) -> list[dict[str, Any]]:
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def install(folder: Path) -> FakeOp:
    """Put `op` into `folder`/bin, which belongs on PATH; `FAKE_OP` must name `folder`."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "op"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} "$@"\n')
    program.chmod(0o755)
    return FakeOp(folder)


def main() -> int:
    """Do as `op` does."""
    fake = FakeOp(Path(os.environ["FAKE_OP"]))
    mode_file = fake.folder / "mode"
    mode = mode_file.read_text() if mode_file.exists() else ""
    settings = {name: value for name, value in os.environ.items() if name.startswith("OP_")}
    with (fake.folder / "calls").open("a") as calls:
        calls.write(json.dumps({"argv": sys.argv[1:], "settings": settings}) + "\n")
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write("2.32.1\n")
        return 0
    if len(sys.argv) != 4 or sys.argv[1:3] != ["read", "--no-newline"]:
        sys.stderr.write(f"{STAMP}unknown command {sys.argv[1:]}\n")
        return 1
    return _read(sys.argv[3], mode, fake.secrets)


def _read(reference: str, mode: str, secrets: dict[str, str]) -> int:
    if mode == "hang":
        time.sleep(600)
    if mode == "killed":
        os.kill(os.getpid(), 9)
    if mode in TRASH:
        sys.stdout.buffer.write(TRASH[mode])
        if mode == "old server error":
            sys.stderr.write(f"{STAMP}(520) unknown answer of the server\n")
        return 0
    if mode in MESSAGES or mode == "echoes its token":
        said = MESSAGES.get(mode) or f"invalid token {os.environ.get('OP_SERVICE_ACCOUNT_TOKEN')}"
        sys.stdout.write("leaked-by-a-failure")
        sys.stderr.write(f"{STAMP}could not read secret '{reference}': {said}\n")
        return 1
    account = os.environ.get("OP_SERVICE_ACCOUNT_TOKEN")
    if not account and not (os.environ.get("OP_CONNECT_HOST") and os.environ.get("OP_CONNECT_TOKEN")):
        return _fail(reference, f"error initializing client: {MESSAGES['signed out']}")
    if reference not in secrets:
        vault, item, *_, field = reference.removeprefix("op://").split("/")
        if any(known.startswith(f"op://{vault}/{item}/") for known in secrets):
            return _fail(reference, f"item '{vault}/{item}' does not have a field '{field}'")
        return _fail(reference, f'could not get item {vault}/{item}: "{item}" isn\'t an item in the "{vault}" vault.')
    sys.stdout.write(secrets[reference] + ("\n" if mode == "newline" else ""))
    return _fail(reference, f"cannot write {secrets[reference]} to the clipboard") if mode == "echoes the secret" else 0


def _fail(reference: str, said: str) -> int:
    sys.stderr.write(f"{STAMP}could not read secret '{reference}': {said}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
