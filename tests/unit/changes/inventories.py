"""Short ways to write an inventory."""

from __future__ import annotations

from collections.abc import Iterable

from pipelinegen import attrpath
from pipelinegen.inventory.model import EvalFailure, FlakeOutput, FlakeSource, Inventory, Kind

SOURCE = FlakeSource(reference="git+file:///repo", store_path="/nix/store/x-source", nix_version="2.26.3")


def output(
    attr: str, content: str = "1", *, drv: str | None = None, unavailable: str | None = None, **outputs: str | None
) -> FlakeOutput:
    """The output `attr` whose store path (or paths, by output name) and derivation stand for `content`."""
    path = attrpath.parse(attr)
    if unavailable is not None:
        return FlakeOutput(path=path, drv_attr_path=path, kind=Kind.PACKAGE, unavailable=unavailable)
    return FlakeOutput(
        path=path,
        drv_attr_path=path,
        kind=Kind.PACKAGE,
        drv_path=f"/nix/store/{drv or content}-x.drv",
        outputs=outputs or {"out": f"/nix/store/{content}-x"},
    )


def failure(attr: str) -> EvalFailure:
    return EvalFailure(path=attrpath.parse(attr), kind=Kind.PACKAGE, message="error: no")


def inventory(outputs: Iterable[FlakeOutput] = (), failures: Iterable[EvalFailure] = ()) -> Inventory:
    return Inventory(source=SOURCE, outputs=tuple(outputs), failures=tuple(failures))
