"""Passwords by host, as curl (and so Nix) reads them from a netrc file. Pure.

curl looks a password up by host name alone, without the port, and takes the first entry that fits
(https://everything.curl.dev/usingcurl/netrc.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import SecretStr

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"?|([^\x00-\x20]+)')
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class Entry:
    """One password.

    Attributes:
        machine: host name; null is the entry for all other hosts.
        login: user name; empty where none is given.
        password: never shown.
    """

    machine: str | None
    login: str
    password: SecretStr


def parse(text: str) -> list[Entry]:
    """The entries of a netrc file, in its order. What is no entry is passed over, as curl does."""
    found: list[dict[str, str | None]] = []
    keyword: str | None = None
    in_macro = False
    for line in text.split("\n"):
        if in_macro:
            in_macro = bool(line.strip())
            continue
        for word in _words(line):
            if keyword == "machine":
                found.append({"machine": word})
            elif keyword is not None:
                if found:
                    found[-1].setdefault(keyword, word)
            elif word.lower() in {"machine", "login", "password", "account"}:
                keyword = word.lower()
                continue
            elif word.lower() == "default":
                found.append({"machine": None})
            elif word.lower() == "macdef":
                in_macro = True
                break
            keyword = None
    return [Entry(one["machine"], one.get("login") or "", SecretStr(one.get("password") or "")) for one in found]


def _words(line: str) -> Iterator[str]:
    for match in _WORD.finditer(line):
        quoted, plain = match.groups()
        if plain is None:
            yield re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), quoted)
        elif plain.startswith("#"):
            return
        else:
            yield plain


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """The first entry of each host and user; those for all other hosts come last, or they would hide what follows."""
    first: dict[tuple[str | None, str], Entry] = {}
    for entry in entries:
        first.setdefault((entry.machine and entry.machine.lower(), entry.login), entry)
    return sorted(first.values(), key=lambda entry: entry.machine is None)


def text(entries: Iterable[Entry]) -> str:
    """A netrc file of these entries, as they come."""
    lines = []
    for entry in entries:
        words = ["default"] if entry.machine is None else ["machine", _quoted(entry.machine)]
        if entry.login:
            words += ["login", _quoted(entry.login)]
        lines.append(" ".join([*words, "password", _quoted(entry.password.get_secret_value())]) + "\n")
    return "".join(lines)


def _quoted(word: str) -> str:
    if word and not re.search(r'[\x00-\x20]|^["#]', word):
        return word
    names = {character: escape for escape, character in _ESCAPES.items()}
    return '"' + re.sub(r'[\n\r\t"\\]', lambda match: "\\" + names.get(match[0], match[0]), word) + '"'


def has_password(entries: Iterable[Entry], host: str) -> bool:
    """Whether curl finds a password for a host in them."""
    return any(entry.machine is None or entry.machine.lower() == host.lower() for entry in entries)
