"""How two closures differ, package by package. Pure.

A store path's name is taken apart as `nix store diff-closures` does: the version begins at the first dash before
a digit, and a word behind it names an output (`-bin`, `-man`). Paths that differ in their hash alone are the same
package in the same version; only what they weigh can tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pipelinegen.deploy.report import PackageChange

NO_VERSION = "(no version)"
"""The version of what has none in its name."""

SMALLEST = 8 * 1024
"""Bytes by which a package of the same version must have changed to be named, as in `nix store diff-closures`."""

_PATH = re.compile(r"/[^\s\x00-\x1f]*/[0-9a-df-np-sv-z]{32}-([0-9A-Za-z+._?=-]{1,211})")
_VERSION = re.compile(r"-(?=[0-9])")
_OUTPUT = re.compile(r"(.+)-(?:[a-z]+|lib32|lib64)")


def is_store_path(path: str) -> bool:
    """Whether `path` is one by its looks."""
    return _PATH.fullmatch(path) is not None


def package(path: str) -> tuple[str, str]:
    """Name and version in a store path; `NO_VERSION` where there is none."""
    match = _PATH.fullmatch(path)
    whole = match[1] if match else path.rpartition("/")[2]
    begin = _VERSION.search(whole, 1)
    if begin is None:
        return whole, NO_VERSION
    name, version = whole[: begin.start()], whole[begin.end() :]
    output = _OUTPUT.fullmatch(version)
    return name, output[1] if output else version


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[PackageChange, ...]:
    """What changes between two closures, by name.

    Args:
        before, after: store path → bytes of its archive.

    Returns:
        Packages of which the two hold other versions, and those that grew or shrank by `SMALLEST` or more.
    """
    had, has = _versions(before), _versions(after)
    changes = []
    for name in sorted(had.keys() | has.keys()):
        old, new = had.get(name, {}), has.get(name, {})
        grown = sum(new.values()) - sum(old.values())
        if old.keys() != new.keys() or abs(grown) >= SMALLEST:
            changes.append(PackageChange(name=name, before=_ordered(old), after=_ordered(new), bytes=grown))
    return tuple(changes)


def lines(changes: Sequence[PackageChange], *, most: int = 40) -> Iterator[str]:
    """The changes for people, one line each; of more than `most`, those that weigh most."""
    shown = sorted(sorted(changes, key=lambda change: -abs(change.bytes))[:most], key=lambda change: change.name)
    for change in shown:
        versions = f"{_joined(change.before)} → {_joined(change.after)}"
        if change.before == change.after:
            versions = _joined(change.before)
        yield f"{change.name}: {versions}, {kib(change.bytes)}"
    if len(changes) > len(shown):
        rest = {change.name for change in changes} - {change.name for change in shown}
        yield f"and {len(rest)} more packages that changed less"


def kib(size: int) -> str:
    """A difference of bytes in KiB, with its sign."""
    return f"{size / 1024:+.1f} KiB"


def _joined(versions: Sequence[str]) -> str:
    return ", ".join(versions) or "(absent)"


def _versions(closure: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Name → version → bytes."""
    found: dict[str, dict[str, int]] = {}
    for path, size in closure.items():
        name, version = package(path)
        versions = found.setdefault(name, {})
        versions[version] = versions.get(version, 0) + size
    return found


def _ordered(versions: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(versions, key=_natural))


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """1.10 comes behind 1.9."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return (*((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts), (-1, 0, text))
