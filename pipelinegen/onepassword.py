"""Secrets in 1Password, read in the job by 1Password's own command `op` (`op read --no-newline REFERENCE`).

What `op` 2 does, by https://developer.1password.com/docs/cli/reference/commands/read/ and its messages in the wild:
the secret comes on stdout; exit code 1 stands for every failure, told apart only by a line on stderr,
`[ERROR] DATE TIME could not read secret 'op://…': …`. What one may not see is said not to be there. Versions before
2.32.1 exit with 0 on some errors of the server, and print nothing. It asks questions where nobody is signed in.

A service account may ask 1,000 to 10,000 times an hour, all of an organisation together 1,000 to 50,000 times a day
(https://developer.1password.com/docs/service-accounts/rate-limits/), refused questions included. So each reference is
asked for once in a process, whatever came of it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelinegen import process
from pipelinegen.characters import inert
from pipelinegen.errors import CredentialsError, PipelinegenError, ToolError, TransientError
from pipelinegen.secret_references import SIGN_IN_VARIABLES, complaint

TIMEOUT = 60.0
"""Seconds. `op` takes one or two; where nobody can answer its questions it might wait for ever."""

MAX_BYTES = 64 * 1024
"""Far above any token or key."""

MASKED_FROM = 4
"""Characters: what is shorter stands in every sentence."""

_SETTINGS = {"OP_CACHE": "false", "OP_DEBUG": "false", "OP_FORMAT": "human-readable"}
"""No process of `op` stays behind with what was read, and its output is the secret alone."""

_NOT_THERE = re.compile(r"isn't (?:a|an) (?:vault|item)|does not have a field|could not find|more than one item")
_PASSING = re.compile(
    r"\(429\)|too many requests|rate.?limit|\(5\d\d\)|deadline exceeded|timed out|i/o timeout|dial tcp|no such host"
    r"|connection (?:refused|reset)|network is unreachable|temporary failure|tls handshake|unexpected eof"
)
_SIGNED_OUT = re.compile(
    r"not (?:currently )?signed in|no accounts? (?:configured|found)|session|decodesacredentials|unauthorized|\(401\)"
    r"|authorization timeout|desktop app"
)
_STAMP = re.compile(r"^[\[(]ERROR[\])] (?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?")


@dataclass(frozen=True)
class _Answer:
    """How `op` ended.

    Attributes:
        code: its exit code; null where it did not end in time.
        data: what it printed; null where that was too much.
        said: its words on stderr, for people.
    """

    code: int | None
    data: bytes | None = field(repr=False)
    said: str = ""


_KNOWN: dict[str, _Answer] = {}
_LOCK = threading.Lock()


def read(reference: str, *, purpose: str, where: str) -> str:
    """The secret that a reference names, as `op` prints it.

    Args:
        reference: `op://…`.
        purpose: what it is for, such as `token of cache main`.
        where: the setting or variable that holds the reference.

    Raises:
        CredentialsError: the reference is none, nobody is signed in, `op` was refused or found nothing, or what it
            found is empty, no text, or too large.
        ToolError: there is no `op`, or it broke.
        TransientError: it did not end in time, there is no way to 1Password, or too much was asked there.
    """
    wrong = complaint(reference)
    if wrong is not None:
        raise CredentialsError(
            f"the {purpose} is not to be found by its reference",
            where=where,
            why=wrong,
            hint="copy the reference in 1Password: beside the field, Copy Secret Reference",
        )
    with _LOCK:
        if reference not in _KNOWN:
            _KNOWN[reference] = _ask(reference, purpose)
        return _secret(_KNOWN[reference], reference, purpose)


def signed_in(environment: Mapping[str, str]) -> bool:
    """Whether `op` has what it needs without asking anybody: a service account, a Connect server, or a session."""
    account, connect = SIGN_IN_VARIABLES
    return bool(
        environment.get(account)
        or (environment.get(connect) and environment.get("OP_CONNECT_HOST"))
        or any(name.startswith("OP_SESSION") for name in environment)
    )


def _ask(reference: str, purpose: str) -> _Answer:
    environment = process.environment()
    # On a developer's machine the desktop app may know who it is.
    if environment.get("CI") and not signed_in(environment):
        raise _missing_account(reference, purpose, None)
    process.find_tool("op", hint="install 1Password's command (package 1password-cli), or use an image that has it")
    found = bytearray()

    def take(chunk: bytes) -> None:
        found.extend(chunk)
        if len(found) > MAX_BYTES:
            raise process.EndNowError

    try:
        done = process.run(
            ["op", "read", "--no-newline", reference],
            env=environment | _SETTINGS,
            allowed="any",
            timeout=TIMEOUT,
            secrets=[environment.get(name, "") for name in SIGN_IN_VARIABLES],
            on_stdout=take,
        )
    except process.EndNowError:
        return _Answer(0, None)
    except TransientError:
        return _Answer(None, b"")
    return _Answer(done.returncode, bytes(found), _said(done.stderr_tail, bytes(found).decode("utf-8", "replace")))


def _secret(answer: _Answer, reference: str, purpose: str) -> str:
    if answer.code is None:
        why = f"op did not end within {TIMEOUT:g} s"
        raise TransientError(f"1Password did not give the {purpose} in time", where=reference, why=why)
    if answer.code != 0:
        raise _refusal(answer.code, answer.said, reference, purpose)
    if answer.data is None:
        why = f"what is there is larger than {MAX_BYTES // 1024} KiB, so it is something else"
        raise CredentialsError(f"the {purpose} is not in 1Password at this place", where=reference, why=why)
    try:
        text = answer.data.decode("utf-8")
    except UnicodeDecodeError:
        why = "it is not UTF-8"
        raise CredentialsError(f"the {purpose} in 1Password is no text", where=reference, why=why) from None
    if not text.strip() and answer.said:
        raise _refusal(answer.code, answer.said, reference, purpose)  # as versions before 2.32.1 fail
    if not text.strip():
        why = "the field is there and holds nothing but white space"
        raise CredentialsError(f"the {purpose} in 1Password is empty", where=reference, why=why)
    return text


def _said(lines: Sequence[str], printed: str) -> str:
    """What `op` said, for people: it may name the reference, never the secret."""
    text = "\n".join(_STAMP.sub("", line.strip()) for line in lines if line.strip())
    for secret in {part.strip() for part in (printed, *printed.splitlines())}:
        text = text.replace(secret, "[masked]") if len(secret) >= MASKED_FROM else text
    return inert(" ".join(text.splitlines()))[:400]


def _refusal(code: int, said: str, reference: str, purpose: str) -> PipelinegenError:
    # A vault may be called "session timed out".
    words = said.lower()
    for name in (reference, *reference.removeprefix("op://").partition("?")[0].split("/")):
        words = words.replace(name.lower(), "…") if len(name) > 2 else words
    if code < 0 or code in (126, 127):
        return ToolError("1Password's command op broke", where=reference, why=said or f"it ended with {code}")
    if not _NOT_THERE.search(words):
        if _PASSING.search(words):
            limited = re.search(r"429|too many|limit", words)
            return TransientError(
                f"1Password does not give the {purpose} now",
                where=reference,
                why=said,
                hint="`op service-account ratelimit` tells how much is left; fewer jobs, or fewer references in each"
                if limited
                else None,
            )
        if _SIGNED_OUT.search(words):
            return _missing_account(reference, purpose, said)
    return CredentialsError(
        f"1Password does not give the {purpose}",
        where=reference,
        why=said or f"op ended with exit code {code} and said nothing",
        hint="the service account must have the right to read items of that vault; `op vault list` tells which it has",
    )


def _missing_account(reference: str, purpose: str, said: str | None) -> CredentialsError:
    return CredentialsError(
        f"nobody is signed in to 1Password to read the {purpose}",
        where=reference,
        why=said
        or f"neither {SIGN_IN_VARIABLES[0]} nor OP_CONNECT_HOST and {SIGN_IN_VARIABLES[1]} are set in this job",
        hint=f"put a service account's token into the CI/CD variable {SIGN_IN_VARIABLES[0]}: masked, protected, and "
        "limited to the environments of the jobs that need it",
    )
