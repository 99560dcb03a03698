"""What a host answers to the pre-flight's questions, as values: two connections for all of it.

Whoever answers may lie or be broken: what is not as expected is absent here, and an answer without its last line is
none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import Field

from pipelinegen.console import clean
from pipelinegen.deploy.closure_diff import is_store_path
from pipelinegen.deploy.inhibitors import LINKS, TEXTS, Facts
from pipelinegen.deploy.preflight_scripts import CLOSURES, LOGIN, ROOT
from pipelinegen.deploy.ssh import Target, UnreachableError, envelope
from pipelinegen.deploy.state import HostState, host_state, records
from pipelinegen.values import Value

CACHES = 10
"""Caches that a host is asked to try, all at once."""

_KEY = re.compile(r"[a-z_-]{1,40}")


class Seen(Value):
    """What a host said to `LOGIN` and `ROOT`.

    Attributes:
        root: whether we may do there what root may.
        whole: whether it answered to the end.
        refusal: what sudo said, where it did not let us.
        machine: what `uname -m` says.
        systemd, nixos, flock: whether they are there.
        nix: what `nix-store --version` says; null where there is no Nix.
        groups: those of the user who logs in.
        state: what it runs; null where we may not ask.
        revision: the commit that the running system says it is of.
        locks: who is at it: `ours`, `system`, `nixos-rebuild`.
        holder: the activation that holds, or held, our lock.
        free_store, free_boot: bytes; null where that is not known, or there is no /boot.
        deployed, last: the last confirmed activation, and the last one; null where there was none.
        running, booted, profile: facts of these systems.
        settings: of Nix, as root has them.
    """

    root: bool = False
    whole: bool = False
    refusal: str = ""
    machine: str = ""
    systemd: bool = False
    nixos: bool = False
    flock: bool = False
    nix: str | None = None
    groups: tuple[str, ...] = ()
    state: HostState | None = None
    revision: str = ""
    locks: tuple[str, ...] = ()
    holder: str = ""
    free_store: int | None = None
    free_boot: int | None = None
    deployed: dict[str, str] = Field(default_factory=dict)
    last: dict[str, str] = Field(default_factory=dict)
    running: Facts = Field(default_factory=dict)
    booted: Facts = Field(default_factory=dict)
    profile: Facts = Field(default_factory=dict)
    settings: dict[str, str] = Field(default_factory=dict)


class Closures(Value):
    """What a host said to `CLOSURES`.

    Attributes:
        missing: store paths that it lacks.
        unreachable: caches that it cannot reach.
        running: store path → bytes of the closure of what runs; null where it does not say.
        new: the same of the system that was asked about; facts: its facts.
        switches: whether that has a switch script.
        hostname, platform: whom and what it is made for; empty where it does not say.
    """

    missing: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    running: dict[str, int] | None = None
    new: dict[str, int] | None = None
    facts: Facts = Field(default_factory=dict)
    switches: bool = False
    hostname: str = ""
    platform: str = ""


def ask(target: Target) -> Seen:
    """Ask what a host is and runs; changes nothing there.

    Raises:
        UnreachableError: it does not answer.
        CommandError: it answers, but runs no shell script.
    """
    completed = target.run(LOGIN, envelope(ROOT), timeout=90)
    return seen(completed.text, completed.stderr_tail)


def ask_closures(target: Target, paths: Sequence[str], *, system: str = "", caches: Sequence[str] = ()) -> Closures:
    """Ask what a host has, and how large what it runs is.

    Args:
        paths: store paths that it should have.
        system: a system that it has and we may not have; nothing is asked about it when empty.
        caches: URLs to be tried from there, if anything is missing.

    Raises:
        UnreachableError: it does not answer, or not to the end, or something else than was asked.
        CommandError: it cannot ask its store.
    """
    script = CLOSURES.replace("\nPATHS\n", "\n{}\n".format("\n".join(paths)), 1)
    text = target.run(script, system, *caches[:CACHES], root=True, timeout=300).text
    return closures(target, text, frozenset(paths))


def seen(text: str, stderr: Sequence[str] = ()) -> Seen:
    """The answer to `LOGIN`."""
    said = records(text)

    def one(key: str) -> str:
        return next(iter(said.get(key, ())), "")

    root = "root" in said
    return Seen(
        root=root,
        whole="done" in said,
        refusal="" if root else clean(next((line for line in reversed(stderr) if line.strip()), ""), colour=False),
        machine=one("machine"),
        systemd="systemd" in said,
        nixos="nixos" in said,
        flock="flock" in said,
        nix=one("nix") if "nix" in said else None,
        groups=tuple(one("groups").split()),
        state=host_state(said) if root else None,
        revision=one("revision").strip(),
        locks=tuple(dict.fromkeys(said.get("locked", ()))),
        holder=one("holder"),
        free_store=_kib(one("free_store")),
        free_boot=_kib(one("free_boot")),
        deployed=_below(said, "deployed"),
        last=_below(said, "last"),
        running=_facts(said, "running"),
        booted=_facts(said, "booted"),
        profile=_facts(said, "profile"),
        settings=_below(said, "nix"),
    )


def closures(target: Target, text: str, asked: frozenset[str]) -> Closures:
    """The answer to `CLOSURES`.

    Raises:
        UnreachableError: it is not whole, or no answer to that.
    """
    said = records(text)
    if "done" not in said:
        raise UnreachableError(
            f"{target.login} does not answer to the end", why="asked for what its store has, it stopped half-way"
        )
    missing = tuple(path for path in said.get("missing", ()) if path)
    refuse_strange(target, missing, asked)
    return Closures(
        missing=missing,
        unreachable=tuple(sorted(set(said.get("unreachable", ())))),
        running=_sizes(said, "running"),
        new=_sizes(said, "new"),
        facts=_facts(said, "new"),
        switches="switches" in said,
        hostname=next(iter(said.get("new.hostname", ())), "").strip(),
        platform=next(iter(said.get("new.platform", ())), "").strip(),
    )


def refuse_strange(target: Target, said: Sequence[str], asked: frozenset[str]) -> None:
    """Let nothing through that a host made up: paths it names become arguments here.

    Raises:
        UnreachableError: it named one that it was not asked for.
    """
    strange = next((word for word in said if word not in asked), None)
    if strange is not None:
        raise UnreachableError(
            f"{target.login} does not answer what it was asked",
            why=f"asked for store paths that are missing there, it says {strange[:100]!r}",
            hint="a login shell there must print nothing by itself (.bashrc)",
        )


def _below(said: Mapping[str, Sequence[str]], name: str) -> dict[str, str]:
    """What was said under `NAME.KEY`, by key."""
    pairs = ((key.partition("."), values[0]) for key, values in said.items())
    return {key: value for (start, _, key), value in pairs if start == name and _KEY.fullmatch(key)}


def _facts(said: Mapping[str, Sequence[str]], name: str) -> Facts:
    known = {*LINKS, *TEXTS, "dbus"}
    return {key: value for key, value in _below(said, name).items() if key in known}


def _sizes(said: Mapping[str, Sequence[str]], name: str) -> dict[str, int] | None:
    paths, sizes = said.get(f"{name}.path", ()), said.get(f"{name}.size", ())
    if not paths or len(paths) != len(sizes):
        return None
    if not all(map(is_store_path, paths)) or not all(re.fullmatch(r"[0-9]{1,15}", size) for size in sizes):
        return None
    return dict(zip(paths, map(int, sizes), strict=True))


def _kib(text: str) -> int | None:
    return int(text) * 1024 if re.fullmatch(r"[0-9]{1,15}", text) else None
