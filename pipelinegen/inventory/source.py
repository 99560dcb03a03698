"""The flake as Nix reports it, before anything of it is evaluated."""

from __future__ import annotations

import json
import posixpath
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from pipelinegen import nix, process
from pipelinegen.config import Config
from pipelinegen.console import plain
from pipelinegen.errors import CommandError, FlakeError, GitError
from pipelinegen.inventory.model import FlakeSource

_LOCK_CHANGED = "not writing modified lock file"
"""What Nix says when the flake's inputs are not those of its lock file (or there is none)."""

_KEPT_AT_ANOTHER_COMMIT = ("dir", "submodules", "shallow", "lfs", "exportIgnore")
"""Parts of a reference that say how to read a repository, not which commit of it."""

_SHORT_REVISION = 7

_NO_FLAKE = re.compile(r"find a flake|not part of a flake|is not a flake|No such file|does not exist|make it visible")
"""What versions from 2.8 to 2.34 say where there is no flake.nix, or git does not know it."""


def read_source(reference: str, *, cwd: Path, config: Config) -> FlakeSource:  # noqa: ARG001
    """Ask Nix for the flake: its source tree in the store, what is known of it, its locks.

    Args:
        reference: anything Nix takes for a flake: `.`, `/some/folder`, `git+file:///repo?dir=sub` …
        cwd: what relative references start from.
        config: nothing of it changes what a flake is so far; callers need not know that.

    Raises:
        FlakeError: there is no flake, or Nix cannot read it.
        ToolError: there is no Nix.
    """
    version = nix.version()
    lines: list[str] = []
    try:
        metadata = nix.flake_metadata(reference, cwd=cwd, on_line=lines.append)
    except CommandError as error:
        raise _unreadable(reference, lines) from error
    return source_from_metadata(
        metadata, nix_version=version, lock_changed=any(_LOCK_CHANGED in line for line in lines)
    )


def source_at(place: FlakeSource | Path, rev: str, subdirectory: str = "", *, config: Config) -> FlakeSource:
    """The flake at another commit of its repository, as a clean checkout of that commit would be.

    Args:
        place: a source that came from a git repository, or the top folder of a repository.
        rev: full commit id; the repository must have the commit.
        subdirectory: where the flake is, for a folder; a source knows that itself.

    Raises:
        FlakeError: there is no flake at that commit, or `place` is no git repository.
    """
    if isinstance(place, FlakeSource):
        url, _, query = place.reference.partition("?")
        if not url.startswith("git+"):
            raise FlakeError("only a flake in a git repository has other commits", where=place.reference)
        options = {key: value for key, value in parse_qsl(query) if key in _KEPT_AT_ANOTHER_COMMIT}
    else:
        url = f"git+file://{quote(str(place.resolve()))}"
        options = {"dir": subdirectory} if subdirectory else {}
        if _is_shallow(place):
            options["shallow"] = "1"
    return read_source(f"{url}?{urlencode({**options, 'rev': rev})}", cwd=Path("/"), config=config)


def _is_shallow(repository: Path) -> bool:
    command = ["git", "-C", str(repository), "rev-parse", "--is-shallow-repository"]
    try:
        return process.run(command, timeout=60).text.strip() == "true"
    except CommandError as error:
        raise GitError("git cannot read the repository", where=str(repository)) from error


def source_from_metadata(metadata: dict[str, Any], *, nix_version: str, lock_changed: bool) -> FlakeSource:
    """What `nix flake metadata --json` said, as a source.

    Args:
        lock_changed: whether Nix computed other locks than the flake's lock file has. Then the flake counts
            as changed: `self` has no revision.
    """
    locked = metadata["locked"]
    subdirectory = locked.get("dir", "")
    locks = metadata["locks"]
    relocated = {}
    if lock_changed:
        known = _lock_file(Path(metadata["path"], subdirectory, "flake.lock"))
        relocated = _new_relative_inputs(locks, known, subdirectory)
    return FlakeSource(
        reference=_reference(metadata),
        store_path=metadata["path"],
        subdirectory=subdirectory,
        source_info=_source_info(locked, lock_changed=lock_changed),
        locks=locks,
        relocated=relocated,
        nix_version=nix_version,
    )


def _reference(metadata: dict[str, Any]) -> str:
    url, _, query = str(metadata["resolvedUrl"]).partition("?")
    options = dict(parse_qsl(query))
    # Older versions leave these out of the URL, though they count.
    for name in ("submodules", "shallow"):
        if metadata["resolved"].get(name) is True:
            options[name] = "1"
    return f"{url}?{urlencode(options, safe='/:')}" if options else url


def _source_info(locked: dict[str, Any], *, lock_changed: bool) -> dict[str, str | int | bool]:
    """The attributes that Nix gives `self` (and `self.sourceInfo`) besides `outPath`.

    From Nix's `emitTreeAttrs` (`src/libexpr/primops/fetchTree.cc`), the same from 2.8 to 2.34 but for
    `dirtyRev`, which `locked` has from the versions that give it.
    """
    info: dict[str, str | int | bool] = {"narHash": locked["narHash"]}
    if locked["type"] == "git":
        info["submodules"] = locked.get("submodules", False)
    if "rev" in locked and not lock_changed:
        info["rev"] = locked["rev"]
        info["shortRev"] = locked["rev"][:_SHORT_REVISION]
    if "revCount" in locked and not lock_changed:
        info["revCount"] = locked["revCount"]
    if "dirtyRev" in locked:
        info["dirtyRev"] = locked["dirtyRev"]
        info["dirtyShortRev"] = locked["dirtyShortRev"]
    if "lastModified" in locked:
        info["lastModified"] = locked["lastModified"]
        moment = datetime.fromtimestamp(locked["lastModified"], UTC)
        info["lastModifiedDate"] = moment.strftime("%Y%m%d%H%M%S")
    return info


def _lock_file(file: Path) -> dict[str, Any]:
    try:
        locks: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {"nodes": {}}  # there is none, or Nix has said what is wrong with it
    return locks


def _new_relative_inputs(locks: dict[str, Any], known: dict[str, Any], subdirectory: str) -> dict[str, str]:
    """Lock nodes of relative inputs that the lock file does not have → their folder in the tree.

    Nix gives an input that it has just read another source than one that it finds in a lock file.
    """
    before = list(known["nodes"].values())
    nodes = locks["nodes"]

    def name_of(path: list[str]) -> str:
        name: str = locks["root"]
        for part in path:
            target = nodes[name]["inputs"][part]
            name = name_of(target) if isinstance(target, list) else target
        return name

    def folder(name: str) -> str | None:
        if name == locks["root"]:
            return subdirectory
        node = nodes[name]
        above = folder(name_of(node["parent"])) if "parent" in node else None
        return None if above is None else posixpath.normpath(posixpath.join("/", above, node["locked"]["path"]))[1:]

    found = {}
    for name, node in nodes.items():
        if "parent" in node and node not in before and (place := folder(name)) is not None:
            found[name] = place
    return found


def _unreadable(reference: str, lines: list[str]) -> FlakeError:
    text = plain("\n".join(lines))
    message = text[text.rfind("error:") :] if "error:" in text else text
    hint = None
    if _NO_FLAKE.search(message):
        hint = "name a folder with a flake.nix; in a git repository, `git add` it: Nix sees no other files"
    return FlakeError("Nix cannot read the flake", where=reference, why=message.strip() or None, hint=hint)
