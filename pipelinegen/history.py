"""How long derivations took to build in earlier pipelines, as values. Pure; `history_files` reads and writes.

Recorded times are hints for putting derivations together into jobs. They never decide what is built, so it
does not matter that they are lost now and then, or that a build can lie about its own.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from pipelinegen.values import Value

FORMAT_VERSION = "1.0"
TIMES_FORMAT_VERSION = "1.1"

TIMES_FOLDER = ".pipelinegen-times"
"""Where each job of a pipeline leaves its `Times`, relative to the repository's top."""

HISTORY_FOLDER = ".pipelinegen-history"
HISTORY_FILE = f"{HISTORY_FOLDER}/history.json"
"""Where the history lies in a job, relative to the repository's top."""

HISTORY_KEY = "pipelinegen-history"
"""Its key in GitLab's cache: the pipeline that plans and its child find it under the same one."""

MAX_ENTRIES = 10_000
"""Entries that are kept, of all systems together."""

SAMPLES = 3
"""Pipelines whose times an entry keeps."""

MAX_SECONDS = 30 * 24 * 3600
"""The longest time that is believed: GitLab ends a job after a month."""

_MAX_COUNT = 1_000_000

Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
Name = Annotated[str, Field(pattern=r"^[0-9A-Za-z+._?=-]{1,211}$")]
"""A derivation's or a package's name: what Nix allows in store paths, and as long as that."""
System = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]

_VERSION = re.compile(r"-(?![A-Za-z]|\Z)")
_FILE_ENDING = re.compile(
    r"\.(?:tar(?:\.[a-z0-9]{1,4})?|t[bgx]z2?|zip|7z|gz|bz2|xz|zst|patch|diff|crate|gem|whl|jar|nupkg|deb|rpm|iso|img)\Z"
)
_LAST_WORDS = re.compile(r"(?:-[A-Za-z]+)*\Z")


class BuildTime(Value):
    """A derivation that was really built (not fetched), its name without hash and `.drv`, and how long it took."""

    name: Name
    system: System
    seconds: Seconds


class Times(Value):
    """What one job built, and how many store paths it fetched instead; the file that it leaves for `run record`."""

    format_version: str = TIMES_FORMAT_VERSION
    builds: tuple[BuildTime, ...] = ()
    fetched: Count = 0


class Entry(Value):
    """What is known of one package on one system.

    Attributes:
        recent: seconds in the latest pipelines that built it, oldest first.
        builds: how often it was built, ever.
        ago: how many recorded pipelines there have been since it was built last.
    """

    recent: tuple[Seconds, ...] = Field(min_length=1, max_length=SAMPLES)
    builds: Count = 1
    ago: Count = 0

    @property
    def seconds(self) -> float:
        """The median of `recent`: one strange time does not move it, a second one like it does."""
        return statistics.median(self.recent)


class History(Value):
    """The recorded times: system → package (see `package_name`) → entry."""

    format_version: str = FORMAT_VERSION
    entries: dict[System, dict[Name, Entry]] = Field(default_factory=dict)

    def seconds_of(self, name: str, system: str) -> float | None:
        """How long building the derivation `name` takes on `system`, in seconds; null where it is not known."""
        packages = self.entries.get(system)
        entry = packages.get(package_name(name)) if packages else None
        return entry.seconds if entry else None

    @property
    def size(self) -> int:
        """How many entries there are."""
        return sum(len(packages) for packages in self.entries.values())

    def to_json(self) -> str:
        """One line with sorted keys: equal histories give equal bytes."""
        entries = {
            system: {package: entry.model_dump(exclude_defaults=True) for package, entry in packages.items()}
            for system, packages in self.entries.items()
        }
        record = {"format_version": self.format_version, "entries": entries}
        return json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"


def package_name(name: str) -> str:
    """A derivation's name without its version, so that the next version finds the time of this one.

    The version begins at the first dash that no letter follows, as for Nix's `builtins.parseDrvName`. Unlike
    there, words and file endings behind it stay: `linux-6.6.30-modules` is `linux-modules`, and
    `hello-2.12.tar.gz` is `hello.tar.gz`, because neither takes as long as the package itself. A host's
    `nixos-system-web1-24.05.20240101.abcdef` is `nixos-system-web1`.
    """
    version = _VERSION.search(name)
    if version is None or version.start() == 0:
        return name
    rest = name[version.end() :]
    ending = _FILE_ENDING.search(rest)
    suffix = ending.group() if ending else ""
    words = _LAST_WORDS.search(rest.removesuffix(suffix))
    return name[: version.start()] + (words.group() if words else "") + suffix


def merge(history: History, builds: Iterable[BuildTime]) -> History:
    """The history after one more pipeline, in which `builds` were built; their order does not matter.

    What was built several times under one name counts as its median. At most `MAX_ENTRIES` remain: those that
    were built last, and among them those that are built most often. A pipeline that built nothing leaves the
    history as it is.
    """
    seen: dict[tuple[str, str], list[float]] = {}
    for build in builds:
        seen.setdefault((build.system, package_name(build.name)), []).append(build.seconds)
    if not seen:
        return history
    merged = {
        (system, package): entry.model_copy(update={"ago": min(entry.ago + 1, _MAX_COUNT)})
        for system, packages in history.entries.items()
        for package, entry in packages.items()
    }
    for key, seconds in seen.items():
        merged[key] = _with(merged.get(key), seconds)
    kept = sorted(merged, key=lambda key: (merged[key].ago, -merged[key].builds, key))[:MAX_ENTRIES]
    entries: dict[str, dict[str, Entry]] = {}
    for system, package in sorted(kept):
        entries.setdefault(system, {})[package] = merged[system, package]
    return History(entries=entries)


def _with(entry: Entry | None, seconds: list[float]) -> Entry:
    sample = _rounded(statistics.median(seconds))
    if entry is None:
        return Entry(recent=(sample,), builds=min(len(seconds), _MAX_COUNT))
    return Entry(recent=(*entry.recent, sample)[-SAMPLES:], builds=min(entry.builds + len(seconds), _MAX_COUNT))


def _rounded(seconds: float) -> float:
    """Three digits say all that a time is good for, and keep the file small."""
    return round(float(f"{seconds:.3g}"), 2)
