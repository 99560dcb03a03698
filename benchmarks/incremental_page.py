"""The part of the page about inspecting after a commit, with a memo. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import svg
from benchmarks.incremental_fleet import DOCUMENTATION, ONE_HOST
from benchmarks.tables import table

Row = Mapping[str, Any]

TITLE = "## Inspecting after a commit"
PICTURE = "figures-incremental.svg"

FLEET = """\
A fleet as a repository: `flake.nix` lists `hosts/`; every host has all of 40 modules, one of ten roles and one of ten
sites, and its options take work to merge; one input is pinned. `pipelinegen preview` of a commit that alters
documentation, with its parent as base, fills the memo; each row is another commit after that one, inspected with the
memo as it was then, in a process of its own, in a new store, as in a CI job. What the commit *alters* are derivations
of hosts, which is checked every time; *evaluated* are hosts of which the memo could not tell. No `ignore_paths` are
set. *Of all* is the share of what evaluating all takes, without a memo, in the same round.
"""

COST = """\
*One host alone* is the inventory of a flake of which everything else is excluded; `nix eval` is one plain evaluation of
that host's derivation path. A commit that touches one host should take at most {times:g} times the former and
{plus:g} s. *Recording* is what the first preview, which finds no memo and evaluates both commits, takes with one, as a
multiple of what it takes with `--no-memo`, by the clock and by the cores. `preview` after a commit is in the store that
the first one left, as on a laptop: it is offline, so that it plans to build all hosts and needs their derivations; in a
new store they would be evaluated for that. In a job that asks a cache, hosts that the cache holds need nothing.
"""

REACH = """\
Where all hosts read one file, a commit that touches it reaches all hosts, even if it alters a comment: the lock, a
shared module. A path that is added or removed reaches all, too, since what `pathExists` asks leaves no trace; unless
`ignore_paths` names it. What is recorded is an upper bound: an evaluator looks at many hosts and opens a file once, so
that a file which some hosts share counts for those around and between them, too, and a host's own file for one that was
evaluated at about the same time. A host whose evaluation asks other hosts for their options is reached by the files of
those.
"""

LEFT_OUT = """\
A comment and one host more are not measured with the largest fleet: they reach all hosts, as a shared module does.
"""


def section(measured: Row) -> tuple[list[str], dict[str, str]]:
    """Its lines, and its pictures by file name."""
    if "missing" in measured:
        return [TITLE, "", f"Not measured: {measured['missing']}", ""], {}
    fleets: Sequence[Row] = measured["fleets"]
    pictures = {PICTURE: _picture(fleets)} if len(fleets) > 1 else {}
    text = [
        TITLE,
        "",
        *(line for name in pictures for line in (f"![Seconds to inspect a fleet after a commit]({name})", "")),
        FLEET,
        *table(["the commit touches", "alters", *_heads(fleets)], _commits(fleets)),
        "",
        REACH,
        *([LEFT_OUT] if any(len(fleet["changes"]) < len(fleets[0]["changes"]) for fleet in fleets) else []),
        COST.format(times=measured["times"], plus=measured["plus"]),
        *table(["hosts", *(f"{fleet['hosts']:,}" for fleet in fleets)], _costs(fleets)),
        "",
        f"Medians; rounds: {', '.join(_rounds(fleet) for fleet in fleets)}.",
        "",
    ]
    return text, pictures


def _picture(fleets: Sequence[Row]) -> str:
    series = [
        ("evaluate all", [(fleet["hosts"], fleet["ways"]["all"]["seconds"]) for fleet in fleets]),
        ("one host altered", [(fleet["hosts"], _change(fleet, ONE_HOST)["seconds"]) for fleet in fleets]),
    ]
    seconds = [value for _, points in series for _, value in points]
    powers = range(math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds))) + 1)
    return svg.lines(
        "Inspecting a fleet after a commit",
        series,
        x_ticks=[fleet["hosts"] for fleet in fleets],
        y_ticks=[float(10.0**power) for power in powers],
        x_note="hosts",
        y_note="seconds",
    )


def _heads(fleets: Sequence[Row]) -> list[str]:
    return [name for fleet in fleets for name in (f"{fleet['hosts']:,} hosts: evaluated", "seconds", "of all")]


def _commits(fleets: Sequence[Row]) -> list[list[str]]:
    rows = []
    for name, alters in ((change["name"], change["alters"]) for change in fleets[0]["changes"]):
        cells = [f"**{name}**" if name == ONE_HOST else name, alters]
        for fleet in fleets:
            change = next((change for change in fleet["changes"] if change["name"] == name), None)
            cells += _taken(change) if change else ["", "", ""]
        rows.append(cells)
    everything = ["nothing is remembered", ""]
    for fleet in fleets:
        everything += [str(fleet["hosts"]), f"{fleet['ways']['all']['seconds']:.2f}", "1.00"]
    return [*rows, everything]


def _taken(change: Row) -> list[str]:
    return [f"{change['evaluated']:.0f}", f"{change['seconds']:.2f}", f"{change['of_all']:.2f}"]


def _costs(fleets: Sequence[Row]) -> list[list[str]]:
    def row(name: str, *keys: str, of: str = "{:.2f}") -> list[str]:
        cells = []
        for fleet in fleets:
            value: Any = fleet
            for key in keys:
                value = value[key]
            cells.append(of.format(value))
        return [name, *cells]

    return [
        row("files of the repository", "files", of="{:,}"),
        row("one host alone, seconds", "ways", "one", "seconds"),
        row("`nix eval` of one host, seconds", "ways", "nix eval", "seconds"),
        row("so a commit to one host may take, seconds", "bar"),
        ["**a commit to one host takes, seconds**", *(_judged(fleet) for fleet in fleets)],
        row("`preview` after it, seconds", "ways", f"preview {ONE_HOST}", "seconds"),
        row("`preview` after documentation, seconds", "ways", f"preview {DOCUMENTATION}", "seconds"),
        row("first `preview`, seconds", "ways", "cold True", "seconds"),
        row("first `preview --no-memo`, seconds", "ways", "cold False", "seconds"),
        row("recording, by the clock", "recording", "seconds"),
        row("recording, by the cores", "recording", "cpu_seconds"),
        row("KiB of the memo", "ways", "memo", "kib", of="{:,.0f}"),
    ]


def _rounds(fleet: Row) -> str:
    return f"{fleet['rounds']} with {fleet['hosts']:,} hosts"


def _judged(fleet: Row) -> str:
    seconds = _change(fleet, ONE_HOST)["seconds"]
    return f"**{seconds:.2f}**" if seconds <= fleet["bar"] else f"**{seconds:.2f}**, too long"


def _change(fleet: Row, name: str) -> Row:
    return next(change for change in fleet["changes"] if change["name"] == name)
