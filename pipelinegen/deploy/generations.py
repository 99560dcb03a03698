"""The generations of a host's system profile, and which of them a rollback goes to."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Literal

from pipelinegen.deploy.closure_diff import is_store_path
from pipelinegen.deploy.ssh import Target
from pipelinegen.deploy.state import PROFILE, HostState, read_state, records
from pipelinegen.errors import UsageError
from pipelinegen.values import Value

FORMAT_VERSION = "1.0"
"""Of `Generations`."""

Wanted = int | Literal["previous"]
"""A generation's number, or the one before what runs."""

_SCRIPT = f"""\
say() {{ printf '%s=%s\\n' "$1" "$2"; }}
link() {{ if [ -e "$2" ]; then say "$1" "$(readlink -f "$2")"; fi; }}
link running /run/current-system
link booted /run/booted-system
say current "$(readlink {PROFILE} 2> /dev/null)"
for record in /var/lib/pipelinegen/activations/* /var/lib/pipelinegen/deployed; do
  if [ -f "$record" ]; then
    printf 'made=%s %s\\n' "$(sed -n 's/^system=//p; /^end=/q' "$record")" \\
      "$(sed -n 's/^revision=//p; /^end=/q' "$record")"
  fi
done
for profile in {PROFILE}-*-link; do
  if ! [ -L "$profile" ]; then continue; fi
  number=${{profile#{PROFILE}-}}
  number=${{number%-link}}
  path=$(readlink -f "$profile" || readlink "$profile")
  say "number" "$number"
  say "path $number" "$path"
  say "time $number" "$(stat -c %Y "$profile" || true)"
  if ! [ -e "$profile" ]; then continue; fi
  say "present $number" yes
  if [ -f "$path/nixos-version" ]; then say "version $number" "$(head -c 100 "$path/nixos-version")"; fi
  for modules in "$path"/kernel-modules/lib/modules/*; do
    if [ -d "$modules" ]; then say "kernel $number" "${{modules##*/}}"; fi
  done
  # The program's text holds what it would print; nothing of a system is run.
  if [ -f "$path/sw/bin/nixos-version" ]; then
    say "revision $number" \\
      "$(sed -n 's/.*"configurationRevision":"\\([0-9A-Za-z._-]*\\)".*/\\1/p' "$path/sw/bin/nixos-version" | head -n 1)"
  fi
done
"""
"""Records of ours tell the commit of what we brought there, for systems that do not say it themselves."""

_COMMIT = re.compile(r"[0-9A-Za-z._-]{1,100}")


class Generation(Value):
    """One generation of the system profile.

    Attributes:
        number: as in `system-42-link`.
        path: its system's store path.
        date: when it was made, ISO 8601 in UTC; null when the host does not say.
        nixos_version, kernel: of its system, as far as it says.
        revision: the commit of the configuration that it was made of, by its own word or by our record there.
        current: whether the profile is at it, so that the next boot takes it.
        running: whether its system runs now; true of several where they hold one system.
        booted: whether the host was booted with its system.
        present: whether its system is still in the host's store.
    """

    number: int
    path: str
    date: str | None = None
    nixos_version: str | None = None
    kernel: str | None = None
    revision: str | None = None
    current: bool = False
    running: bool = False
    booted: bool = False
    present: bool = True


class Generations(Value):
    """All generations of a host, newest first: the schema of `pipelinegen generations --json`."""

    format_version: str = FORMAT_VERSION
    host: str
    address: str
    generations: tuple[Generation, ...]


def read_generations(target: Target) -> tuple[Generation, ...]:
    """The generations of a host's system profile, newest first.

    Raises:
        UnreachableError: it does not answer.
        CommandError: it answers, but not this.
    """
    return parse(target.run(_SCRIPT, root=True).text)


def pick(target: Target, wanted: Wanted) -> Generation:
    """The generation of a host that a rollback goes to; see `chosen`.

    Raises:
        UnreachableError, CommandError: the host does not say which there are.
        UsageError: it cannot go to this one, or there is none.
    """
    found = chosen(read_generations(target), read_state(target), None if wanted == "previous" else wanted)
    if not is_store_path(found.path):  # it becomes an argument of commands here
        raise UsageError(f"generation {found.number} holds no system", why=f"{found.path!r} is no store path")
    return found


def parse(text: str) -> tuple[Generation, ...]:
    """The generations that a host told of, newest first; what it says is foreign text."""
    said = records(text)

    def one(key: str) -> str | None:
        return next(iter(said.get(key, ())), None) or None

    running, booted = one("running"), one("booted")
    current = re.fullmatch(r"(?:.*/)?system-([0-9]{1,9})-link", one("current") or "")
    # Of records of one system only some may know its commit.
    made = dict(record.split() for record in said.get("made", ()) if len(record.split()) == 2)
    found = {}
    for number in said.get("number", ()):
        path = one(f"path {number}")
        if not re.fullmatch(r"[0-9]{1,9}", number) or path is None:
            continue
        revision = one(f"revision {number}") or made.get(path) or ""
        found[int(number)] = Generation(
            number=int(number),
            path=path,
            date=_date(one(f"time {number}") or ""),
            nixos_version=one(f"version {number}"),
            kernel=one(f"kernel {number}"),
            revision=revision if _COMMIT.fullmatch(revision) else None,
            current=current is not None and int(current[1]) == int(number),
            running=path == running,
            booted=path == booted,
            present=one(f"present {number}") == "yes",
        )
    return tuple(found[number] for number in sorted(found, reverse=True))


def _date(seconds: str) -> str | None:
    if not re.fullmatch(r"[0-9]{1,11}", seconds):
        return None
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def chosen(generations: Sequence[Generation], state: HostState, wanted: int | None) -> Generation:
    """The generation that a rollback goes to.

    Args:
        generations: as `read_generations` gave them.
        state: what the host runs.
        wanted: a generation's number; null is the newest before the running system that holds another one. Where
            no generation holds what runs (it was only tested, say), that is the one which the next boot takes.

    Raises:
        UsageError: there is no such generation, its system is gone, or it runs already and the next boot takes it.
    """
    if wanted is None:
        return _previous(generations, state)
    found = next((one for one in generations if one.number == wanted), None)
    if found is None:
        raise UsageError(f"there is no generation {wanted}", why=_those_there(generations))
    if not found.present:
        raise UsageError(
            f"the system of generation {wanted} is gone",
            why=f"{found.path} is not in the host's store",
            hint="deploy it again with --system, from where it is",
        )
    if state.runs(found.path):
        raise UsageError(
            f"the host runs the system of generation {wanted} already",
            why=f"{found.path} runs, and the next boot takes it",
            hint=_those_there([one for one in generations if one.path != found.path and one.present]),
        )
    return found


def _previous(generations: Sequence[Generation], state: HostState) -> Generation:
    """Not "one below": what is there may be what runs, or newer than it, or gone."""
    newest_first = sorted(generations, key=lambda one: one.number, reverse=True)
    holding = [one for one in newest_first if one.path == state.running]
    # Of several that hold what runs, the one at which the profile is; else the newest.
    at = next((one for one in holding if one.current), holding[0] if holding else None)
    if at is None:
        at = next((one for one in newest_first if one.current), None)
        if at is not None and at.present:
            return at
    below = newest_first if at is None else [one for one in newest_first if one.number < at.number]
    other = next((one for one in below if one.present and one.path != state.running), None)
    if other is None:
        raise UsageError(
            "there is no generation to roll back to",
            why=f"none before what runs holds another system; {_those_there(generations)}",
            hint="name the number of a generation, or deploy with --system",
        )
    return other


def _those_there(generations: Sequence[Generation]) -> str:
    if not generations:
        return "the host has no other generation"
    numbers = [str(one.number) for one in sorted(generations, key=lambda one: one.number, reverse=True)]
    more = f" and {len(numbers) - 20} older ones" if len(numbers) > 20 else ""
    return f"there are: {', '.join(numbers[:20])}{more}"


def table(generations: Sequence[Generation]) -> list[str]:
    """The same for people: a line of titles, and one for each generation."""
    rows = [("", "generation", "made (UTC)", "NixOS", "kernel", "revision", "system")]
    rows += [
        (
            "".join(
                mark if true else " " for mark, true in (("*", one.running), ("b", one.booted), (">", one.current))
            ),
            str(one.number),
            (one.date or "?").replace("T", " ").removesuffix("Z"),
            one.nixos_version or "?",
            one.kernel or "?",
            (one.revision or "?")[:12],
            one.path if one.present else f"{one.path} (gone)",
        )
        for one in generations
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, "", "* runs now   b booted with it   > the next boot takes it"]
