"""The part of the page about pushing to caches and asking them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import svg
from benchmarks.tables import table

Row = Mapping[str, Any]

TITLE = "## Pushing to a cache"

WAYS = {
    "ours": "**pipelinegen**",
    "again": "the same again, nothing to do",
    "faults": "to a server with faults",
    "real": "to the real atticd",
    "http": "`nix copy --to http://`",
    "file": "`nix copy --to file://`",
}
SERVERS = {"double": "test double", "real": "real atticd"}
QUESTIONS = {
    "none": "none of them there",
    "all": "all of them there",
    "pull": "all of them there, token that may not push",
    "bare": "`nix path-info --recursive`",
}

PUSHING = """\
A closure of {paths:,} files of 2 KiB, which the cache lacks. pipelinegen sends {jobs} at once to the test double of
Attic's server, which runs in Python; asks the server for all of them afterwards, has Nix read what it says of each and
check the signatures, and fetches the root. *Sending* is what the uploads take, *verification* what Nix does. The server
with faults lets {faults:.0%} of all uploads fail: with a proxy's page, a reset on the way, a reset after everything was
stored, a request to come later, a body without its end. *There* is what the server says it has when the benchmark asks
it. `nix copy`, without compression and signatures, fills a folder, or a server of the same make as the double that
stores files and does nothing else; it reads nothing back. Whole processes on one machine, no network between; MiB are
the peak of the process that pushes. Medians of {rounds}, in turn.
"""

REAL = """\
The real atticd has SQLite and keeps its storage in a folder; it is what takes the time of pushes to it, so that only
two of them are measured.
"""

LARGE = """\
One path of {mib:,} MiB. pipelinegen's rate is that of sending; its seconds include that the path is fetched again and
hashed.
"""

QUERY = """\
{paths:,} paths, seconds until it is known which of them a cache holds with an accepted signature and a whole closure.
A token that may push asks by batches, and Nix reads what is there; without that right Nix reads all. Beside it, Nix
itself reading the same, with nothing remembered and no signature checked. The ratio is that of the token that may not
push to Nix, median of the rounds.
"""


def section(measured: Row) -> tuple[list[str], dict[str, str]]:
    """Its lines, and its pictures by file name."""
    if "missing" in measured:
        return [TITLE, "", f"Not measured: {measured['missing']}", ""], {}
    ways: Mapping[str, Row] = {way: measured["ways"][way] for way in WAYS if way in measured["ways"]}
    shown = {way: name.strip("*").replace("`", "") for way, name in WAYS.items() if way in ways and way != "again"}
    picture = svg.bars(
        f"Seconds to push {measured['paths']:,} small paths",
        [(name, ways[way]["seconds"], f"{ways[way]['seconds']:.1f} s") for way, name in shown.items()],
        strong=shown["ours"],
    )
    text = [
        TITLE,
        "",
        f"![Seconds to push {measured['paths']:,} small paths](figures-push.svg)",
        "",
        PUSHING.format(**{key: measured[key] for key in ("paths", "jobs", "faults", "rounds")}),
        *([REAL] if "real" in ways else []),
        *table(
            ["way", "seconds", "sending", "verification", "of cores", "MiB", "uploads", "retries", "there"],
            [[WAYS[way], *_cells(used)] for way, used in ways.items()],
        ),
        "",
        *_large(measured["large"]),
        *_query(measured["query"]),
    ]
    return text, {"figures-push.svg": picture}


def _cells(used: Row) -> list[str]:
    seconds = [f"{used['seconds']:.2f}", *(f"{used[key]:.2f}" if key in used else "" for key in ("send", "verify"))]
    counts = [f"{used[key]:,.0f}" if key in used else "" for key in ("uploads", "retries", "paths")]
    return [*seconds, f"{used['core_seconds']:.2f}", f"{used['peak_mib']:.0f}", *counts]


def _large(measured: Row) -> list[str]:
    if "missing" in measured:
        return [f"A large path was not measured: {measured['missing']}.", ""]
    ways: Mapping[str, Row] = measured["ways"]
    cells = [
        [WAYS[way], f"{used['seconds']:.2f}", f"{used['mib_per_second']:,}", f"{used['peak_mib']:,.0f}"]
        for way, used in ways.items()
    ]
    return [LARGE.format(mib=measured["mib"]), *table(["way", "seconds", "MiB/s", "peak MiB"], cells), ""]


def _query(measured: Row) -> list[str]:
    servers: Mapping[str, Row] = measured["servers"]
    cells = [[name, *(f"{taken[key]:.2f}" for taken in servers.values())] for key, name in QUESTIONS.items()]
    ratios = ["ratio", *(f"**{taken['ratio']:.2f}**" for taken in servers.values())]
    head = ["question", *(SERVERS[name] for name in servers)]
    return [QUERY.format(paths=measured["paths"]), *table(head, [*cells, ratios]), ""]
