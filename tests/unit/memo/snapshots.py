"""Short ways to write a snapshot."""

from __future__ import annotations

from collections.abc import Iterable

from pipelinegen import attrpath
from pipelinegen.inventory.model import FlakeOutput, Kind
from pipelinegen.memo.model import Key, Reads, Record, Result, Snapshot, Witness, World

WORLD = World(nix_version="2.26.3", locks="l" * 64, subdirectory="", options="o" * 64)

SEEN_AT = "sha256-1"


def tree(name: str = "1", *metadata: str) -> Witness:
    return Witness(tree=f"sha256-{name}", metadata=metadata or ("lastModified", "narHash", "rev"))


def reads(*files: str, folders: Iterable[str] = (), metadata: Iterable[str] = ()) -> Reads:
    return Reads(frozenset(files), frozenset(folders), frozenset(metadata))


def result(attr: str, content: str = "1") -> Result:
    """A derivation at `attr` whose store paths stand for `content`."""
    path = attrpath.parse(attr)
    return Result(
        output=FlakeOutput(
            path=path,
            drv_attr_path=path,
            kind=Kind.PACKAGE,
            name="x",
            system="x86_64-linux",
            drv_path=f"/nix/store/{content}-x.drv",
            outputs={"out": f"/nix/store/{content}-x", "unknown": None},
        )
    )


def record(attr: str, read: Reads, *witnesses: str, content: str = "1") -> Record:
    return Record((attrpath.parse(attr), "item"), result(attr, content), read, witnesses or (SEEN_AT,))


def snapshot(*records: Record, at: Witness | None = None, world: World = WORLD, content: str = "0") -> Snapshot:
    """A snapshot with these records; all they read is there, with a fingerprint that stands for `content`."""
    return Snapshot(
        world=world,
        tree=at or tree(),
        paths="p" * 64,
        files={path: f"-:{content * 32}" for one in records for path in one.reads.files},
        folders={path: content * 32 for one in records for path in one.reads.folders},
        metadata={"lastModified": "1", "narHash": '"sha256-1"', "rev": '"abc"'},
        records={one.key: one for one in records},
    )


def fleet(hosts: int, shared: int, *, at: Witness | None = None) -> Snapshot:
    """Hosts that read `shared` files of all and one of their own; beside them the set that names them."""
    common = [f"modules/m{number}.nix" for number in range(shared)]
    records = [
        record(f"nixosConfigurations.h{number}", reads(*common, f"hosts/h{number}.nix", folders=["", "hosts"]))
        for number in range(hosts)
    ]
    key: Key = (("nixosConfigurations",), "set")
    names = Record(key, Result(names=tuple(f"h{number}" for number in range(hosts))), reads("flake.nix"), (SEEN_AT,))
    return snapshot(names, *records, at=at)
