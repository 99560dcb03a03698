"""What `nix flake metadata --json` says, as a source. Recorded from Nix 2.8, 2.26 and 2.34."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelinegen.inventory.source import source_from_metadata

REV = "bb64a1ac7e4f4a2573545cefa0c66e88c4a88b46"
HASH = "sha256-P5fU55axfECEDoTPLtC3Y0D2/2CAeEta6Lvuw9woSBo="
LOCKS = {"nodes": {"root": {}}, "root": "root", "version": 7}


def metadata(locked: dict[str, Any], url: str, **more: Any) -> dict[str, Any]:
    resolved = {key: value for key, value in locked.items() if key in {"type", "url", "dir", "submodules", "shallow"}}
    return {
        "locked": {"lastModified": 1795398413, "narHash": HASH, **locked},
        "locks": LOCKS,
        "path": "/nix/store/d1wz2awn2qdmmwdjwyz9ny5532z5pz8k-source",
        "resolved": resolved,
        "resolvedUrl": url,
        **more,
    }


CLEAN = {"type": "git", "url": "file:///repo", "ref": "refs/heads/main", "rev": REV, "revCount": 7, "__final": True}


def test_a_clean_tree_has_its_revision() -> None:
    source = source_from_metadata(metadata(CLEAN, "git+file:///repo"), nix_version="2.26.3", lock_changed=False)
    assert source.source_info == {
        "narHash": HASH,
        "submodules": False,
        "rev": REV,
        "shortRev": REV[:7],
        "revCount": 7,
        "lastModified": 1795398413,
        "lastModifiedDate": "20261123014653",
    }
    assert (source.rev, source.dirty, source.subdirectory) == (REV, False, "")
    assert source.reference == "git+file:///repo"


def test_a_changed_tree_has_the_revision_it_was_changed_from() -> None:
    locked = {"type": "git", "url": "file:///repo", "dirtyRev": f"{REV}-dirty", "dirtyShortRev": f"{REV[:7]}-dirty"}
    source = source_from_metadata(metadata(locked, "git+file:///repo"), nix_version="2.34.8", lock_changed=False)
    assert source.source_info["dirtyRev"] == f"{REV}-dirty"
    assert source.source_info["dirtyShortRev"] == f"{REV[:7]}-dirty"
    assert source.dirty


def test_a_tree_whose_locks_are_out_of_date_has_no_revision() -> None:
    source = source_from_metadata(metadata(CLEAN, "git+file:///repo"), nix_version="2.8.0", lock_changed=True)
    assert source.dirty
    assert not {"rev", "shortRev", "revCount"} & set(source.source_info)


def test_a_plain_folder_knows_no_repository() -> None:
    locked = {"type": "path", "path": "/some/folder"}
    source = source_from_metadata(metadata(locked, "path:/some/folder"), nix_version="2.8.0", lock_changed=False)
    assert set(source.source_info) == {"narHash", "lastModified", "lastModifiedDate"}


def test_the_reference_keeps_what_the_url_of_old_versions_lacks() -> None:
    locked = CLEAN | {"submodules": True, "shallow": True, "dir": "sub"}
    source = source_from_metadata(metadata(locked, "git+file:///repo?dir=sub"), nix_version="2.8.0", lock_changed=False)
    assert source.reference == "git+file:///repo?dir=sub&submodules=1&shallow=1"
    assert source.subdirectory == "sub"
    assert source.source_info["submodules"] is True


def test_new_relative_inputs_are_found_in_the_tree(tmp_path: Path) -> None:
    def relative(path: str, parent: list[str], **more: Any) -> dict[str, Any]:
        place = {"path": path, "type": "path"}
        return {"locked": place, "original": place, "parent": parent, **more}

    nodes = {
        "root": {"inputs": {"a": "a", "old": "old", "alias": ["a", "inner"], "git": "git"}},
        "a": relative("./a", [], inputs={"inner": "inner"}),
        "inner": relative("../inner", ["a"]),
        "beside": relative("./x", ["alias"]),
        "old": relative("./old", []),
        "git": {"locked": {"type": "git"}, "original": {"type": "git"}},
        "in-git": relative("./y", ["git"]),
    }
    locks = {"nodes": nodes, "root": "root", "version": 7}
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/flake.lock").write_text(json.dumps({"nodes": {"k": nodes["old"]}}))
    given = metadata(CLEAN | {"dir": "sub"}, "git+file:///repo?dir=sub", locks=locks, path=str(tmp_path))
    source = source_from_metadata(given, nix_version="2.26.3", lock_changed=True)
    assert source.relocated == {"a": "sub/a", "inner": "sub/inner", "beside": "sub/inner/x"}
    assert source_from_metadata(given, nix_version="2.26.3", lock_changed=False).relocated == {}
